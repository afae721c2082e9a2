// Attention d'un seul jeton, répartie sur le contexte : un bloc par tête kv et par tranche de positions.
// Le dernier bloc arrivé d'une tête réunit les tranches, toujours dans le même ordre.

#define CHAINES_ATTENTION 8
#define POSITIONS_MIN 64       // positions par tranche, au moins
#define TRANCHES 32            // tranches, au plus
#define PARTIEL (DIM_TETE + 2) // maximum, somme, puis valeurs non normées

// Voies qui se partagent une position : une puissance de deux, 8 valeurs chacune.
#define VOIES_POSITION \
    (DIM_TETE <= 8 ? 1 : DIM_TETE <= 16 ? 2 : DIM_TETE <= 32 ? 4 : DIM_TETE <= 64 ? 8 : DIM_TETE <= 128 ? 16 : 32)
#define POSITIONS_CHAINE (32 / VOIES_POSITION)
// Têtes de requêtes par bloc : leurs accumulateurs tiennent dans les registres et la mémoire partagée.
#define TETES_BLOC_MAX (DIM_TETE <= 128 ? 8 : 4)
#define TETES_BLOC (TETES_PAR_GROUPE <= TETES_BLOC_MAX ? TETES_PAR_GROUPE : TETES_BLOC_MAX)

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

// Ce qu'un bloc doit voir.
struct Portee {
    int position, debut, fin, tranches;

    __device__ __forceinline__ Portee(const Tetes& t, int position, int tranche) : position(position) {
        int premiere = t.fenetre ? max(0, position + 1 - t.fenetre) : 0, vues = position + 1 - premiere;
        int longueur = max(POSITIONS_MIN, (vues + TRANCHES - 1) / TRANCHES);
        tranches = (vues + longueur - 1) / longueur;
        debut = premiere + tranche * longueur;
        fin = min(debut + longueur, position + 1);
    }
    // Le jeton lui-même en fait-il partie ?
    __device__ __forceinline__ bool est_courante() const { return fin == position + 1; }
};

struct Partage {
    float q[TETES_BLOC][DIM_TETE];
    float kv[2][DIM_TETE];                 // clé et valeur du jeton
    __align__(16) u16 neuves[2][DIM_TETE]; // les mêmes, en f16
    float cumuls[TETES_BLOC][CHAINES_ATTENTION][PARTIEL];
    Angles angles;
    bool est_dernier;
};

// Prépare les requêtes du bloc et, s'il voit le jeton courant, sa clé et sa valeur, qu'une seule part
// range dans le cache.
__device__ __forceinline__ void preparer_bloc(const AttentionJeton& p, Partage& s, const Portee& portee, int kv,
                                              int tete, int tetes, u16* cles, u16* valeurs, bool ranger) {
    const float* source = p.qkv + (p.t.nb_kv * TETES_PAR_GROUPE + kv) * DIM_TETE;
    for (int i = threadIdx.x / 32; i < tetes + 2; i += CHAINES_ATTENTION) {
        if (i < tetes) {
            int d = (tete + i) * DIM_TETE;
            preparer_tete(p.qkv + d, p.t.biais_q ? p.t.biais_q + d : nullptr, p.t.norme_q, p.t, &s.angles, s.q[i]);
        } else if (portee.est_courante()) {
            bool est_cle = i == tetes;
            const float* biais = est_cle ? p.t.biais_k : p.t.biais_v;
            preparer_tete(source + (est_cle ? 0 : p.t.nb_kv * DIM_TETE), biais ? biais + kv * DIM_TETE : nullptr,
                          est_cle ? p.t.norme_k : nullptr, p.t, est_cle ? &s.angles : nullptr, s.kv[i - tetes]);
        }
    }
    __syncthreads();
    if (!portee.est_courante()) return;
    for (int d = threadIdx.x; d < DIM_TETE; d += blockDim.x) {
        s.neuves[0][d] = vers_f16(s.kv[0][d]);
        s.neuves[1][d] = vers_f16(s.kv[1][d]);
        if (ranger) {
            cles[(u64)portee.position * DIM_TETE + d] = s.neuves[0][d];
            valeurs[(u64)portee.position * DIM_TETE + d] = s.neuves[1][d];
        }
    }
    __syncthreads();
}

// Une position du cache, lue d'avance.
struct CleValeur {
    uint4 k, v;

    __device__ __forceinline__ void lire(const u16* cles, const u16* valeurs, const Portee& portee, int pos, int d0) {
        k = v = make_uint4(0, 0, 0, 0);
        if (pos >= min(portee.fin, portee.position) || d0 >= DIM_TETE) return;
        k = *(const uint4*)(cles + (u64)pos * DIM_TETE + d0);
        v = *(const uint4*)(valeurs + (u64)pos * DIM_TETE + d0);
    }
};

// Réunit les chaînes, puis écrit le résultat, ou le cumul de cette tranche s'il y en a plusieurs.
__device__ __forceinline__ void ecrire_cumuls(const AttentionJeton& p, const Partage& s, int tete, int tetes,
                                              int tranche, int tranches) {
    for (int i = threadIdx.x; i < tetes * DIM_TETE; i += blockDim.x) {
        int h = i / DIM_TETE, d = i % DIM_TETE;
        float maximum = -INFINI, somme = 0.f, v = 0.f;
        for (int c = 0; c < CHAINES_ATTENTION; c++) maximum = fmaxf(maximum, s.cumuls[h][c][0]);
        for (int c = 0; c < CHAINES_ATTENTION; c++) {
            float f = expf(s.cumuls[h][c][0] - maximum);
            somme += s.cumuls[h][c][1] * f;
            v += s.cumuls[h][c][2 + d] * f;
        }
        if (tranches == 1) {
            p.sortie[tete * DIM_TETE + i] = v / somme;
            continue;
        }
        float* partiel = p.partiels + ((tete + h) * TRANCHES + tranche) * PARTIEL;
        partiel[2 + d] = v;
        if (d == 0) partiel[0] = maximum, partiel[1] = somme;
    }
}

// Le dernier bloc arrivé réunit les tranches.
__device__ __forceinline__ void reunir_tranches(const AttentionJeton& p, Partage& s, int tete, int tetes,
                                                int tranches) {
    __threadfence();
    __syncthreads();
    u32* arrivees = p.arrivees + blockIdx.x * gridDim.z + blockIdx.z;
    if (threadIdx.x == 0) s.est_dernier = atomicInc(arrivees, tranches - 1) == tranches - 1;
    __syncthreads();
    if (!s.est_dernier) return;
    __threadfence();
    for (int i = threadIdx.x; i < tetes * DIM_TETE; i += blockDim.x) {
        const float* partiels = p.partiels + (tete + i / DIM_TETE) * TRANCHES * PARTIEL;
        float maximum, somme, v = reunir(partiels, tranches, PARTIEL, i % DIM_TETE, &maximum, &somme);
        p.sortie[tete * DIM_TETE + i] = v / somme;
    }
}

extern "C" __global__ void __launch_bounds__(CHAINES_ATTENTION * 32)
    attention_jeton(const __grid_constant__ AttentionJeton p) {
    __shared__ Partage s;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32, d0 = voie % VOIES_POSITION * 8;
    const int kv = blockIdx.x, tranche = blockIdx.y, part = blockIdx.z;
    const int tete = kv * TETES_PAR_GROUPE + part * TETES_BLOC;
    const int tetes = min(TETES_BLOC, TETES_PAR_GROUPE - part * TETES_BLOC);
    laisser_suivre();

    // Le pas a été écrit par un noyau fini avant que ceux-ci commencent, et le cache par d'autres
    // graphes : angles et positions passées n'attendent pas le noyau précédent.
    const Pas pas = *p.pas;
    const Portee portee(p.t, pas.position, tranche);
    if (tranche >= portee.tranches) return;  // sans attendre : laisse la place au noyau suivant
    u16* cles = p.t.cles + place_cache(p.t, pas.sequence, kv);
    u16* valeurs = p.t.valeurs + place_cache(p.t, pas.sequence, kv);
    const int ecart = CHAINES_ATTENTION * POSITIONS_CHAINE;
    int pos = portee.debut + chaine * POSITIONS_CHAINE + voie / VOIES_POSITION;
    CleValeur prete;
    prete.lire(cles, valeurs, portee, pos, d0);
    s.angles.calculer(p.t, pas.position);
    __syncthreads();
    attendre_precedent();
    preparer_bloc(p, s, portee, kv, tete, tetes, cles, valeurs, part == 0);

    Cumul cumuls[TETES_BLOC];
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) cumuls[h].vider();
    for (int base = portee.debut; base < portee.fin; base += ecart, pos += ecart) {
        CleValeur lue = prete;
        prete.lire(cles, valeurs, portee, pos + ecart, d0);
        if (pos == portee.position && d0 < DIM_TETE) {
            lue.k = *(const uint4*)(s.neuves[0] + d0);
            lue.v = *(const uint4*)(s.neuves[1] + d0);
        }
        float k[8], v[8];
        ouvrir_8(lue.k, k);
        ouvrir_8(lue.v, v);
#pragma unroll
        for (int h = 0; h < TETES_BLOC; h++) {
            float score = 0.f;
            if (d0 < DIM_TETE && h < tetes) {
#pragma unroll
                for (int i = 0; i < 8; i++) score += s.q[h][d0 + i] * k[i];
            }
            for (int o = VOIES_POSITION / 2; o > 0; o >>= 1) score += __shfl_xor_sync(~0u, score, o);
            if (pos < portee.fin) cumuls[h].ajouter(score * p.t.echelle, 1.f, v);
        }
    }
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) {
        reunir_chaine(cumuls[h]);
        float* local = s.cumuls[h][chaine];
        if (voie == 0) local[0] = cumuls[h].maximum, local[1] = cumuls[h].somme;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            if (voie < VOIES_POSITION && d0 + i < DIM_TETE) local[2 + d0 + i] = cumuls[h].valeurs[i];
        }
    }
    __syncthreads();
    ecrire_cumuls(p, s, tete, tetes, tranche, portee.tranches);
    if (portee.tranches > 1) reunir_tranches(p, s, tete, tetes, portee.tranches);
}
