// Ce que `compute-sanitizer --tool racecheck` reproche aux anneaux du noyau `jeton`, en plus petit : quatre
// consommatrices, chacune son anneau, et une chaîne dont quatre voies les remplissent, chacune le sien.
//
// UNE_A_LA_FOIS=0, comme dans le moteur : les quatre voies interrogent quatre barrières d'une seule instruction.
// L'outil (CUDA 13.0, H100) annonce alors qu'une copie écrit ce qui n'est pas fini de lire ; avec --racecheck-report
// all, 92 161 fois : à une près, tous les octets réemployés de trois anneaux sur quatre (60 étapes de 512 octets).
// UNE_A_LA_FOIS=1 : les mêmes voies, les mêmes instructions, l'une après l'autre. L'outil ne dit plus rien. Il ne
// retient donc d'une instruction que la barrière d'une voie : l'ordre est là, il ne le voit pas.
//
// De même pour le moteur entier, `benchmark --shape couches=2,largeur=2048,tetes=32,tetes_kv=8,mlp=8192,
// vocabulaire=8192,lie -p 0 -n 2`, dont les anneaux resservent : des centaines de milliers de courses annoncées ; aucune
// si `copier_d_avance` fait passer ses voies une à une. Cela coûterait 5 % du décodage du 1B et 19 % de celui du 8B.
//
// nvcc -arch=sm_90 -std=c++17 -DUNE_A_LA_FOIS=0 -o r racecheck.cu && compute-sanitizer --tool racecheck ./r

#include <cstdio>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char u8;

#include "../../src/cuda/noyaux/barrieres.cu"

#define ANNEAUX 4
#define PLACES 4
#define ETAPES 64
#define MOTS 128

__device__ u32 adresse(const void* p) { return (u32)__cvta_generic_to_shared(p); }

__global__ void anneaux(const u32* source, u32* sortie) {
    __shared__ __align__(128) u32 places[ANNEAUX][PLACES][MOTS];
    __shared__ u64 remplies[ANNEAUX][PLACES], lues[ANNEAUX][PLACES];
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    if (threadIdx.x < ANNEAUX * PLACES) {
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(adresse(remplies[0] + threadIdx.x)) : "memory");
        asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(adresse(lues[0] + threadIdx.x)) : "memory");
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    if (chaine == ANNEAUX) {
        int i = voie < ANNEAUX ? 0 : ETAPES;
        while (__any_sync(~0u, i < ETAPES)) {
            for (int v = 0; v < (UNE_A_LA_FOIS ? ANNEAUX : 1); v++) {
                const int p = i % PLACES;
                if (i < ETAPES && (!UNE_A_LA_FOIS || voie == v) &&
                    (i < PLACES || est_passee(adresse(&lues[voie][p]), i / PLACES - 1 & 1))) {
                    copier_etape(adresse(places[voie][p]), adresse(&remplies[voie][p]),
                                 (const u8*)(source + (voie * ETAPES + i) * MOTS), MOTS * 4);
                    i++;
                }
                __syncwarp();
            }
        }
        return;
    }
    u32 somme = 0;
    for (int i = 0; i < ETAPES; i++) {
        const int p = i % PLACES;
        while (!est_passee(adresse(&remplies[chaine][p]), i / PLACES & 1)) {}
        const uint4 v = *(const uint4*)&places[chaine][p][voie * 4];
        somme += v.x + v.y * 3 + v.z * 5 + v.w * 7;
        arriver(adresse(&lues[chaine][p]));
    }
    sortie[threadIdx.x] = somme;
}

int main() {
    u32 *source, *sortie;
    cudaMalloc(&source, ANNEAUX * ETAPES * MOTS * 4);
    cudaMalloc(&sortie, ANNEAUX * 32 * 4);
    cudaMemset(source, 1, ANNEAUX * ETAPES * MOTS * 4);
    anneaux<<<1, 32 * (ANNEAUX + 1)>>>(source, sortie);
    puts(cudaGetErrorString(cudaDeviceSynchronize()));
}
