// Rangement des poids sur la carte : celui des fragments de cœurs tenseurs (mma 16 × 8 × 16).
//
// Une matrice est coupée en tuiles de 16 lignes, une tuile en étapes de 128 colonnes, soit 4 blocs de
// 32. Une étape est l'affaire d'une chaîne : la voie 4g + v porte les lignes g et g + 8 et, dans chaque
// bloc, les colonnes 4v à 4v + 3 et 16 + 4v à 16 + 4v + 3, huit poids notés p0 à p7. L'étape est contiguë :
// PAQUETS fois un mot de 16 octets par voie, puis ECHELLES octets par voie (la voie 4g + v porte les
// échelles du bloc v).
// Miroir de `cuda/rangement`.

#define Q4 0   // quartets, une échelle par bloc : d · (q − 8)
#define Q4M 1  // quartets, échelle et milieu par bloc : d · (q − 8) + c
#define Q6 2   // 6 bits, une échelle par 16 poids : d · (q − 32)
#define Q6M 3  // 6 bits, échelle et milieu par bloc : d · (q − 32) + c
#define Q8 4   // 8 bits, une échelle par bloc : d · (q − 128)
#define Q8M 5  // 8 bits, échelle et milieu par bloc : d · (q − 128) + c
#define NF4 6  // quartets, une échelle par bloc : d · niveau[q]
#define FP4 7
#define F16 8
#define BF16 9
#define F32 10
#define VIRTUEL 16  // s'ajoute au format d'une matrice dont les octets sont une `Origine` : voir procedural.cu

// FORMATS, fixé à la compilation : un bit par format que le modèle emploie, décalé de VIRTUEL pour ceux de ses
// matrices virtuelles. Un noyau qui ne connaît qu'un format tient mieux dans ses registres.
#define EMPLOYES ((FORMATS | FORMATS >> VIRTUEL) & 0xFFFF)

template <int T>
struct Format {
    static const int VALEUR = T;
};

// Appelle `f` avec le format `format`, l'un de `PARMI`, en constante.
template <u32 PARMI, int T = 0, class F>
__device__ __forceinline__ void selon_format(int format, const F& f) {
    if constexpr (PARMI >> T == 1) {
        f(Format<T>());
    } else if constexpr (PARMI >> T != 0) {
        if constexpr (PARMI >> T & 1) {
            if (format == T) {
                f(Format<T>());
                return;
            }
        }
        selon_format<PARMI, T + 1>(format, f);
    }
}

#define LIGNES_TUILE 16
#define COLONNES_ETAPE 128

struct Matrice {
    const u8* octets;
    int lignes;
    int colonnes;
    int etapes;
    int format;
};

template <int T>
struct Forme;
template <> struct Forme<Q4> { static const int PAQUETS = 2, ECHELLES = 4; };
template <> struct Forme<Q4M> { static const int PAQUETS = 2, ECHELLES = 8; };
template <> struct Forme<Q6> { static const int PAQUETS = 3, ECHELLES = 8; };
template <> struct Forme<Q6M> { static const int PAQUETS = 3, ECHELLES = 8; };
template <> struct Forme<Q8> { static const int PAQUETS = 4, ECHELLES = 4; };
template <> struct Forme<Q8M> { static const int PAQUETS = 4, ECHELLES = 8; };
template <> struct Forme<NF4> { static const int PAQUETS = 2, ECHELLES = 4; };
template <> struct Forme<FP4> { static const int PAQUETS = 2, ECHELLES = 4; };
template <> struct Forme<F16> { static const int PAQUETS = 8, ECHELLES = 0; };
template <> struct Forme<BF16> { static const int PAQUETS = 8, ECHELLES = 0; };
template <> struct Forme<F32> { static const int PAQUETS = 16, ECHELLES = 0; };

template <int T>
struct Etape {
    static const int CODES = Forme<T>::PAQUETS * 512, OCTETS = CODES + Forme<T>::ECHELLES * 32;
};

// Ce qu'une voie lit à une étape.
template <int T>
struct Unite {
    uint4 codes[Forme<T>::PAQUETS];
    uint2 echelles;

    __device__ __forceinline__ u32 mot(int i) const {
        const uint4& p = codes[i / 4];
        return i % 4 == 0 ? p.x : i % 4 == 1 ? p.y : i % 4 == 2 ? p.z : p.w;
    }
};

// Échelles seules de la voie `voie`.
template <int T>
__device__ __forceinline__ Unite<T> lire_echelles(const u8* debut, int voie) {
    Unite<T> u;
    if (Forme<T>::ECHELLES == 8) u.echelles = *(const uint2*)(debut + Etape<T>::CODES + voie * 8);
    else if (Forme<T>::ECHELLES == 4) u.echelles.x = *(const u32*)(debut + Etape<T>::CODES + voie * 4);
    return u;
}

// Ce que `debut`, une étape en mémoire de la carte, a pour la voie `voie`.
template <int T>
__device__ __forceinline__ Unite<T> lire_unite(const u8* debut, int voie) {
    Unite<T> u;
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++) u.codes[i] = lire_poids(debut + i * 512 + voie * 16);
    u.echelles = lire_echelles<T>(debut, voie).echelles;
    return u;
}

__device__ __forceinline__ uint4 lire_partagee(u32 place) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(place));
    return v;
}

// De même, d'une étape en mémoire partagée dont `codes` est la place des premiers codes de la voie.
template <int T>
__device__ __forceinline__ Unite<T> relire_unite(u32 codes, int voie) {
    Unite<T> u;
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++) u.codes[i] = lire_partagee(codes + i * 512);
    const u32 echelles = codes + Etape<T>::CODES - voie * (16 - Forme<T>::ECHELLES);
    if (Forme<T>::ECHELLES == 8)
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(u.echelles.x), "=r"(u.echelles.y) : "r"(echelles));
    else asm volatile("ld.shared.u32 %0, [%1];" : "=r"(u.echelles.x) : "r"(echelles));
    return u;
}

// Un code entier se lit sans conversion : dans la mantisse d'un f16 d'exposant 2^10, il vaut
// 1024 + code. Les cœurs tenseurs somment ces valeurs en f32, et l'on retranche 1024 · Σx après.
//
// (v & masque) | 0x64006400, en une instruction : deux constantes immédiates en prendraient deux, l'une
// passe donc par un registre dont le compilateur ignore la valeur.
template <u32 MASQUE>
__device__ __forceinline__ u32 f16_masque(u32 v) {
    u32 r, exposants;
    asm("mov.u32 %0, 0x64006400;" : "=r"(exposants));
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(v), "n"(MASQUE), "r"(exposants));
    return r;
}

// Les seize niveaux d'un dictionnaire, en f16 : octets bas, puis hauts, quatre niveaux par mot.
template <int T>
struct Niveaux;
template <> struct Niveaux<NF4> {
    static const u32 B0 = 0x52339200, B1 = 0x00D4EA8D, B2 = 0x68E02618, B3 = 0x00C9800D;
    static const u32 H0 = 0xB6B8B9BC, H1 = 0x00ADB1B4, H2 = 0x3533312D, H3 = 0x3C393837;
};
template <> struct Niveaux<FP4> {
    static const u32 B0 = 0x00555500, B1 = 0x00550055, B2 = 0x00555500, B3 = 0x00550055;
    static const u32 H0 = 0x3C391D00, H1 = 0x34313835, H2 = 0xBCB99D00, H3 = 0xB4B1B8B5;
};

// Niveaux des quatre premiers quartets de `v`, en deux paires f16.
template <int T>
__device__ __forceinline__ void consulter(u32 v, u32& w0, u32& w1) {
    typedef Niveaux<T> N;
    // Trois bits choisissent parmi huit niveaux, dans chaque moitié du dictionnaire ; le quatrième, la moitié.
    const u32 rang = v & 0x7777, moitie = v >> 1 & 0x4444 | 0x3210;
    const u32 bas = __byte_perm(__byte_perm(N::B0, N::B1, rang), __byte_perm(N::B2, N::B3, rang), moitie);
    const u32 hauts = __byte_perm(__byte_perm(N::H0, N::H1, rang), __byte_perm(N::H2, N::H3, rang), moitie);
    w0 = __byte_perm(bas, hauts, 0x5140);
    w1 = __byte_perm(bas, hauts, 0x7362);
}

// Poids bruts p0 à p7 du bloc `b`, moitié `h` (0 : ligne g, 1 : ligne g + 8), en quatre paires f16 :
// décalés comme ci-dessus pour les codes (et p4 à p7 de Q4 multipliés par 16), exacts pour les flottants.
template <int T>
__device__ __forceinline__ void decoder_paires(const Unite<T>& u, int h, int b, u32 (&w)[4]) {
    if (T == Q4 || T == Q4M) {
        u32 v = u.mot(4 * h + b);
        w[0] = f16_masque<0x000F000F>(v);
        w[1] = f16_masque<0x000F000F>(v >> 8);
        w[2] = f16_masque<0x00F000F0>(v);
        w[3] = f16_masque<0x00F000F0>(v >> 8);
    } else if constexpr (T == NF4 || T == FP4) {
        const u32 v = u.mot(4 * h + b);
        consulter<T>(v, w[0], w[1]);
        consulter<T>(v >> 16, w[2], w[3]);
    } else if (T == Q6 || T == Q6M) {
        u32 v = u.mot(4 * h + b), hauts = u.mot(8 + 2 * h + b / 2) >> (8 * (b % 2));
        w[0] = (hauts << 4 & 0x00300030) | f16_masque<0x000F000F>(v);
        w[1] = (hauts << 2 & 0x00300030) | f16_masque<0x000F000F>(v >> 8);
        w[2] = (hauts & 0x00300030) | f16_masque<0x000F000F>(v >> 4);
        w[3] = (hauts >> 2 & 0x00300030) | f16_masque<0x000F000F>(v >> 12);
    } else if (T == Q8 || T == Q8M) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            w[i] = __byte_perm(u.mot(8 * h + 2 * b + i / 2), 0x64646464, i % 2 ? 0x4342 : 0x4140);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 v = u.mot(T == F32 ? 32 * h + 8 * b + 2 * i : 16 * h + 4 * b + i);
            if (T == F16) w[i] = v;
            else if (T == BF16) w[i] = paire_f16(__uint_as_float(v << 16), __uint_as_float(v & 0xFFFF0000));
            else w[i] = paire_f16(__uint_as_float(v), __uint_as_float(u.mot(32 * h + 8 * b + 2 * i + 1)));
        }
    }
}

__device__ __forceinline__ float f16_du_mot(u32 mot, int i) { return depuis_f16((u16)(mot >> (16 * i))); }

// Somme pondérée d'un bloc, moitié `h` : `a` et `z` sont les sommes brutes de ses deux groupes de 16
// produits, `sa` et `sz` les sommes des entrées. La voie porte les échelles de ce bloc.
template <int T>
__device__ __forceinline__ float ponderer(const Unite<T>& u, int h, float a, float z, float sa, float sz) {
    const u32 e = h ? u.echelles.y : u.echelles.x;
    if (T == Q6) return f16_du_mot(e, 0) * (a - 1056.f * sa) + f16_du_mot(e, 1) * (z - 1056.f * sz);
    if (T == NF4 || T == FP4) return f16_du_mot(u.echelles.x, h) * (a + z);
    float q;
    if (T == Q4 || T == Q4M) q = fmaf(z, 0.0625f, a) - fmaf(1032.f, sa, 72.f * sz);
    else q = a + z - (T == Q6M ? 1056.f : 1152.f) * (sa + sz);
    if (T == Q4 || T == Q8) return f16_du_mot(u.echelles.x, h) * q;
    return fmaf(f16_du_mot(e, 0), q, f16_du_mot(e, 1) * (sa + sz));
}

// Poids p0 à p7 du bloc `b`, moitié `h`, en f32 ; `e` : unité de la voie qui porte ses échelles.
template <int T>
__device__ __forceinline__ void decoder_bloc(const Unite<T>& u, const Unite<T>& e, int h, int b, float (&w)[8]) {
    u32 paires[4];
    decoder_paires(u, h, b, paires);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        float v = f16_du_mot(paires[i / 2], i % 2);
        if (T == F32) w[i] = __uint_as_float(u.mot(32 * h + 8 * b + i));
        else if (T == BF16) w[i] = __uint_as_float(u.mot(16 * h + 4 * b + i / 2) << (i % 2 ? 0 : 16) & 0xFFFF0000);
        else if (T == F16) w[i] = v;
        else w[i] = i < 4 ? ponderer(e, h, v, 0.f, 1.f, 0.f) : ponderer(e, h, 0.f, v, 0.f, 1.f);
    }
}
