// Attention d'un seul jeton, répartie sur le contexte : un bloc par tête kv et par tranche de positions.
// Le dernier bloc arrivé d'une tête réunit les tranches, toujours dans le même ordre.

#define CHAINES_ATTENTION 4
#define POSITIONS_MIN 64       // positions par tranche, au moins
#define TRANCHES 32            // tranches, au plus
#define PARTIEL (DIM_TETE + 2) // maximum, somme, puis valeurs non normées

// Voies qui se partagent une position : une puissance de deux, 8 valeurs chacune.
#define VOIES_POSITION \
    (DIM_TETE <= 8 ? 1 : DIM_TETE <= 16 ? 2 : DIM_TETE <= 32 ? 4 : DIM_TETE <= 64 ? 8 : DIM_TETE <= 128 ? 16 : 32)
#define POSITIONS_CHAINE (32 / VOIES_POSITION)
// Têtes de requêtes par bloc : leurs accumulateurs tiennent dans les registres.
#define TETES_BLOC (TETES_PAR_GROUPE <= 8 ? TETES_PAR_GROUPE : 8)

struct AttentionJeton {
    Tetes t;
    const float* qkv;  // q, k, v à la suite
    float* sortie;     // [têtes, DIM_TETE]
    float* partiels;   // [têtes, TRANCHES, PARTIEL]
    u32* arrivees;     // [tête kv, part], nuls entre deux lancements
    const Pas* pas;
};

// Softmax en cours d'une tête : maximum, somme des exponentielles, valeurs pondérées.
struct Cumul {
    float maximum, somme, valeurs[8];

    __device__ __forceinline__ void vider() {
        maximum = -INFINI, somme = 0.f;
#pragma unroll
        for (int i = 0; i < 8; i++) valeurs[i] = 0.f;
    }
    __device__ __forceinline__ void ajouter(float m, float s, const float (&v)[8]) {
        float nouveau = fmaxf(maximum, m);
        if (nouveau == -INFINI) return;
        float a = expf(maximum - nouveau), b = expf(m - nouveau);
        somme = somme * a + s * b;
#pragma unroll
        for (int i = 0; i < 8; i++) valeurs[i] = valeurs[i] * a + v[i] * b;
        maximum = nouveau;
    }
};

// Réunit les cumuls des voies d'une chaîne qui portent les mêmes dimensions.
__device__ __forceinline__ void reunir_chaine(Cumul& c) {
    for (int o = VOIES_POSITION; o < 32; o <<= 1) {
        float v[8];
        float m = __shfl_xor_sync(~0u, c.maximum, o), s = __shfl_xor_sync(~0u, c.somme, o);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = __shfl_xor_sync(~0u, c.valeurs[i], o);
        c.ajouter(m, s, v);
    }
}

// Réunit `n` cumuls rangés à `pas` réels l'un de l'autre : un fil par dimension.
__device__ __forceinline__ float reunir(const float* cumuls, int n, int pas, int d, float* maximum,
                                        float* somme) {
    float m = -INFINI, s = 0.f, v = 0.f;
    for (int i = 0; i < n; i++) m = fmaxf(m, lire_l2_un(cumuls + i * pas));
    for (int i = 0; i < n; i++) {
        float f = expf(lire_l2_un(cumuls + i * pas) - m);
        s += lire_l2_un(cumuls + i * pas + 1) * f;
        v += lire_l2_un(cumuls + i * pas + 2 + d) * f;
    }
    *maximum = m, *somme = s;
    return v;
}

extern "C" __global__ void __launch_bounds__(CHAINES_ATTENTION * 32)
    attention_jeton(const __grid_constant__ AttentionJeton p) {
    __shared__ float q[TETES_BLOC][DIM_TETE], kv_neuves[2][DIM_TETE];
    __shared__ __align__(16) u16 neuves[2][DIM_TETE];
    __shared__ float locaux[TETES_BLOC][CHAINES_ATTENTION][PARTIEL];
    __shared__ bool est_dernier;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const int kv = blockIdx.x, tranche = blockIdx.y, part = blockIdx.z;
    const int nb_tetes = p.t.nb_kv * TETES_PAR_GROUPE;
    const int tete = kv * TETES_PAR_GROUPE + part * TETES_BLOC;
    const int tetes = min(TETES_BLOC, TETES_PAR_GROUPE - part * TETES_BLOC);
    laisser_suivre();
    attendre_precedent();

    const int position = p.pas->position;
    const int premiere = p.t.fenetre ? max(0, position + 1 - p.t.fenetre) : 0;
    const int vues = position + 1 - premiere;
    const int longueur = max(POSITIONS_MIN, (vues + TRANCHES - 1) / TRANCHES);
    const int tranches = (vues + longueur - 1) / longueur;
    if (tranche >= tranches) return;
    const int debut = premiere + tranche * longueur, fin = min(debut + longueur, position + 1);

    const float* source_k = p.qkv + nb_tetes * DIM_TETE + kv * DIM_TETE;
    for (int i = chaine; i < tetes + 2; i += CHAINES_ATTENTION) {
        if (i < tetes) {
            int d = (tete + i) * DIM_TETE;
            preparer_tete(p.qkv + d, p.t.biais_q ? p.t.biais_q + d : nullptr, p.t.norme_q, p.t, position, true,
                          q[i]);
        } else if (fin == position + 1) {
            bool est_cle = i == tetes;
            const float* biais = est_cle ? p.t.biais_k : p.t.biais_v;
            preparer_tete(source_k + (est_cle ? 0 : p.t.nb_kv * DIM_TETE), biais ? biais + kv * DIM_TETE : nullptr,
                          est_cle ? p.t.norme_k : nullptr, p.t, position, est_cle, kv_neuves[i - tetes]);
        }
    }
    __syncthreads();
    u16* cles = p.t.cles + place_cache(p.t, p.pas->sequence, kv);
    u16* valeurs = p.t.valeurs + place_cache(p.t, p.pas->sequence, kv);
    if (fin == position + 1) {
        for (int d = threadIdx.x; d < DIM_TETE; d += blockDim.x) {
            neuves[0][d] = vers_f16(kv_neuves[0][d]);
            neuves[1][d] = vers_f16(kv_neuves[1][d]);
            if (part == 0) {
                cles[(u64)position * DIM_TETE + d] = neuves[0][d];
                valeurs[(u64)position * DIM_TETE + d] = neuves[1][d];
            }
        }
        __syncthreads();
    }

    const int d0 = voie % VOIES_POSITION * 8;
    const bool utile = d0 < DIM_TETE;
    Cumul cumuls[TETES_BLOC];
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) cumuls[h].vider();
    for (int base = debut; base < fin; base += CHAINES_ATTENTION * POSITIONS_CHAINE) {
        int pos = base + chaine * POSITIONS_CHAINE + voie / VOIES_POSITION;
        float k[8] = {}, v[8] = {};
        if (pos < fin && utile) {
            lire_8(pos == position ? neuves[0] + d0 : cles + (u64)pos * DIM_TETE + d0, k);
            lire_8(pos == position ? neuves[1] + d0 : valeurs + (u64)pos * DIM_TETE + d0, v);
        }
#pragma unroll
        for (int h = 0; h < TETES_BLOC; h++) {
            float s = 0.f;
            if (utile && h < tetes) {
#pragma unroll
                for (int i = 0; i < 8; i++) s += q[h][d0 + i] * k[i];
            }
            for (int o = VOIES_POSITION / 2; o > 0; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
            if (pos < fin) cumuls[h].ajouter(s * p.t.echelle, 1.f, v);
        }
    }
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) {
        reunir_chaine(cumuls[h]);
        if (voie >= VOIES_POSITION) continue;
        float* local = locaux[h][chaine];
        if (voie == 0) local[0] = cumuls[h].maximum, local[1] = cumuls[h].somme;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            if (d0 + i < DIM_TETE) local[2 + d0 + i] = cumuls[h].valeurs[i];
        }
    }
    __syncthreads();

    for (int i = threadIdx.x; i < tetes * DIM_TETE; i += blockDim.x) {
        int h = i / DIM_TETE, d = i % DIM_TETE;
        float m = -INFINI, s = 0.f, v = 0.f;
        for (int c = 0; c < CHAINES_ATTENTION; c++) m = fmaxf(m, locaux[h][c][0]);
        for (int c = 0; c < CHAINES_ATTENTION; c++) {
            float f = expf(locaux[h][c][0] - m);
            s += locaux[h][c][1] * f;
            v += locaux[h][c][2 + d] * f;
        }
        if (tranches == 1) {
            p.sortie[tete * DIM_TETE + i] = v / s;
        } else {
            float* partiel = p.partiels + ((tete + h) * TRANCHES + tranche) * PARTIEL;
            partiel[2 + d] = v;
            if (d == 0) partiel[0] = m, partiel[1] = s;
        }
    }
    if (tranches == 1) return;
    __threadfence();
    __syncthreads();
    u32* arrivees = p.arrivees + kv * gridDim.z + part;
    if (threadIdx.x == 0) est_dernier = atomicInc(arrivees, tranches - 1) == tranches - 1;
    __syncthreads();
    if (!est_dernier) return;
    __threadfence();
    for (int i = threadIdx.x; i < tetes * DIM_TETE; i += blockDim.x) {
        const float* partiels = p.partiels + (tete + i / DIM_TETE) * TRANCHES * PARTIEL;
        float m, s, v = reunir(partiels, tranches, PARTIEL, i % DIM_TETE, &m, &s);
        p.sortie[tete * DIM_TETE + i] = v / s;
    }
}
