// Préparation du vecteur d'entrée d'un produit, refaite par chaque bloc : résidu en attente, norme RMS,
// conversion en f16 dans la mémoire partagée.

struct Entree {
    const float* x;             // vecteur d'entrée
    const float* attente;       // sortie de sous-couche à normer puis ajouter à x (post-normes), ou nul
    const float* norme_attente; // poids de cette post-norme
    const float* norme;         // poids de la norme d'entrée, ou nul : x sert tel quel
    float* x_suivant;           // reçoit x + norme(attente) ; un autre tampon que x
    float epsilon;
    int taille;
};

// Un vecteur normé tient dans les registres du bloc : 512 fils · PAQUETS_NORME paquets (fixés à la
// compilation) · 4 valeurs.
#define FILS_PRODUIT 512
#define PAQUETS_BRUTS 4

template <int N>
struct Vecteur {
    float4 v[N];

    __device__ __forceinline__ void lire_poids(const float* p, int taille) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            int k = (i * FILS_PRODUIT + threadIdx.x) * 4;
            if (k < taille) v[i] = __ldg((const float4*)(p + k));
        }
    }
    __device__ __forceinline__ void lire(const float* p, int debut, int taille) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            int k = debut + (i * FILS_PRODUIT + threadIdx.x) * 4;
            v[i] = k < taille ? lire_l2(p + k) : make_float4(0.f, 0.f, 0.f, 0.f);
        }
    }
    __device__ __forceinline__ float carres() const {
        float s = 0.f;
#pragma unroll
        for (int i = 0; i < N; i++)
            s += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
        return s;
    }
    // Multiplie par le facteur d'une norme RMS et ses poids.
    __device__ __forceinline__ void normer(float f, const Vecteur<N>& w, int taille) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if ((i * FILS_PRODUIT + threadIdx.x) * 4 >= taille) continue;
            v[i] = make_float4(v[i].x * f * w.v[i].x, v[i].y * f * w.v[i].y, v[i].z * f * w.v[i].z,
                               v[i].w * f * w.v[i].w);
        }
    }
    __device__ __forceinline__ void ajouter(const Vecteur<N>& a) {
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = make_float4(v[i].x + a.v[i].x, v[i].y + a.v[i].y, v[i].z + a.v[i].z, v[i].w + a.v[i].w);
    }
};

// Range le vecteur en f16 dans l'ordre des fragments : dans un bloc de 32, la voie v de chaque groupe de
// quatre trouve ses huit valeurs à la suite. `sommes` reçoit la somme de chaque groupe de 16 valeurs,
// telles qu'arrondies. `pleine` : colonnes, remplissage compris.
template <int N>
__device__ __forceinline__ void ranger_entree(u8* entree, float* sommes, int debut, int pleine,
                                              const Vecteur<N>& x) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        int k = debut + (i * FILS_PRODUIT + threadIdx.x) * 4;
        if (k >= pleine) continue;  // toute une chaîne ensemble : `pleine` est un multiple de 128
        uint2 paires;
        paires.x = paire_f16(x.v[i].x * REDUCTION, x.v[i].y * REDUCTION);
        paires.y = paire_f16(x.v[i].z * REDUCTION, x.v[i].w * REDUCTION);
        *(uint2*)(entree + k / 32 * 64 + k / 4 % 4 * 16 + k / 16 % 2 * 8) = paires;
        float s = bas_f16(paires.x) + haut_f16(paires.x) + bas_f16(paires.y) + haut_f16(paires.y);
        s += __shfl_xor_sync(~0u, s, 1);
        s += __shfl_xor_sync(~0u, s, 2);
        if (k % 16 == 0) sommes[k / 16] = s;
    }
}

// Entrée normée, après l'ajout éventuel de l'attente ; `poids` a été lu d'avance.
__device__ __forceinline__ void preparer_norme(const Entree& e, const Vecteur<PAQUETS_NORME>& poids, u8* entree, float* sommes,
                                               int pleine, float* relais) {
    Vecteur<PAQUETS_NORME> x;
    x.lire(e.x, 0, e.taille);
    if (e.attente) {
        Vecteur<PAQUETS_NORME> y, w;
        y.lire(e.attente, 0, e.taille);
        w.lire_poids(e.norme_attente, e.taille);
        y.normer(rsqrtf(somme_bloc(y.carres(), relais) / e.taille + e.epsilon), w, e.taille);
        x.ajouter(y);
#pragma unroll
        for (int i = 0; i < PAQUETS_NORME; i++) {
            int k = (i * FILS_PRODUIT + threadIdx.x) * 4;
            if (blockIdx.x == 0 && k < e.taille) *(float4*)(e.x_suivant + k) = x.v[i];
        }
    }
    x.normer(rsqrtf(somme_bloc(x.carres(), relais) / e.taille + e.epsilon), poids, e.taille);
    ranger_entree(entree, sommes, 0, pleine, x);
}

// Entrée prise telle quelle.
__device__ __forceinline__ void preparer_telle_quelle(const Entree& e, u8* entree, float* sommes, int pleine) {
    for (int debut = 0; debut < pleine; debut += PAQUETS_BRUTS * FILS_PRODUIT * 4) {
        Vecteur<PAQUETS_BRUTS> x;
        x.lire(e.x, debut, e.taille);
        ranger_entree(entree, sommes, debut, pleine, x);
    }
}
