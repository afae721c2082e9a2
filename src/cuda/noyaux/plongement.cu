// Matrices décodées : lignes de plongement choisies, ou matrice entière en f16 pour les produits
// matriciels sur cœurs tenseurs.

struct Plongement {
    Matrice m;
    const u32* jetons;  // un par ligne de sortie
    const Pas* annonce; // pour un seul jeton : ce que l'hôte en dit, dans sa propre mémoire…
    Pas* pas;           // … recopié ici pour les noyaux suivants
    float* sortie;      // [n, colonnes]
    float echelle;
};

// Un bloc par jeton ; un fil par bloc de 32 colonnes et par voie.
template <int T>
__device__ __forceinline__ void plonger(const Plongement& p) {
    u32 jeton;
    if (p.annonce) {
        Pas pas = *p.annonce;
        if (threadIdx.x == 0) *p.pas = pas;
        jeton = pas.jeton;
    } else {
        jeton = p.jetons[blockIdx.x];
    }
    float* sortie = p.sortie + (u64)blockIdx.x * p.m.colonnes;
    const int h = jeton / 8 % 2, g = jeton % 8;
    for (int i = threadIdx.x; i < p.m.etapes * 16; i += blockDim.x) {
        int v = i % 4, b = i / 4 % 4, k = i / 4 * 32 + v * 4;
        u64 etape = (u64)(jeton / LIGNES_TUILE) * p.m.etapes + i / 16;
        Unite<T> u = lire_unite<T>(p.m, etape, 4 * g + v), e = lire_echelles<T>(p.m, etape, 4 * g + b);
        float w[8];
#pragma unroll
        for (int choix = 0; choix < 8; choix++) {
            if (choix == h * 4 + b) decoder_bloc(u, e, choix / 4, choix % 4, w);
        }
#pragma unroll
        for (int moitie = 0; moitie < 2; moitie++) {
            if (k + moitie * 16 >= p.m.colonnes) continue;
            *(float4*)(sortie + k + moitie * 16) =
                make_float4(w[4 * moitie] * p.echelle, w[4 * moitie + 1] * p.echelle,
                            w[4 * moitie + 2] * p.echelle, w[4 * moitie + 3] * p.echelle);
        }
    }
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
    const u64 place = (u64)(p.premiere / LIGNES_TUILE + tuile) * p.m.etapes + etape;
    Unite<T> u = lire_unite<T>(p.m, place, voie);
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

NOYAUX_PLONGEMENT(q4, Q4)
NOYAUX_PLONGEMENT(q4m, Q4M)
NOYAUX_PLONGEMENT(q6, Q6)
NOYAUX_PLONGEMENT(q8, Q8)
NOYAUX_PLONGEMENT(f16, F16)
NOYAUX_PLONGEMENT(bf16, BF16)
NOYAUX_PLONGEMENT(f32, F32)
