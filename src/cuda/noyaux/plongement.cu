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

// Un bloc par jeton, un fil par morceau de 8 poids.
template <int T>
__device__ __forceinline__ void plonger(const Plongement& p) {
    laisser_suivre();
    attendre_precedent();
    u32 jeton;
    if (p.annonce) {
        Pas pas = *p.annonce;
        if (threadIdx.x == 0) *p.pas = pas;
        jeton = pas.jeton;
    } else {
        jeton = p.jetons[blockIdx.x];
    }
    float* sortie = p.sortie + (u64)blockIdx.x * p.m.colonnes;
    for (int k = threadIdx.x * 8; k < p.m.colonnes; k += blockDim.x * 8) {
        u64 bloc;
        int voie;
        situer(p.m, jeton, k / 64, &bloc, &voie);
        Unite<T> u = lire_unite<T>(p.m, bloc, voie);
        float w[8];
#pragma unroll
        for (int c = 0; c < 8; c++) {
            if (c == k / 8 % 8) decoder8_f32(u, c, w);
        }
        *(float4*)(sortie + k) =
            make_float4(w[0] * p.echelle, w[1] * p.echelle, w[2] * p.echelle, w[3] * p.echelle);
        *(float4*)(sortie + k + 4) =
            make_float4(w[4] * p.echelle, w[5] * p.echelle, w[6] * p.echelle, w[7] * p.echelle);
    }
}

struct Deballage {
    Matrice m;
    u16* sortie;   // [lignes, enjambee] f16
    int premiere;  // première ligne décodée, un multiple des lignes d'une tuile
    int lignes;
    int enjambee;  // colonnes de la sortie : des zéros après les vraies
};

// Une voie par unité, dans l'ordre du rangement ; une chaîne par étape d'une tuile.
template <int T>
__device__ __forceinline__ void deballer(const Deballage& p) {
    int par_tuile = 32 / p.m.groupe;
    int voie = threadIdx.x % 32;
    int etape = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    int tuile = etape / p.m.etapes;
    etape %= p.m.etapes;
    int ligne = tuile * par_tuile + voie / p.m.groupe;
    int k = (etape * p.m.groupe + voie % p.m.groupe) * 64;
    if (ligne >= p.lignes || k >= p.enjambee) return;
    u64 bloc = (u64)(p.premiere / par_tuile + tuile) * p.m.etapes + etape;
    Unite<T> u = lire_unite<T>(p.m, bloc, voie);
    uint4* sortie = (uint4*)(p.sortie + (u64)ligne * p.enjambee + k);
#pragma unroll
    for (int c = 0; c < 8; c++) {
        float w[8];
        decoder8_f32(u, c, w);
        sortie[c] = make_uint4(paire_f16(w[0], w[1]), paire_f16(w[2], w[3]), paire_f16(w[4], w[5]),
                               paire_f16(w[6], w[7]));
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
