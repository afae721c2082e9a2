// Attention de plusieurs jetons consécutifs d'une séquence, par tuiles (softmax en ligne) sur cœurs
// tenseurs : 64 requêtes d'une tête par bloc, 16 par chaîne, tuiles de 64 clés copiées d'avance.
// Dao, « FlashAttention-2 » (2023), algorithme 1.

#define REQUETES_BLOC 64
#define CLES_TUILE 64
#define DIM_PLEINE ((DIM_TETE + 15) / 16 * 16)
#define PAS_TETE (DIM_PLEINE + 8)  // f16 ; le pas impair de 16 octets évite les conflits de bancs
#define OCTETS_CLES (CLES_TUILE * PAS_TETE * 2)

struct AttentionLot {
    Tetes t;
    const u16* q;       // [n, têtes, DIM_TETE], échelle comprise
    u16* sortie;        // [n, enjambee] f16, réduites
    int enjambee;
    int n;              // requêtes
    int passe;          // position de la première
    u32 sequence;
};

// Copie 64 lignes de DIM_TETE valeurs ; les lignes au-delà de `lignes` et les colonnes en trop : zéros.
__device__ __forceinline__ void copier_tete(u32 place, u8* memoire, const u16* source, int lignes, u64 pas) {
    for (int i = threadIdx.x; i < CLES_TUILE * (DIM_PLEINE / 8); i += blockDim.x) {
        int l = i / (DIM_PLEINE / 8), c = i % (DIM_PLEINE / 8);
        int o = (l * PAS_TETE + c * 8) * 2;
        if (l < lignes && c * 8 < DIM_TETE) copier_16(place + o, source + l * pas + c * 8);
        else *(uint4*)(memoire + o) = make_uint4(0, 0, 0, 0);
    }
}

extern "C" __global__ void __launch_bounds__(128) attention_lot(const __grid_constant__ AttentionLot p) {
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    // Les derniers blocs ont le plus de clés à voir : ils partent les premiers.
    const int requete0 = (gridDim.x - 1 - blockIdx.x) * REQUETES_BLOC, tete = blockIdx.y;
    const int nb_tetes = p.t.nb_kv * TETES_PAR_GROUPE;
    const u32 base = adresse_partagee(memoire);
    laisser_suivre();
    attendre_precedent();

    const u64 cache = place_cache(p.t, p.sequence, tete / TETES_PAR_GROUPE);
    const int derniere = p.passe + min(requete0 + REQUETES_BLOC, p.n) - 1;
    const int premiere = p.t.fenetre ? max(0, p.passe + requete0 + 1 - p.t.fenetre) : 0;
    const int cle0 = premiere / CLES_TUILE * CLES_TUILE;
    const int tuiles = (derniere - cle0) / CLES_TUILE + 1;
    auto demander = [&](int t) {
        if (t < tuiles) {
            int cle = cle0 + t * CLES_TUILE, place = OCTETS_CLES * (1 + t % 2 * 2);
            int lignes = derniere + 1 - cle;
            copier_tete(base + place, memoire + place, p.t.cles + cache + (u64)cle * DIM_TETE, lignes, DIM_TETE);
            place += OCTETS_CLES;
            copier_tete(base + place, memoire + place, p.t.valeurs + cache + (u64)cle * DIM_TETE, lignes, DIM_TETE);
        }
        clore_copies();
    };
    copier_tete(base, memoire, p.q + ((u64)requete0 * nb_tetes + tete) * DIM_TETE, p.n - requete0,
                (u64)nb_tetes * DIM_TETE);
    demander(0);

    float o[DIM_PLEINE / 8][4] = {};
    float maxima[2] = {-INFINI, -INFINI}, sommes[2] = {0.f, 0.f};
    const int position = p.passe + requete0 + chaine * 16 + voie / 4;  // et position + 8
    for (int t = 0; t < tuiles; t++) {
        demander(t + 1);
        attendre_copies<1>();
        __syncthreads();
        const u32 k0 = base + OCTETS_CLES * (1 + t % 2 * 2), v0 = k0 + OCTETS_CLES;
        float s[CLES_TUILE / 8][4] = {};
#pragma unroll
        for (int kk = 0; kk < DIM_PLEINE / 16; kk++) {
            u32 a[4];
            charger_fragments(a, base + ((chaine * 16 + voie % 16) * PAS_TETE + kk * 16 + voie / 16 * 8) * 2);
#pragma unroll
            for (int j = 0; j < CLES_TUILE / 16; j++) {
                u32 b[4];
                int ligne = j * 16 + voie % 8 + voie / 16 * 8;
                charger_fragments(b, k0 + (ligne * PAS_TETE + kk * 16 + voie / 8 % 2 * 8) * 2);
                accumuler(s[2 * j], a, b[0], b[1]);
                accumuler(s[2 * j + 1], a, b[2], b[3]);
            }
        }
        const int cle = cle0 + t * CLES_TUILE + voie % 4 * 2;
        u32 probabilites[CLES_TUILE / 8][2];
#pragma unroll
        for (int moitie = 0; moitie < 2; moitie++) {
            const int pos = position + moitie * 8;
            float maximum = maxima[moitie];
#pragma unroll
            for (int j = 0; j < CLES_TUILE / 8; j++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int ecart = pos - (cle + j * 8 + i);
                    float& v = s[j][moitie * 2 + i];
                    if (ecart < 0 || (p.t.fenetre && ecart >= p.t.fenetre)) v = -INFINI;
                    maximum = fmaxf(maximum, v);
                }
            maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, 1));
            maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, 2));
            // Une ligne peut n'avoir encore rien vu (fenêtre) : tout reste nul.
            float appui = maximum == -INFINI ? 0.f : maximum;
            float f = __expf(maxima[moitie] - appui), somme = 0.f;
#pragma unroll
            for (int j = 0; j < CLES_TUILE / 8; j++) {
                float a = __expf(s[j][moitie * 2] - appui), b = __expf(s[j][moitie * 2 + 1] - appui);
                probabilites[j][moitie] = paire_f16(a, b);
                somme += a + b;
            }
            sommes[moitie] = sommes[moitie] * f + somme;
            maxima[moitie] = maximum;
#pragma unroll
            for (int j = 0; j < DIM_PLEINE / 8; j++) o[j][moitie * 2] *= f, o[j][moitie * 2 + 1] *= f;
        }
#pragma unroll
        for (int kk = 0; kk < CLES_TUILE / 16; kk++) {
            u32 a[4] = {probabilites[2 * kk][0], probabilites[2 * kk][1], probabilites[2 * kk + 1][0],
                        probabilites[2 * kk + 1][1]};
#pragma unroll
            for (int j = 0; j < DIM_PLEINE / 16; j++) {
                u32 b[4];
                int ligne = kk * 16 + voie % 16;
                charger_fragments_transposes(b, v0 + (ligne * PAS_TETE + j * 16 + voie / 16 * 8) * 2);
                accumuler(o[2 * j], a, b[0], b[1]);
                accumuler(o[2 * j + 1], a, b[2], b[3]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int moitie = 0; moitie < 2; moitie++) {
        float somme = sommes[moitie];
        somme += __shfl_xor_sync(~0u, somme, 1);
        somme += __shfl_xor_sync(~0u, somme, 2);
        int requete = requete0 + chaine * 16 + voie / 4 + moitie * 8;
        if (requete >= p.n) continue;
        u16* sortie = p.sortie + (u64)requete * p.enjambee + tete * DIM_TETE;
#pragma unroll
        for (int j = 0; j < DIM_PLEINE / 8; j++) {
            int d = j * 8 + voie % 4 * 2;
            float f = REDUCTION / somme;
            if (d < DIM_TETE) *(u32*)(sortie + d) = paire_f16(o[j][moitie * 2] * f, o[j][moitie * 2 + 1] * f);
        }
    }
}
