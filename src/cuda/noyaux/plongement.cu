// Matrices décodées : lignes de plongement choisies, ou matrice entière en f16 pour les produits
// matriciels sur cœurs tenseurs.

// Quatre valeurs voisines, deux fois : ce que `moitie` de 0 à 1 donne des colonnes k + 16 · moitie de la ligne.
template <int T>
__device__ __forceinline__ void decoder_part(const Matrice& m, u32 ligne, int i, float (&w)[8]) {
#pragma unroll
    for (int j = 0; j < 8; j++) w[j] = 0.f;
    const int h = ligne / 8 % 2, g = ligne % 8, v = i % 4, b = i / 4 % 4;
    const int tuile = ligne / LIGNES_TUILE;
    Unite<T> u = obtenir<T>(m, tuile, i / 16, 4 * g + v), e = obtenir<T>(m, tuile, i / 16, 4 * g + b);
#pragma unroll
    for (int choix = 0; choix < 8; choix++) {
        if (choix == h * 4 + b) decoder_bloc(u, e, choix / 4, choix % 4, w);
    }
}

// Parts d'une ligne : un fil en prend une, qui commence à cette colonne.
__device__ __forceinline__ int parts_ligne(const Matrice& m) { return m.etapes * 16; }
__device__ __forceinline__ int colonne_part(int i) { return i / 4 * 32 + i % 4 * 4; }

struct Plongement {
    Matrice m;
    const u32* jetons;  // un par ligne de sortie
    float* sortie;      // [n, colonnes]
    float echelle;
};

// Un bloc par jeton.
template <int T>
__device__ __forceinline__ void plonger(const Plongement& p) {
    float* sortie = p.sortie + (u64)blockIdx.x * p.m.colonnes;
    for (int i = threadIdx.x; i < parts_ligne(p.m); i += blockDim.x) {
        float w[8];
        decoder_part<T>(p.m, p.jetons[blockIdx.x], i, w);
#pragma unroll
        for (int moitie = 0; moitie < 2; moitie++) {
            const int k = colonne_part(i) + moitie * 16;
            if (k >= p.m.colonnes) continue;
            *(float4*)(sortie + k) = make_float4(w[4 * moitie] * p.echelle, w[4 * moitie + 1] * p.echelle,
                                                 w[4 * moitie + 2] * p.echelle, w[4 * moitie + 3] * p.echelle);
        }
    }
}

// De même pour un seul jeton, en valeurs marquées, tous les blocs ensemble.
template <int T>
__device__ __forceinline__ void plonger_marque(const Source& p, u32 jeton, u32 numero) {
    for (int i = blockIdx.x * FILS + threadIdx.x; i < parts_ligne(p.m); i += gridDim.x * FILS) {
        float w[8];
        decoder_part<T>(p.m, jeton, i, w);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const int k = colonne_part(i) + j / 4 * 16 + j % 4;
            if (k < p.m.colonnes) ecrire_marquee(p.sortie + k, __float_as_uint(w[j] * p.echelle), numero);
        }
    }
}

// Hors du noyau qui l'appelle : ses registres ne doivent rien coûter aux produits.
__device__ __noinline__ void source(const Source& p, u32 jeton, u32 numero) {
    if (p.vecteur) {
        for (int k = blockIdx.x * FILS + threadIdx.x; k < p.m.colonnes; k += gridDim.x * FILS)
            ecrire_marquee(p.sortie + k, __float_as_uint(p.vecteur[k]), numero);
        return;
    }
    selon_format<EMPLOYES>(p.m.format % VIRTUEL, [&](auto f) { plonger_marque<decltype(f)::VALEUR>(p, jeton, numero); });
}

struct Deballage {
    Matrice m;
    u16* sortie;   // [lignes, enjambee] f16
    int premiere;  // première ligne décodée, un multiple de 16
    int lignes;
    int enjambee;  // colonnes de la sortie : des zéros après les vraies
};

// Une voie par unité, dans l'ordre du rangement ; une chaîne par étape d'une tuile.
template <int T>
__device__ __forceinline__ void deballer(const Deballage& p) {
    const int voie = threadIdx.x % 32, rang = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    const int tuile = rang / p.m.etapes, etape = rang % p.m.etapes;
    if (tuile * LIGNES_TUILE >= p.lignes) return;
    Unite<T> u = obtenir<T>(p.m, p.premiere / LIGNES_TUILE + tuile, etape, voie);
#pragma unroll
    for (int b = 0; b < 4; b++) {
        Unite<T> e;
        e.echelles.x = __shfl_sync(~0u, u.echelles.x, voie / 4 * 4 + b);
        e.echelles.y = __shfl_sync(~0u, u.echelles.y, voie / 4 * 4 + b);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float w[8];
            decoder_bloc(u, e, h, b, w);
            int ligne = tuile * LIGNES_TUILE + h * 8 + voie / 4, k = etape * COLONNES_ETAPE + b * 32 + voie % 4 * 4;
            if (ligne >= p.lignes || k >= p.enjambee) continue;
            u16* sortie = p.sortie + (u64)ligne * p.enjambee + k;
            *(uint2*)sortie = make_uint2(paire_f16(w[0], w[1]), paire_f16(w[2], w[3]));
            *(uint2*)(sortie + 16) = make_uint2(paire_f16(w[4], w[5]), paire_f16(w[6], w[7]));
        }
    }
}

#define NOYAUX_PLONGEMENT(nom, T)                                                                          \
    extern "C" __global__ void plonger_##nom(const __grid_constant__ Plongement p) { plonger<T>(p); }      \
    extern "C" __global__ void deballer_##nom(const __grid_constant__ Deballage p) { deballer<T>(p); }

#if EMPLOYES >> Q4 & 1
NOYAUX_PLONGEMENT(q4, Q4)
#endif
#if EMPLOYES >> Q4M & 1
NOYAUX_PLONGEMENT(q4m, Q4M)
#endif
#if EMPLOYES >> Q6 & 1
NOYAUX_PLONGEMENT(q6, Q6)
#endif
#if EMPLOYES >> Q6M & 1
NOYAUX_PLONGEMENT(q6m, Q6M)
#endif
#if EMPLOYES >> Q8 & 1
NOYAUX_PLONGEMENT(q8, Q8)
#endif
#if EMPLOYES >> Q8M & 1
NOYAUX_PLONGEMENT(q8m, Q8M)
#endif
#if EMPLOYES >> NF4 & 1
NOYAUX_PLONGEMENT(nf4, NF4)
#endif
#if EMPLOYES >> FP4 & 1
NOYAUX_PLONGEMENT(fp4, FP4)
#endif
#if EMPLOYES >> F16 & 1
NOYAUX_PLONGEMENT(f16, F16)
#endif
#if EMPLOYES >> BF16 & 1
NOYAUX_PLONGEMENT(bf16, BF16)
#endif
#if EMPLOYES >> F32 & 1
NOYAUX_PLONGEMENT(f32, F32)
#endif
