// Produit d'une matrice par un vecteur : le décodage d'un jeton, limité par la lecture des poids.
//
// Chaque voie copie d'avance ses propres unités dans un anneau de mémoire partagée (`cp.async`), avant
// même que le noyau précédent ait fini : les poids ne dépendent de rien. Une voie ne relit que ce
// qu'elle a copié, si bien que l'anneau ne demande aucune barrière. Les produits se font sur les cœurs
// tenseurs, le vecteur occupant toutes les colonnes de la seconde matrice : des codes de 4 bits y entrent
// presque sans décodage, et tout se somme en f32.

#define ECRIRE 0
#define AJOUTER 1
#define PORTE_SILU 2
#define PORTE_GELU 3

#define CHAINES (FILS_PRODUIT / 32)
#define TOURS_GROUPE 4  // tours entre deux réunions des chaînes

struct ProduitVecteur {
    Matrice m;
    Entree entree;
    float* sortie;
    int effet;   // que faire du résultat (ECRIRE…) ; PORTE_… : lignes paires porte, impaires montée
    int partage; // chaînes qui se partagent les étapes d'une tuile : une puissance de deux
};

template <int T>
struct Anneau {
    static const int CODES = Forme<T>::PAQUETS * 512;           // octets d'une étape
    static const int ETAPE = CODES + Forme<T>::ECHELLES * 32;
    static const int TAILLE = ETAPE * Forme<T>::ETAGES;
};

// Les étapes qu'une chaîne doit lire : sa part d'une tuile, puis de celle du tour suivant.
struct Parcours {
    int tuile;
    u32 rang;       // de l'étape dans toute la matrice
    int restantes;  // étapes de cette part, celle-ci comprise

    __device__ __forceinline__ void avancer(const ProduitVecteur& p, int etapes_part, int pas) {
        rang += p.partage;
        if (--restantes > 0) return;
        restantes = etapes_part;
        rang += pas * p.m.etapes - etapes_part * p.partage;
        tuile += pas;
    }
};

template <int T>
__device__ __forceinline__ void copier_unite(const Matrice& m, u32 etape, u32 place, int voie) {
    const u8* codes = m.codes + (u64)etape * Anneau<T>::CODES + voie * 16;
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++) copier_16(place + i * 512 + voie * 16, codes + i * 512);
    const int E = Forme<T>::ECHELLES;
    copier<E ? E : 4>(place + Anneau<T>::CODES + voie * E, m.echelles + (u64)etape * (32 * E) + voie * E);
}

template <int T>
__device__ __forceinline__ Unite<T> relire_unite(const u8* place, int voie) {
    Unite<T> u;
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++) u.codes[i] = *(const uint4*)(place + i * 512 + voie * 16);
    const u8* echelles = place + Anneau<T>::CODES + voie * Forme<T>::ECHELLES;
    if (Forme<T>::ECHELLES == 8) u.echelles = *(const uint2*)echelles;
    else u.echelles.x = *(const u32*)echelles;
    return u;
}

// Produits d'une étape, ajoutés aux totaux des lignes g et g + 8. Pour des codes, chaque voie d'un
// groupe de quatre pondère un bloc ; pour des flottants, elles portent toutes le même total.
template <int T>
__device__ __forceinline__ void produit_etape(const Unite<T>& u, const u8* entree, const float* sommes,
                                              float (&totaux)[2], int voie) {
    const bool CODES = Forme<T>::ECHELLES > 0;
    float bruts[2][2];  // [moitié][groupe de 16]
    float c[2][4] = {};
#pragma unroll
    for (int b = 0; b < 4; b++) {
        u32 w[2][4];
        decoder_paires(u, 0, b, w[0]);
        decoder_paires(u, 1, b, w[1]);
        uint4 x = *(const uint4*)(entree + b * 64 + voie % 4 * 16);
        u32 debut[4] = {w[0][0], w[1][0], w[0][1], w[1][1]}, fin[4] = {w[0][2], w[1][2], w[0][3], w[1][3]};
        if (CODES) {
#pragma unroll
            for (int i = 0; i < 4; i++) c[0][i] = c[1][i] = 0.f;
        }
        accumuler(c[0], debut, x.x, x.y);
        accumuler(c[1], fin, x.z, x.w);
        if (CODES && voie % 4 == b) {
            bruts[0][0] = c[0][0], bruts[0][1] = c[1][0];
            bruts[1][0] = c[0][2], bruts[1][1] = c[1][2];
        }
    }
    if (CODES) {
        float2 s = *(const float2*)(sommes + voie % 4 * 2);
        totaux[0] += ponderer(u, 0, bruts[0][0], bruts[0][1], s.x, s.y);
        totaux[1] += ponderer(u, 1, bruts[1][0], bruts[1][1], s.x, s.y);
    } else if (voie % 4 == 0) {
        totaux[0] += c[0][0] + c[1][0];
        totaux[1] += c[0][2] + c[1][2];
    }
}

// Paire de lignes qu'un fil écrit à la fin d'un groupe de tours : 4 tours · 16 chaînes · 8 paires au plus,
// soit une par fil.
struct Ecriture {
    int tour, chaine, ligne;  // tour dans le groupe, première chaîne de la tuile, ligne de la matrice
    float2 ancien;            // ce qui s'y trouve, lu d'avance

    __device__ __forceinline__ Ecriture(const ProduitVecteur& p, int premier_tour) {
        int simultanees = CHAINES / p.partage, s = threadIdx.x / 8 % simultanees;
        tour = threadIdx.x / (8 * simultanees);
        chaine = s * p.partage;
        ligne = (((premier_tour + tour) * gridDim.x + blockIdx.x) * simultanees + s) * LIGNES_TUILE + threadIdx.x % 8 * 2;
        ancien = make_float2(0.f, 0.f);
        if (p.effet != AJOUTER || tour >= TOURS_GROUPE) return;
        if (ligne < p.m.lignes) ancien.x = lire_l2_un(p.sortie + ligne);
        if (ligne + 1 < p.m.lignes) ancien.y = lire_l2_un(p.sortie + ligne + 1);
    }
    // Réunit les chaînes et écrit.
    __device__ __forceinline__ void achever(const ProduitVecteur& p, const float (*partiels)[CHAINES][LIGNES_TUILE],
                                            int tours) const {
        if (tour >= tours || ligne >= p.m.lignes) return;
        float a = 0.f, b = 0.f;
        for (int c = 0; c < p.partage; c++) {
            float2 v = *(const float2*)&partiels[tour][chaine + c][threadIdx.x % 8 * 2];
            a += v.x, b += v.y;
        }
        a = fmaf(a, EXPANSION, ancien.x), b = fmaf(b, EXPANSION, ancien.y);
        if (p.effet >= PORTE_SILU) {
            p.sortie[ligne / 2] = activer(a, p.effet - PORTE_SILU) * b;
            return;
        }
        p.sortie[ligne] = a;
        if (ligne + 1 < p.m.lignes) p.sortie[ligne + 1] = b;
    }
};

// Copies d'avance d'une chaîne.
template <int T>
struct Avance {
    u32 anneau;  // adresse partagée
    Parcours demande;
    int etapes_part, pas, tuiles;
    u32 place;   // où ira la prochaine demande

    static __device__ __forceinline__ u32 suivre(u32 place) {
        return place + Anneau<T>::ETAPE == Anneau<T>::TAILLE ? 0 : place + Anneau<T>::ETAPE;
    }
    __device__ __forceinline__ void demander(const ProduitVecteur& p, int voie) {
        if (demande.tuile < tuiles) copier_unite<T>(p.m, demande.rang, anneau + place, voie);
        clore_copies();
        demande.avancer(p, etapes_part, pas);
        place = suivre(place);
    }
    // La plus ancienne demande ; sa place sera celle de la prochaine.
    __device__ __forceinline__ Unite<T> prendre(const u8* debut, int voie) {
        attendre_copies<Forme<T>::ETAGES - 2>();
        return relire_unite<T>(debut + suivre(place), voie);
    }
};

template <int T>
__device__ __forceinline__ void produit_vecteur(const ProduitVecteur& p) {
    __shared__ float relais[32];
    __shared__ __align__(16) float partiels[2][TOURS_GROUPE][CHAINES][LIGNES_TUILE];
    const int ETAGES = Forme<T>::ETAGES;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const int pleine = p.m.etapes * COLONNES_ETAPE;
    u8* entree = memoire;
    float* sommes = (float*)(memoire + pleine * 2);
    u8* anneau = memoire + pleine * 2 + pleine / 4 + chaine * Anneau<T>::TAILLE;
    laisser_suivre();

    const int simultanees = CHAINES / p.partage, part = chaine % p.partage;
    const int tuiles = (p.m.lignes + LIGNES_TUILE - 1) / LIGNES_TUILE, pas = gridDim.x * simultanees;
    const int etapes_part = (p.m.etapes - part + p.partage - 1) / p.partage;
    // Une chaîne sans part n'a rien à lire, mais suit les barrières.
    const int premiere = etapes_part > 0 ? blockIdx.x * simultanees + chaine / p.partage : tuiles;
    Parcours lu = {premiere, (u32)(premiere * p.m.etapes + part), etapes_part};
    Avance<T> avance = {adresse_partagee(anneau), lu, etapes_part, pas, tuiles, 0};
    if constexpr (ETAGES > 1) {
        for (int i = 0; i < ETAGES - 1; i++) avance.demander(p, voie);
    }
    Vecteur<PAQUETS_NORME> poids;
    if (p.entree.norme) poids.lire_poids(p.entree.norme, p.entree.taille);
    attendre_precedent();
    if (p.entree.norme) preparer_norme(p.entree, poids, entree, sommes, pleine, relais);
    else preparer_telle_quelle(p.entree, entree, sommes, pleine);
    __syncthreads();

    const int tours = (tuiles + pas - 1) / pas;
    for (int premier = 0; premier < tours; premier += TOURS_GROUPE) {
        const int nombre = min(TOURS_GROUPE, tours - premier), parite = premier / TOURS_GROUPE % 2;
        const Ecriture ecriture(p, premier);
        for (int tour = 0; tour < nombre; tour++) {
            float totaux[2] = {0.f, 0.f};
            const u8* x = entree + part * (COLONNES_ETAPE * 2);
            const float* s = sommes + part * (COLONNES_ETAPE / 16);
            for (int n = lu.tuile < tuiles ? etapes_part : 0; n > 0; n--) {
                if constexpr (ETAGES > 1) {
                    Unite<T> u = avance.prendre(anneau, voie);
                    avance.demander(p, voie);
                    produit_etape(u, x, s, totaux, voie);
                } else {
                    produit_etape(lire_unite<T>(p.m, lu.rang, voie), x, s, totaux, voie);
                    lu.rang += p.partage;
                }
                x += p.partage * (COLONNES_ETAPE * 2);
                s += p.partage * (COLONNES_ETAPE / 16);
            }
            lu.tuile += pas;
            lu.rang = lu.tuile * p.m.etapes + part;
#pragma unroll
            for (int h = 0; h < 2; h++) {
                totaux[h] += __shfl_xor_sync(~0u, totaux[h], 1);
                totaux[h] += __shfl_xor_sync(~0u, totaux[h], 2);
                if (voie % 4 == 0) partiels[parite][tour][chaine][h * 8 + voie / 4] = totaux[h];
            }
        }
        __syncthreads();
        ecriture.achever(p, partiels[parite], nombre);
    }
}

#define NOYAU_PRODUIT(nom, T)                                                                              \
    extern "C" __global__ void __launch_bounds__(FILS_PRODUIT, 2)                                          \
        nom(const __grid_constant__ ProduitVecteur p) {                                                    \
        produit_vecteur<T>(p);                                                                             \
    }

NOYAU_PRODUIT(produit_vecteur_q4, Q4)
NOYAU_PRODUIT(produit_vecteur_q4m, Q4M)
NOYAU_PRODUIT(produit_vecteur_q6, Q6)
NOYAU_PRODUIT(produit_vecteur_q8, Q8)
NOYAU_PRODUIT(produit_vecteur_f16, F16)
NOYAU_PRODUIT(produit_vecteur_bf16, BF16)
NOYAU_PRODUIT(produit_vecteur_f32, F32)
