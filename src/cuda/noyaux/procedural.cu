// Poids procéduraux : les octets que `formats/procedural` spécifie, calculés ici au lieu d'être lus, et
// directement dans le rangement de la carte.

#define GENRE_Q4_0 0
#define GENRE_Q4_1 1
#define GENRE_Q4_K 2
#define GENRE_Q8_0 3

struct Recette {
    u32 cle_codes, cle_echelles, base, minimum;
};

// D'où viennent les lignes d'une matrice : des tenseurs bout à bout, ou deux en alternance.
struct Origine {
    Recette recettes[3];
    int fins[3];   // première ligne qui n'est plus de ce tenseur
    int alternes;  // lignes paires du premier, impaires du second
    int genre;
    int blocs;     // de 32 poids, par ligne
};

__device__ __forceinline__ u32 mot_procedural(u32 cle, u32 rang) {
    u32 x = cle + rang * 0x9E3779B9u;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    return x ^ x >> 16;
}

// Une ligne d'une matrice : sa recette et son premier bloc, ou rien après la fin.
struct LigneProcedurale {
    Recette r;
    u32 premier;
    bool vraie;

    __device__ __forceinline__ LigneProcedurale(const Origine& o, const Matrice& m, int ligne) {
        vraie = ligne < m.lignes;
        int rang = o.alternes ? ligne % 2 : ligne >= o.fins[1] ? 2 : ligne >= o.fins[0] ? 1 : 0;
        int locale = o.alternes ? ligne / 2 : ligne - (rang ? o.fins[rang - 1] : 0);
        r = o.recettes[rang];
        premier = (u32)locale * o.blocs;
    }
};

// Quatre octets de quartets bas (p0 à p3) et hauts (p4 à p7), dans l'ordre de `decoder_paires`.
__device__ __forceinline__ u32 ordonner_quartets(u32 octets) { return __byte_perm(octets, 0, 0x3120); }

// Codes du bloc `b`, pour la voie v de son groupe de quatre : un mot de quartets, ou deux de huit bits.
template <int T>
__device__ __forceinline__ uint2 codes_proceduraux(const Recette& r, int genre, u32 b, int v) {
    if (T == Q8) {
        u32 w[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            // Les encodeurs n'écrivent jamais −128 ; décalés de 128, ces octets valent 0 et deviennent 1.
            w[i] = mot_procedural(r.cle_codes, 8 * b + v + 4 * i) ^ 0x80808080;
            w[i] = __vmaxu4(w[i], 0x01010101);
        }
        return make_uint2(w[0], w[1]);
    }
    if (genre != GENRE_Q4_K) return make_uint2(ordonner_quartets(mot_procedural(r.cle_codes, 4 * b + v)), 0);
    const u32 mot = 32 * (b / 8) + b % 8 / 2 * 8 + v, decalage = b % 2 * 4;
    const u32 bas = mot_procedural(r.cle_codes, mot) >> decalage & 0x0F0F0F0F;
    const u32 haut = mot_procedural(r.cle_codes, mot + 4) >> decalage & 0x0F0F0F0F;
    return make_uint2(ordonner_quartets(bas | haut << 4), 0);
}

// Échelles du bloc `b` : une, ou échelle et milieu.
template <int T>
__device__ __forceinline__ u32 echelles_procedurales(const Recette& r, int genre, u32 b) {
    if (genre == GENRE_Q4_K) {
        const float echelle = 32 | mot_procedural(r.cle_echelles, b / 8) >> (b % 8 * 4) & 15;
        const float d = depuis_f16((u16)r.base) * echelle;
        return vers_f16(d) | (u32)vers_f16(__fsub_rn(8.f * d, __fmul_rn(depuis_f16((u16)r.minimum), echelle))) << 16;
    }
    const u32 h = mot_procedural(r.cle_echelles, b);
    const u32 d = r.base + (h & 0xFF);
    if (T != Q4M) return d | (h >> 16 & 0x8000);
    const float f = depuis_f16((u16)d);
    return d | (u32)vers_f16(__fadd_rn(depuis_f16(vers_f16(f * -7.5f)), 8.f * f)) << 16;
}

// Ce que la voie lirait de l'étape `etape` d'une tuile ; après la fin d'une ligne, des échelles nulles.
template <int T>
__device__ __forceinline__ Unite<T> inventer(const Origine& o, const Matrice& m, int tuile, int etape, int voie) {
    Unite<T> u;
    u32 mots[Forme<T>::PAQUETS * 4], echelles[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const LigneProcedurale ligne(o, m, tuile * LIGNES_TUILE + h * 8 + voie / 4);
#pragma unroll
        for (int b = 0; b < 4; b++) {
            const u32 bloc = etape * 4 + b;
            const bool vrai = ligne.vraie && bloc < o.blocs;
            uint2 codes = codes_proceduraux<T>(ligne.r, o.genre, ligne.premier + bloc, voie % 4);
            if (T == Q8) mots[8 * h + 2 * b] = codes.x, mots[8 * h + 2 * b + 1] = codes.y;
            else mots[4 * h + b] = codes.x;
            if (voie % 4 == b) echelles[h] = vrai ? echelles_procedurales<T>(ligne.r, o.genre, ligne.premier + bloc) : 0;
        }
    }
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++)
        u.codes[i] = make_uint4(mots[4 * i], mots[4 * i + 1], mots[4 * i + 2], mots[4 * i + 3]);
    u.echelles = T == Q4M ? make_uint2(echelles[0], echelles[1]) : make_uint2(echelles[0] | echelles[1] << 16, 0);
    return u;
}

template <int T>
struct SInvente {
    static const bool VALEUR = (T == Q4 || T == Q4M || T == Q8) && FORMATS >> VIRTUEL >> T & 1;
};

__device__ __forceinline__ bool est_virtuelle(const Matrice& m) { return m.format >= VIRTUEL; }

// Ce que la voie `voie` porte d'une étape, lu ou inventé.
template <int T>
__device__ __forceinline__ Unite<T> obtenir(const Matrice& m, int tuile, int etape, int voie) {
    if constexpr (SInvente<T>::VALEUR) {
        if (est_virtuelle(m)) return inventer<T>(*(const Origine*)m.octets, m, tuile, etape, voie);
    }
    return lire_unite<T>(m.octets + ((u64)tuile * m.etapes + etape) * Etape<T>::OCTETS, voie);
}

struct Invention {
    Matrice m;  // où écrire
    Origine origine;
};

// Une chaîne par étape de la matrice.
template <int T>
__device__ __forceinline__ void inventer_matrice(const Invention& p) {
    const int voie = threadIdx.x % 32;
    const u64 rang = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    const int tuile = rang / p.m.etapes, etape = rang % p.m.etapes;
    if (tuile * LIGNES_TUILE >= p.m.lignes) return;
    const Unite<T> u = inventer<T>(p.origine, p.m, tuile, etape, voie);
    u8* debut = (u8*)p.m.octets + rang * Etape<T>::OCTETS;
#pragma unroll
    for (int i = 0; i < Forme<T>::PAQUETS; i++) *(uint4*)(debut + i * 512 + voie * 16) = u.codes[i];
    u8* echelles = debut + Etape<T>::CODES + voie * Forme<T>::ECHELLES;
    if (Forme<T>::ECHELLES == 8) *(uint2*)echelles = u.echelles;
    else *(u32*)echelles = u.echelles.x;
}

extern "C" __global__ void inventer_q4(const __grid_constant__ Invention p) { inventer_matrice<Q4>(p); }
extern "C" __global__ void inventer_q4m(const __grid_constant__ Invention p) { inventer_matrice<Q4M>(p); }
extern "C" __global__ void inventer_q8(const __grid_constant__ Invention p) { inventer_matrice<Q8>(p); }
