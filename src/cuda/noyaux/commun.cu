// Ce que partagent toutes les familles de noyaux. Aucun en-tête n'est inclus : NVRTC n'en a pas
// toujours, et ce qui manque tient en quelques instructions PTX.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Les entrées des produits sont rangées en f16 au seizième de leur valeur : un f16 va jusqu'à 65 504,
// et le produit des deux branches d'un MLP dépasse parfois cette borne.
#define REDUCTION 0.0625f
#define EXPANSION 16.0f

#define INFINI __int_as_float(0x7F800000)

// Mémoire partagée dynamique, dont chaque noyau fait ce qu'il veut.
extern __shared__ __align__(128) u8 memoire[];

// Jeton à calculer : écrit par l'hôte, lu par les noyaux d'un graphe qui, lui, ne change pas.
struct Pas {
    u32 jeton;
    u32 position;
    u32 sequence;
};

// Un noyau peut commencer avant la fin du précédent, mais ne lit ce que celui-ci écrit qu'après ce point.
__device__ __forceinline__ void attendre_precedent() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Permet au noyau suivant de commencer (il s'arrêtera à son propre `attendre_precedent`).
__device__ __forceinline__ void laisser_suivre() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Deux f32 en une paire f16 (`bas` dans les bits de poids faible).
__device__ __forceinline__ u32 paire_f16(float bas, float haut) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(haut), "f"(bas));
    return r;
}

__device__ __forceinline__ u16 vers_f16(float x) {
    u16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}

__device__ __forceinline__ float depuis_f16(u16 h) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h));
    return r;
}

__device__ __forceinline__ float bas_f16(u32 paire) { return depuis_f16((u16)(paire & 0xFFFF)); }
__device__ __forceinline__ float haut_f16(u32 paire) { return depuis_f16((u16)(paire >> 16)); }

// Valeurs marquées : 32 bits de valeur et, dans les 32 suivants, le numéro de qui les a écrites. Les deux
// s'écrivent et se lisent d'un seul accès : un bloc attend les valeurs elles-mêmes, sans barrière.
struct DeuxMarquees {
    u32 v0, numero0, v1, numero1;
};

// Environ dix secondes : passé cela, le calcul est perdu et la carte doit le dire.
#define ESSAIS_MAX (1u << 24)

__device__ __forceinline__ void ecrire_marquee(u64* p, u32 valeur, u32 numero) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"((u64)numero << 32 | valeur) : "memory");
}

__device__ __forceinline__ DeuxMarquees lire_marquees(const u64* p) {
    u64 a, b;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(p) : "memory");
    return {(u32)a, (u32)(a >> 32), (u32)b, (u32)(b >> 32)};
}

// `lues` vient de `lire_marquees(p)` : la relit jusqu'à ce que les deux portent `numero`.
__device__ __forceinline__ void attendre_marquees(DeuxMarquees& lues, const u64* p, u32 numero) {
    for (u32 essais = 0; lues.numero0 != numero || lues.numero1 != numero; essais++) {
        if (essais == ESSAIS_MAX) asm volatile("trap;");
        lues = lire_marquees(p);
    }
}

__device__ __forceinline__ u64 lire_marquee(const u64* p) {
    u64 v;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ float attendre_marquee(u64 lue, const u64* p, u32 numero) {
    for (u32 essais = 0; (u32)(lue >> 32) != numero; essais++) {
        if (essais == ESSAIS_MAX) asm volatile("trap;");
        lue = lire_marquee(p);
    }
    return __uint_as_float((u32)lue);
}

// Lecture de poids, qui ne servent qu'une fois.
__device__ __forceinline__ uint4 lire_poids(const void* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

__device__ __forceinline__ u32 adresse_partagee(const void* p) {
    return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void copier_16(u32 partagee, const void* source) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(partagee), "l"(source) : "memory");
}

__device__ __forceinline__ void clore_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Attend qu'il ne reste qu'au plus `N` groupes de copies en route.
template <int N>
__device__ __forceinline__ void attendre_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ float somme_chaine(float v) {
    for (int o = 16; o > 0; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
    return v;
}

// Somme sur tout le bloc ; `relais` : une case par chaîne de 32 fils.
__device__ __forceinline__ float somme_bloc(float v, float* relais) {
    v = somme_chaine(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0) relais[threadIdx.x / 32] = v;
    __syncthreads();
    float total = threadIdx.x % 32 < blockDim.x / 32 ? relais[threadIdx.x % 32] : 0.f;
    return somme_chaine(total);
}

// 0 : SiLU ; 1 : GELU par tangente hyperbolique.
__device__ __forceinline__ float activer(float x, int activation) {
    if (activation == 0) return __fdividef(x, 1.f + __expf(-x));
    float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.f + tanhf(u));
}

// Cosinus et sinus de `position · pulsation`, l'angle étant ramené à un tour en double précision : une
// grande position multipliée en f32 perd la phase.
__device__ __forceinline__ void angle(u32 position, float pulsation, float* cosinus, float* sinus) {
    double a = (double)position * (double)pulsation;
    a -= rint(a * 0.15915494309189535) * 6.283185307179586;
    sincosf((float)a, sinus, cosinus);
}
