// Le calcul d'un jeton est une suite d'instructions qu'un seul noyau interprète. Miroir de
// `operations/programme`.

#define PRODUIT 0
#define ATTENTION 1
#define SOURCE 2

// Que faire du résultat d'un produit.
#define ECRIRE 0
#define AJOUTER 1
#define PORTE_SILU 2  // lignes paires porte, impaires montée : écrire silu(porte) · montée, en f16 réduits
#define PORTE_GELU 3
#define LOGITS 4      // des f32 sans marque, que seul l'hôte lira

struct Produit {
    Matrice m;
    const u64* entree;          // f32 marqués si `norme`, sinon paires de f16 réduits, marquées
    const float* norme;         // poids de la norme d'entrée, ou nul
    const u64* attente;         // sortie de sous-couche à normer puis ajouter à l'entrée, ou nul
    const float* norme_attente;
    u64* x_suivant;             // reçoit entrée + norme(attente) ; un autre tampon que l'entrée
    void* sortie;
    u32 numero_entree, numero_attente, numero_ancien;  // ancien : celui que porte `sortie`, pour AJOUTER
    int effet;
    int log_partage;            // 2^log_partage chaînes se partagent les étapes d'une tuile
    float epsilon;
};

struct Attention {
    Tetes t;
    const u64* qkv;  // q, k, v à la suite, f32 marqués
    u64* sortie;     // [têtes, DIM_TETE], paires de f16 réduits
    u64* partiels;   // [têtes, TRANCHES, PARTIEL], f32 marqués
    u32 numero_qkv;
};

// Première instruction : le plongement du jeton, ou un vecteur déjà calculé.
struct Source {
    Matrice m;
    const float* vecteur;  // nul : le plongement
    u64* sortie;           // f32 marqués
    float echelle;
};

struct __align__(16) Instruction {
    int genre;
    u32 numero;  // que porteront ses sorties
    union {
        Produit produit;
        Attention attention;
        Source source;
    };
};

#define FENETRE 8  // instructions dont le bloc garde la copie

// Seize chaînes calculent ; quatre autres, une par ordonnanceur, copient les poids d'avance.
#define FILS 512
#define CHAINES (FILS / 32)
#define LOG_CHAINES 4
#define COPIEUSES 4
#define SERVIES (CHAINES / COPIEUSES)  // chaînes que chacune sert
#define FILS_BLOC (FILS + 32 * COPIEUSES)
#define PLACES_MAX 12
#define TOURS_GROUPE 4  // tours entre deux réunions des chaînes

// Instructions lues d'avance, à la place des plus anciennes.
struct Fenetre {
    uint4 mots[FENETRE][sizeof(Instruction) / 16];

    __device__ __forceinline__ const Instruction& operator[](int i) const {
        return *(const Instruction*)mots[i % FENETRE];
    }
};

// Mémoire partagée de taille fixe.
struct Commun {
    Fenetre calcul, copies[COPIEUSES];
    __align__(16) float partiels[2][TOURS_GROUPE][CHAINES][LIGNES_TUILE];
    // De chaque place des anneaux : l'étape y est, la chaîne l'a lue.
    u64 remplies[CHAINES][PLACES_MAX], lues[CHAINES][PLACES_MAX];
    // Anneau de chaque chaîne, d'un produit à l'autre : format, prochaine place, parité attendue de chacune.
    int formats[CHAINES], places[CHAINES];
    u32 phases[CHAINES];
    float relais[CHAINES];
};

// Rang du fil. Volatile : le compilateur le relirait sinon à chaque emploi, et cette lecture est lente.
__device__ __forceinline__ int rang_fil() {
    int r;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(r));
    return r;
}

// Attend les chaînes qui calculent.
__device__ __forceinline__ void accorder() { asm volatile("bar.sync 1, %0;" ::"n"(FILS) : "memory"); }

// Somme sur les chaînes qui calculent.
__device__ __forceinline__ float somme_calcul(float v, float* relais) {
    v = somme_chaine(v);
    accorder();
    if (threadIdx.x % 32 == 0) relais[threadIdx.x / 32] = v;
    accorder();
    return somme_chaine(threadIdx.x % 32 < CHAINES ? relais[threadIdx.x % 32] : 0.f);
}
