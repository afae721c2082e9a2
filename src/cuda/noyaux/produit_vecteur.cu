// Produit d'une matrice par un vecteur : le décodage d'un jeton, limité par la lecture des poids.
//
// Chaque voie copie d'avance ses propres unités dans un anneau de mémoire partagée (`cp.async`), avant
// même que le noyau précédent ait fini : les poids ne dépendent de rien. Une voie ne relit que ce
// qu'elle a copié, si bien que l'anneau ne demande aucune barrière.

#define ECRIRE 0
#define AJOUTER 1
#define PORTE_SILU 2
#define PORTE_GELU 3

struct ProduitVecteur {
    Matrice m;
    Entree entree;
    float* sortie;
    int effet;  // que faire du résultat (ECRIRE…) ; PORTE_… : lignes paires porte, impaires montée
};

template <int T>
struct Anneau {
    static const int CODES = Forme<T>::PAQUETS * 512;           // octets d'une étape d'une chaîne
    static const int ETAPE = CODES + Forme<T>::ECHELLES * 32;
    static const int TAILLE = ETAPE * Forme<T>::ETAGES;
};

// Les unités qu'une chaîne doit lire, dans l'ordre : étapes de sa tuile, puis de la suivante.
struct Parcours {
    int tuile, etape;

    __device__ __forceinline__ u64 bloc(const Matrice& m) const { return (u64)tuile * m.etapes + etape; }
    __device__ __forceinline__ void avancer(const Matrice& m, int pas) {
        if (++etape == m.etapes) {
            etape = 0;
            tuile += pas;
        }
    }
};

template <int T>
__device__ __forceinline__ void copier_unite(const Matrice& m, u64 bloc, u32 place, int voie) {
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++)
        copier_16(place + i * 512 + voie * 16, m.codes + ((bloc * Forme<T>::PAQUETS + i) * 32 + voie) * 16);
    const int E = Forme<T>::ECHELLES;
    if (E) copier<E ? E : 4>(place + Anneau<T>::CODES + voie * E, m.echelles + (bloc * 32 + voie) * E);
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

// Produit scalaire d'une unité de codes et de son morceau d'entrée. Les sommes de 16 ou 32 produits se
// font en f16, sur deux accumulateurs de paires ; tout le reste en f32.
template <int T>
__device__ __forceinline__ float produit_codes(const Unite<T>& u, const u8* entree, const float* sommes,
                                               int unites) {
    const int LARGEUR = T == Q6 ? 2 : 4;  // morceaux de 8 poids qui partagent une échelle
    float total = 0.f;
#pragma unroll
    for (int c0 = 0; c0 < 8; c0 += LARGEUR) {
        u32 pair = 0, impair = 0;
#pragma unroll
        for (int c = c0; c < c0 + LARGEUR; c++) {
            u32 w[4];
            decoder8(u, c, w);
            uint4 x = *(const uint4*)(entree + c * (unites + 1) * 16);
            pair = fma_f16(w[0], x.x, pair);
            impair = fma_f16(w[1], x.y, impair);
            pair = fma_f16(w[2], x.z, pair);
            impair = fma_f16(w[3], x.w, impair);
        }
        pair = somme_f16(pair, impair);
        total = fmaf(depuis_f16(echelle(u, c0)), bas_f16(pair) + haut_f16(pair), total);
    }
    total *= amplitude<T>();
    if (T == Q4M) {
        total = fmaf(depuis_f16(milieu(u, 0)), sommes[0], total);
        total = fmaf(depuis_f16(milieu(u, 4)), sommes[1], total);
    }
    return total;
}

// De même pour des poids flottants, lus directement.
template <int T>
__device__ __forceinline__ float produit_flottants(const Matrice& m, u64 bloc, int voie, const u8* entree,
                                                   int unites) {
    Unite<T> u = lire_unite<T>(m, bloc, voie);
    float total = 0.f;
#pragma unroll
    for (int c = 0; c < 8; c++) {
        float w[8];
        decoder8_f32(u, c, w);
        uint4 x = *(const uint4*)(entree + c * (unites + 1) * 16);
        total += w[0] * bas_f16(x.x) + w[1] * haut_f16(x.x) + w[2] * bas_f16(x.y) + w[3] * haut_f16(x.y);
        total += w[4] * bas_f16(x.z) + w[5] * haut_f16(x.z) + w[6] * bas_f16(x.w) + w[7] * haut_f16(x.w);
    }
    return total;
}

__device__ __forceinline__ void ecrire_resultat(const ProduitVecteur& p, int tuile, int voie, float v) {
    for (int o = p.m.groupe / 2; o > 0; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
    v *= EXPANSION;
    float voisine = __shfl_down_sync(~0u, v, p.m.groupe);
    int ligne = tuile * (32 / p.m.groupe) + voie / p.m.groupe;
    if (voie % p.m.groupe || ligne >= p.m.lignes) return;
    if (p.effet == ECRIRE) {
        p.sortie[ligne] = v;
    } else if (p.effet == AJOUTER) {
        p.sortie[ligne] += v;
    } else if (ligne % 2 == 0) {
        p.sortie[ligne / 2] = activer(v, p.effet - PORTE_SILU) * voisine;
    }
}

template <int T>
__device__ __forceinline__ void produit_vecteur(const ProduitVecteur& p) {
    __shared__ float relais[32];
    const int ETAGES = Forme<T>::ETAGES;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const int unites = p.m.groupe * p.m.etapes;
    u8* entree = memoire;
    float* sommes = T == Q4M ? (float*)(memoire + 128 * (unites + 1)) : nullptr;
    u8* anneau = memoire + 128 * (unites + 1) + 16 * ((unites + 1) / 2) + chaine * Anneau<T>::TAILLE;

    laisser_suivre();
    // Les tuiles vont tour à tour à chaque multiprocesseur, pour que tous finissent ensemble.
    const int pas = gridDim.x * (FILS_PRODUIT / 32);
    const int tuiles = (p.m.lignes + 32 / p.m.groupe - 1) / (32 / p.m.groupe);
    Parcours lu = {chaine * (int)gridDim.x + (int)blockIdx.x, 0}, demande = lu;
    if constexpr (ETAGES > 1) {
        for (int i = 0; i < ETAGES - 1; i++) {
            if (demande.tuile < tuiles)
                copier_unite<T>(p.m, demande.bloc(p.m), adresse_partagee(anneau + i * Anneau<T>::ETAPE), voie);
            clore_copies();
            demande.avancer(p.m, pas);
        }
    }
    attendre_precedent();
    if (p.entree.norme) preparer_norme(p.entree, entree, sommes, unites, relais);
    else preparer_telle_quelle(p.entree, entree, sommes, unites);
    __syncthreads();

    float total = 0.f;
    int etage = 0;
    while (lu.tuile < tuiles) {
        int unite = lu.etape * p.m.groupe + voie % p.m.groupe;
        if constexpr (ETAGES > 1) {
            attendre_copies<ETAGES - 2>();
            Unite<T> u = relire_unite<T>(anneau + etage * Anneau<T>::ETAPE, voie);
            total += produit_codes(u, entree + unite * 16, sommes + 2 * unite, unites);
            // La place relue au tour précédent est libre.
            int libre = etage == 0 ? ETAGES - 1 : etage - 1;
            if (demande.tuile < tuiles)
                copier_unite<T>(p.m, demande.bloc(p.m), adresse_partagee(anneau + libre * Anneau<T>::ETAPE),
                                voie);
            clore_copies();
            demande.avancer(p.m, pas);
            etage = etage + 1 == ETAGES ? 0 : etage + 1;
        } else {
            total += produit_flottants<T>(p.m, lu.bloc(p.m), voie, entree + unite * 16, unites);
        }
        if (lu.etape + 1 == p.m.etapes) {
            ecrire_resultat(p, lu.tuile, voie, total);
            total = 0.f;
        }
        lu.avancer(p.m, pas);
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
