// Têtes de requêtes, de clés et de valeurs : biais, norme RMS par tête, rotation de position, puis
// rangement des clés et des valeurs en f16 dans le cache.
//
// DIM_TETE et TETES_PAR_GROUPE (têtes de requêtes par tête de clés) sont fixés à la compilation.

#define VOIES_TETE ((DIM_TETE + 31) / 32)

struct Tetes {
    const float* biais_q;  // nuls s'il n'y en a pas
    const float* biais_k;
    const float* biais_v;
    const float* norme_q;
    const float* norme_k;
    const float* pulsations;  // DIM_TETE / 2, ou nul : pas de rotation
    u16* cles;                // [séquence, tête kv, capacité, DIM_TETE]
    u16* valeurs;
    float epsilon;
    int entrelace;  // paires (2i, 2i + 1) plutôt que (i, i + DIM_TETE / 2)
    int nb_kv;
    int capacite;
    int fenetre;  // 0 : aucune
    float echelle;
};

// Début d'une tête kv d'une séquence dans le cache.
__device__ __forceinline__ u64 place_cache(const Tetes& t, u32 sequence, int kv) {
    return ((u64)sequence * t.nb_kv + kv) * t.capacite * DIM_TETE;
}

// Cosinus et sinus de toutes les pulsations à une position, calculés par les `fils` premiers fils du bloc.
struct Angles {
    float2 v[DIM_TETE / 2];

    __device__ __forceinline__ void calculer(const Tetes& t, u32 position, int fils) {
        if (!t.pulsations) return;
        for (int i = threadIdx.x; i < DIM_TETE / 2; i += fils)
            angle(position, t.pulsations[i], &v[i].x, &v[i].y);
    }
};

// Les angles de la position du jeton, et de quelles pulsations ils viennent.
struct Rotation {
    const float* pulsations;
    Angles angles;
};

// D'où vient une tête : des f32 qu'un noyau précédent a écrits, ou des valeurs marquées de celui-ci.
struct Valeurs {
    const float* p;

    __device__ __forceinline__ void lire(float (&v)[VOIES_TETE], int voie) const {
#pragma unroll
        for (int i = 0; i < VOIES_TETE; i++) v[i] = i * 32 + voie < DIM_TETE ? p[i * 32 + voie] : 0.f;
    }
};

struct Marquees {
    const u64* p;
    u32 numero;

    __device__ __forceinline__ void lire(float (&v)[VOIES_TETE], int voie) const {
        u64 lues[VOIES_TETE];
#pragma unroll
        for (int i = 0; i < VOIES_TETE; i++) lues[i] = i * 32 + voie < DIM_TETE ? lire_marquee(p + i * 32 + voie) : (u64)numero << 32;
#pragma unroll
        for (int i = 0; i < VOIES_TETE; i++) {
            const int d = i * 32 + voie;
            v[i] = d < DIM_TETE ? attendre_marquee(lues[i], p + d, numero) : 0.f;
        }
    }
};

// Une chaîne prépare une tête : `sortie` (DIM_TETE valeurs, mémoire partagée) reçoit le résultat.
// `angles` nul : pas de rotation.
template <class S>
__device__ __forceinline__ void preparer_tete(const S& source, const float* biais, const float* norme,
                                              const Tetes& t, const Angles* angles, float* sortie) {
    const int voie = threadIdx.x % 32;
    float v[VOIES_TETE], s = 0.f;
    source.lire(v, voie);
#pragma unroll
    for (int i = 0; i < VOIES_TETE; i++) {
        const int d = i * 32 + voie;
        if (biais && d < DIM_TETE) v[i] += biais[d];
        s += v[i] * v[i];
    }
    float f = norme ? rsqrtf(somme_chaine(s) / DIM_TETE + t.epsilon) : 1.f;
#pragma unroll
    for (int i = 0; i < VOIES_TETE; i++) {
        int d = i * 32 + voie;
        if (d < DIM_TETE) sortie[d] = norme ? v[i] * f * norme[d] : v[i];
    }
    __syncwarp();
    if (!angles || !t.pulsations) return;
    for (int i = voie; i < DIM_TETE / 2; i += 32) {
        int a = t.entrelace ? 2 * i : i, b = t.entrelace ? 2 * i + 1 : i + DIM_TETE / 2;
        float2 w = angles->v[i];
        float x = sortie[a], y = sortie[b];
        sortie[a] = x * w.x - y * w.y;
        sortie[b] = x * w.y + y * w.x;
    }
    __syncwarp();
}

// Huit f16 consécutifs en f32.
__device__ __forceinline__ void ouvrir_8(uint4 m, float (&v)[8]) {
    v[0] = bas_f16(m.x), v[1] = haut_f16(m.x), v[2] = bas_f16(m.y), v[3] = haut_f16(m.y);
    v[4] = bas_f16(m.z), v[5] = haut_f16(m.z), v[6] = bas_f16(m.w), v[7] = haut_f16(m.w);
}
