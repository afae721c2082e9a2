// Rangement des poids sur la carte. Une matrice est coupée en tuiles de 32 / `groupe` lignes. À chaque
// étape, chacune des 32 voies d'une chaîne lit une « unité » : 64 poids consécutifs d'une ligne ;
// `groupe` voies se partagent une ligne. Une unité occupe PAQUETS mots de 16 octets dans le plan des
// codes et ECHELLES octets dans le plan des échelles, de sorte que toute lecture d'une chaîne est
// contiguë. Miroir de `cuda/rangement`.

#define Q4 0   // quartets, une échelle par bloc de 32 : d · (q − 8)
#define Q4M 1  // quartets, échelle et milieu par bloc : d · (q − 8) + c
#define Q6 2   // 6 bits, une échelle par 16 poids : d · (q − 32)
#define Q8 3   // 8 bits, une échelle par bloc de 32 : d · q
#define F16 4
#define BF16 5
#define F32 6

struct Matrice {
    const u8* codes;
    const u8* echelles;
    int lignes;
    int colonnes;
    int groupe;
    int etapes;
};

// Étages des anneaux de copie : un multiprocesseur sans grande mémoire partagée (GRANDE_MEMOIRE nul,
// fixé à la compilation) n'en a que deux.
#define ETAGES_PERMIS(n) (GRANDE_MEMOIRE ? n : 2)

template <int T>
struct Forme;
template <> struct Forme<Q4> { static const int PAQUETS = 2, ECHELLES = 4, ETAGES = ETAGES_PERMIS(5); };
template <> struct Forme<Q4M> { static const int PAQUETS = 2, ECHELLES = 8, ETAGES = ETAGES_PERMIS(4); };
template <> struct Forme<Q6> { static const int PAQUETS = 3, ECHELLES = 8, ETAGES = ETAGES_PERMIS(3); };
template <> struct Forme<Q8> { static const int PAQUETS = 4, ECHELLES = 4, ETAGES = ETAGES_PERMIS(3); };
template <> struct Forme<F16> { static const int PAQUETS = 8, ECHELLES = 0, ETAGES = 1; };
template <> struct Forme<BF16> { static const int PAQUETS = 8, ECHELLES = 0, ETAGES = 1; };
template <> struct Forme<F32> { static const int PAQUETS = 16, ECHELLES = 0, ETAGES = 1; };

// Une unité lue : 64 poids.
template <int T>
struct Unite {
    uint4 codes[Forme<T>::PAQUETS];
    uint2 echelles;

    __device__ __forceinline__ u32 mot(int i) const {
        const uint4& p = codes[i / 4];
        return i % 4 == 0 ? p.x : i % 4 == 1 ? p.y : i % 4 == 2 ? p.z : p.w;
    }
};

// Les codes entiers se lisent sans conversion : placés dans la mantisse d'un f16 d'exposant 2^10, ils
// valent 1024 + code ; une seule fma, exacte, les ramène entre −1 et 1.
__device__ __forceinline__ u32 f16_masque(u32 v, u32 masque) { return (v & masque) | 0x64006400; }

// Poids 8c à 8c + 7 de l'unité, en quatre paires, divisés par `amplitude<T>()`.
template <int T>
__device__ __forceinline__ void decoder8(const Unite<T>& u, int c, u32 (&w)[4]) {
    if (T == Q4 || T == Q4M) {
        const u32 huitieme = 0x30003000, bas = 0xD808D808;       // 1/8 et −129
        const u32 fin = 0x20002000, haut = 0xC880C880;            // 1/128 et −9
        u32 v = u.mot(c);
        w[0] = fma_f16(f16_masque(v, 0x000F000F), huitieme, bas);
        w[1] = fma_f16(f16_masque(v, 0x00F000F0), fin, haut);
        w[2] = fma_f16(f16_masque(v >> 8, 0x000F000F), huitieme, bas);
        w[3] = fma_f16(f16_masque(v >> 8, 0x00F000F0), fin, haut);
    } else if (T == Q6) {
        const u32 inverse = 0x28002800, zero = 0xD020D020;        // 1/32 et −33
        u32 v = u.mot(c), h = u.mot(8 + c / 2) >> (8 * (c % 2));
        w[0] = (h << 4 & 0x00300030) | f16_masque(v, 0x000F000F);
        w[1] = (h << 2 & 0x00300030) | f16_masque(v >> 4, 0x000F000F);
        w[2] = (h & 0x00300030) | f16_masque(v >> 8, 0x000F000F);
        w[3] = (h >> 2 & 0x00300030) | f16_masque(v >> 12, 0x000F000F);
#pragma unroll
        for (int i = 0; i < 4; i++) w[i] = fma_f16(w[i], inverse, zero);
    } else if (T == Q8) {
        const u32 inverse = 0x20002000, zero = 0xC880C880;        // 1/128 et −9
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 v = u.mot(2 * c + i / 2);
            w[i] = fma_f16(__byte_perm(v, 0x64646464, i % 2 ? 0x4342 : 0x4140), inverse, zero);
        }
    }
}

template <int T>
__device__ __forceinline__ constexpr float amplitude() {
    return T == Q6 ? 32.f : T == Q8 ? 128.f : 8.f;
}

// Échelle (f16) des poids 8c à 8c + 7.
template <int T>
__device__ __forceinline__ u16 echelle(const Unite<T>& u, int c) {
    if (T == Q4M) return (u16)(c < 4 ? u.echelles.x : u.echelles.y);
    if (T == Q6) return (u16)((c < 4 ? u.echelles.x : u.echelles.y) >> (16 * (c / 2 % 2)));
    return (u16)(u.echelles.x >> (16 * (c / 4)));
}

// Milieu (f16) du bloc de 32 qui contient les poids 8c à 8c + 7, pour Q4M.
template <int T>
__device__ __forceinline__ u16 milieu(const Unite<T>& u, int c) {
    return (u16)((c < 4 ? u.echelles.x : u.echelles.y) >> 16);
}

// Poids 8c à 8c + 7 de l'unité, en f32.
template <int T>
__device__ __forceinline__ void decoder8_f32(const Unite<T>& u, int c, float (&w)[8]) {
    if (T == F32) {
#pragma unroll
        for (int i = 0; i < 8; i++) w[i] = __uint_as_float(u.mot(8 * c + i));
    } else if (T == F16) {
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            w[i] = bas_f16(u.mot(4 * c + i / 2));
            w[i + 1] = haut_f16(u.mot(4 * c + i / 2));
        }
    } else if (T == BF16) {
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            w[i] = __uint_as_float(u.mot(4 * c + i / 2) << 16);
            w[i + 1] = __uint_as_float(u.mot(4 * c + i / 2) & 0xFFFF0000);
        }
    } else {
        u32 paires[4];
        decoder8(u, c, paires);
        float d = amplitude<T>() * depuis_f16(echelle(u, c));
        float m = T == Q4M ? depuis_f16(milieu(u, c)) : 0.f;
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            w[i] = fmaf(d, bas_f16(paires[i / 2]), m);
            w[i + 1] = fmaf(d, haut_f16(paires[i / 2]), m);
        }
    }
}

// Rang de l'unité `indice` de la ligne `ligne` : (tuile · étapes + étape) et voie.
__device__ __forceinline__ void situer(const Matrice& m, int ligne, int indice, u64* bloc, int* voie) {
    int par_tuile = 32 / m.groupe;
    *bloc = (u64)(ligne / par_tuile) * m.etapes + indice / m.groupe;
    *voie = ligne % par_tuile * m.groupe + indice % m.groupe;
}

template <int T>
__device__ __forceinline__ Unite<T> lire_unite(const Matrice& m, u64 bloc, int voie) {
    Unite<T> u;
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++)
        u.codes[i] = lire_poids(m.codes + ((bloc * Forme<T>::PAQUETS + i) * 32 + voie) * 16);
    if (Forme<T>::ECHELLES == 8) {
        u.echelles = *(const uint2*)(m.echelles + (bloc * 32 + voie) * 8);
    } else if (Forme<T>::ECHELLES == 4) {
        u.echelles.x = *(const u32*)(m.echelles + (bloc * 32 + voie) * 4);
    }
    return u;
}
