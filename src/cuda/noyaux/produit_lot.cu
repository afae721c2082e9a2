// Produit matriciel sur cœurs tenseurs : sortie[n, lignes] = entrée[n, k] · poids[lignes, k]ᵀ, les deux
// en f16. Tuiles de 128 × 128, tranches de 64 en k, trois étages de copies asynchrones.

#define TUILE 128
#define TRANCHE_K 64
#define ETAGES_LOT 3
#define OCTETS_TUILE (TUILE * TRANCHE_K * 2)

struct ProduitLot {
    const u16* entree;  // [n, k], réduite
    const u16* poids;   // [lignes, k]
    float* sortie;      // [n, enjambee], à partir de la colonne voulue ; f16 pour PORTE_…
    int n;
    int lignes;
    int k;         // un multiple de TRANCHE_K
    int enjambee;
    int effet;     // ECRIRE, AJOUTER, PORTE_SILU, PORTE_GELU
};

// Place, en octets, du morceau de 8 valeurs `c` de la ligne `l` : permuté pour que huit lignes
// voisines tombent dans des bancs différents.
__device__ __forceinline__ u32 place_tuile(int l, int c) { return l * 128 + ((c ^ (l & 7)) << 4); }

__device__ __forceinline__ void copier_tuile(u32 place, const u16* source, int premiere, int lignes, int k,
                                             int debut) {
#pragma unroll
    for (int i = 0; i < TUILE * 8 / 256; i++) {
        int m = i * 256 + threadIdx.x, l = m / 8, c = m % 8;
        // Au-delà de la dernière ligne : n'importe quelle valeur, le résultat n'est pas écrit.
        u64 ligne = min(premiere + l, lignes - 1);
        copier_16(place + place_tuile(l, c), source + ligne * k + debut + c * 8);
    }
}

__device__ __forceinline__ void ecrire_paire(const ProduitLot& p, int ligne, int colonne, float a, float b) {
    if (ligne >= p.n || colonne >= p.lignes) return;
    a *= EXPANSION, b *= EXPANSION;
    u64 place = (u64)ligne * p.enjambee + colonne;
    if (p.effet >= PORTE_SILU) {
        u16* sortie = (u16*)p.sortie;
        sortie[(u64)ligne * p.enjambee + colonne / 2] =
            vers_f16(activer(a, p.effet - PORTE_SILU) * b * REDUCTION);
        return;
    }
    bool deux = colonne + 1 < p.lignes;
    if (p.effet == AJOUTER) {
        p.sortie[place] += a;
        if (deux) p.sortie[place + 1] += b;
    } else {
        p.sortie[place] = a;
        if (deux) p.sortie[place + 1] = b;
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) produit_lot(const __grid_constant__ ProduitLot p) {
    const u32 base = adresse_partagee(memoire);
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const int ligne0 = blockIdx.x * TUILE, colonne0 = blockIdx.y * TUILE;
    const int m0 = chaine % 2 * 64, n0 = chaine / 2 * 32;
    const int tranches = p.k / TRANCHE_K;
    laisser_suivre();
    attendre_precedent();

    auto demander = [&](int t) {
        if (t < tranches) {
            u32 place = base + t % ETAGES_LOT * 2 * OCTETS_TUILE;
            copier_tuile(place, p.entree, ligne0, p.n, p.k, t * TRANCHE_K);
            copier_tuile(place + OCTETS_TUILE, p.poids, colonne0, p.lignes, p.k, t * TRANCHE_K);
        }
        clore_copies();
    };
    float c[4][4][4] = {};
    for (int t = 0; t < ETAGES_LOT - 1; t++) demander(t);
    for (int t = 0; t < tranches; t++) {
        attendre_copies<ETAGES_LOT - 2>();
        __syncthreads();
        demander(t + ETAGES_LOT - 1);
        u32 a0 = base + t % ETAGES_LOT * 2 * OCTETS_TUILE, b0 = a0 + OCTETS_TUILE;
#pragma unroll
        for (int kk = 0; kk < TRANCHE_K / 16; kk++) {
            u32 a[4][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                charger_fragments(a[i], a0 + place_tuile(m0 + i * 16 + voie % 16, kk * 2 + voie / 16));
#pragma unroll
            for (int j = 0; j < 2; j++)
                charger_fragments(b[j], b0 + place_tuile(n0 + j * 16 + voie % 8 + voie / 16 * 8,
                                                         kk * 2 + voie / 8 % 2));
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) accumuler(c[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int ligne = ligne0 + m0 + i * 16 + voie / 4, colonne = colonne0 + n0 + j * 8 + voie % 4 * 2;
            ecrire_paire(p, ligne, colonne, c[i][j][0], c[i][j][1]);
            ecrire_paire(p, ligne + 8, colonne, c[i][j][2], c[i][j][3]);
        }
}
