// Préparation du vecteur d'entrée d'un produit, refaite par chaque bloc à partir des valeurs marquées :
// résidu en attente, norme RMS, conversion en f16 dans la mémoire partagée.

// Un vecteur normé tient dans les registres du bloc : 512 fils · PAQUETS_NORME paquets (fixés à la
// compilation) · 4 valeurs.
#define PAQUETS_BRUTS 4

// Attend les valeurs de toute une chaîne, une seule voie relisant les siennes à la fois : des milliers de fils
// qui relisent sans cesse priveraient les poids de la mémoire.
template <int N>
__device__ __forceinline__ void guetter(DeuxMarquees (&lues)[N], const u64* p, u32 numero) {
    const auto manque = [&] {
        bool m = false;
#pragma unroll
        for (int i = 0; i < N; i++) m |= lues[i].numero0 != numero || lues[i].numero1 != numero;
        return m;
    };
    const auto relire = [&] {
#pragma unroll
        for (int i = 0; i < N; i++) lues[i] = lire_marquees(p + 2 * i);
    };
    u32 essais = 0;
    while (const u32 voies = __ballot_sync(~0u, manque())) {
        if (threadIdx.x % 32 == __ffs(voies) - 1) {
            do relire();
            while (manque() && ++essais < ESSAIS_MAX);
            if (essais == ESSAIS_MAX) asm volatile("trap;");
        }
        __syncwarp();
        if (manque()) relire();
    }
}

template <int N>
struct Vecteur {
    float4 v[N];

    static __device__ __forceinline__ int colonne(int i) { return (i * FILS + threadIdx.x) * 4; }

    // Des zéros après la fin.
    __device__ __forceinline__ void lire_poids(const float* p, int taille) {
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = colonne(i) < taille ? __ldg((const float4*)(p + colonne(i))) : make_float4(0.f, 0.f, 0.f, 0.f);
    }
    // Attend les valeurs qui portent `numero` ; toutes les lectures partent avant la première attente.
    __device__ __forceinline__ void attendre(const u64* p, u32 numero, int taille) {
        DeuxMarquees lues[N][2];
#pragma unroll
        for (int i = 0; i < N; i++) {
            const bool vraies = colonne(i) < taille;
            lues[i][0] = vraies ? lire_marquees(p + colonne(i)) : DeuxMarquees{0, numero, 0, numero};
            lues[i][1] = vraies ? lire_marquees(p + colonne(i) + 2) : DeuxMarquees{0, numero, 0, numero};
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            guetter(lues[i], p + colonne(i), numero);
            v[i] = make_float4(__uint_as_float(lues[i][0].v0), __uint_as_float(lues[i][0].v1),
                               __uint_as_float(lues[i][1].v0), __uint_as_float(lues[i][1].v1));
        }
    }
    __device__ __forceinline__ float carres() const {
        float s = 0.f;
#pragma unroll
        for (int i = 0; i < N; i++)
            s += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
        return s;
    }
    // Multiplie par le facteur d'une norme RMS et ses poids.
    __device__ __forceinline__ void normer(float f, const Vecteur<N>& w) {
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = make_float4(v[i].x * f * w.v[i].x, v[i].y * f * w.v[i].y, v[i].z * f * w.v[i].z,
                               v[i].w * f * w.v[i].w);
    }
    __device__ __forceinline__ void ajouter(const Vecteur<N>& a) {
#pragma unroll
        for (int i = 0; i < N; i++)
            v[i] = make_float4(v[i].x + a.v[i].x, v[i].y + a.v[i].y, v[i].z + a.v[i].z, v[i].w + a.v[i].w);
    }
    __device__ __forceinline__ void ecrire(u64* p, u32 numero, int taille) const {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (colonne(i) >= taille) continue;
            ecrire_marquee(p + colonne(i), __float_as_uint(v[i].x), numero);
            ecrire_marquee(p + colonne(i) + 1, __float_as_uint(v[i].y), numero);
            ecrire_marquee(p + colonne(i) + 2, __float_as_uint(v[i].z), numero);
            ecrire_marquee(p + colonne(i) + 3, __float_as_uint(v[i].w), numero);
        }
    }
};

// Entrée d'un produit en mémoire partagée.
struct EntreePartagee {
    u8* valeurs;    // f16 réduits
    float* sommes;  // de chaque groupe de 16, telles qu'arrondies
    int pleine;     // colonnes, remplissage compris : un multiple de 128

    __device__ __forceinline__ explicit EntreePartagee(const Matrice& m) {
        pleine = m.etapes * COLONNES_ETAPE;
        valeurs = memoire;
        sommes = (float*)(memoire + pleine * 2);
    }

    // Range quatre valeurs à partir de la colonne k dans l'ordre des fragments : dans un bloc de 32, la voie
    // v de chaque groupe de quatre trouve ses huit valeurs à la suite. À appeler par toute une chaîne.
    __device__ __forceinline__ void ranger(int k, uint2 paires) const {
        *(uint2*)(valeurs + k / 32 * 64 + k / 4 % 4 * 16 + k / 16 % 2 * 8) = paires;
        float s = bas_f16(paires.x) + haut_f16(paires.x) + bas_f16(paires.y) + haut_f16(paires.y);
        s += __shfl_xor_sync(~0u, s, 1);
        s += __shfl_xor_sync(~0u, s, 2);
        if (k % 16 == 0) sommes[k / 16] = s;
    }

    // Entrée normée, après l'ajout éventuel de l'attente.
    __device__ __forceinline__ void normer(const Produit& p, u32 base, u32 numero, float* relais) const {
        const int taille = p.m.colonnes;
        Vecteur<PAQUETS_NORME> poids, x;
        poids.lire_poids(p.norme, taille);
        if (p.attente) {
            Vecteur<PAQUETS_NORME> y, w;
            w.lire_poids(p.norme_attente, taille);
            y.attendre(p.attente, base + p.numero_attente, taille);
            x.attendre(p.entree, base + p.numero_entree, taille);
            y.normer(rsqrtf(__fdividef(somme_calcul(y.carres(), relais), taille) + p.epsilon), w);
            x.ajouter(y);
            if (blockIdx.x == 0) x.ecrire(p.x_suivant, base + numero, taille);
        } else {
            x.attendre(p.entree, base + p.numero_entree, taille);
        }
        x.normer(rsqrtf(__fdividef(somme_calcul(x.carres(), relais), taille) + p.epsilon), poids);
#pragma unroll
        for (int i = 0; i < PAQUETS_NORME; i++) {
            const int k = Vecteur<PAQUETS_NORME>::colonne(i);
            if (k >= pleine) continue;
            ranger(k, make_uint2(paire_f16(x.v[i].x * REDUCTION, x.v[i].y * REDUCTION),
                                 paire_f16(x.v[i].z * REDUCTION, x.v[i].w * REDUCTION)));
        }
    }

    // Entrée déjà en f16.
    __device__ __forceinline__ void copier(const Produit& p, u32 base) const {
        const u32 numero = base + p.numero_entree;
        for (int debut = threadIdx.x * 4; debut < pleine; debut += PAQUETS_BRUTS * FILS * 4) {
            DeuxMarquees lues[PAQUETS_BRUTS][1];
#pragma unroll
            for (int i = 0; i < PAQUETS_BRUTS; i++) {
                const int k = debut + i * FILS * 4;
                lues[i][0] = k < p.m.colonnes ? lire_marquees(p.entree + k / 2) : DeuxMarquees{0, numero, 0, numero};
            }
#pragma unroll
            for (int i = 0; i < PAQUETS_BRUTS; i++) {
                const int k = debut + i * FILS * 4;
                if (k >= pleine) continue;
                guetter(lues[i], p.entree + k / 2, numero);
                ranger(k, make_uint2(lues[i][0].v0, lues[i][0].v1));
            }
        }
    }
};
