// Préparation du vecteur d'entrée d'un produit, refaite par chaque bloc : résidu en attente, norme RMS,
// conversion en f16 dans la mémoire partagée.

struct Entree {
    const float* x;             // vecteur d'entrée
    const float* attente;       // sortie de sous-couche à normer puis ajouter à x (post-normes), ou nul
    const float* norme_attente; // poids de cette post-norme
    const float* norme;         // poids de la norme d'entrée, ou nul : x sert tel quel
    float* x_suivant;           // reçoit x + norme(attente) ; un autre tampon que x
    float epsilon;
    int taille;
};

// Un vecteur normé tient dans les registres du bloc : 512 fils · 4 paquets · 4 valeurs.
#define FILS_PRODUIT 512
#define PAQUETS_NORME 4

// Rangement de l'entrée : les 8 morceaux de 16 octets de chaque unité dans 8 plans, pour que des voies
// voisines lisent des mots voisins. Le pas impair de 16 octets évite les conflits d'écriture.
__device__ __forceinline__ u32 place_entree(int k, int unites) {
    return ((k / 8 % 8) * (unites + 1) + k / 64) * 16 + k % 8 * 2;
}

// Range v, les valeurs k à k + 3. Toute la chaîne appelle ensemble, même au-delà de la dernière unité.
__device__ __forceinline__ void ranger_entree(u8* entree, float* sommes, int unites, int k, float4 v) {
    uint2 paires;
    paires.x = paire_f16(v.x * REDUCTION, v.y * REDUCTION);
    paires.y = paire_f16(v.z * REDUCTION, v.w * REDUCTION);
    if (k < unites * 64) *(uint2*)(entree + place_entree(k, unites)) = paires;
    if (!sommes) return;
    // Somme des 32 valeurs d'un bloc, telles qu'arrondies : huit fils consécutifs les portent.
    float s = bas_f16(paires.x) + haut_f16(paires.x) + bas_f16(paires.y) + haut_f16(paires.y);
    for (int o = 1; o < 8; o <<= 1) s += __shfl_xor_sync(~0u, s, o);
    if (k % 32 == 0 && k < unites * 64) sommes[k / 32] = s;
}

__device__ __forceinline__ float carres(float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; }

__device__ __forceinline__ float4 mettre_a_l_echelle(float4 v, float f, const float* w, int k) {
    float4 p = *(const float4*)(w + k);
    return make_float4(v.x * f * p.x, v.y * f * p.y, v.z * f * p.z, v.w * f * p.w);
}

// Norme RMS de l'entrée, après l'ajout éventuel de l'attente.
__device__ __forceinline__ void preparer_norme(const Entree& e, u8* entree, float* sommes, int unites,
                                               float* relais) {
    float4 v[PAQUETS_NORME], a[PAQUETS_NORME];
    float s = 0.f, s_attente = 0.f;
#pragma unroll
    for (int i = 0; i < PAQUETS_NORME; i++) {
        int k = (i * FILS_PRODUIT + threadIdx.x) * 4;
        v[i] = k < e.taille ? lire_l2(e.x + k) : make_float4(0.f, 0.f, 0.f, 0.f);
        if (e.attente) {
            a[i] = k < e.taille ? lire_l2(e.attente + k) : make_float4(0.f, 0.f, 0.f, 0.f);
            s_attente += carres(a[i]);
        }
    }
    if (e.attente) {
        float f = rsqrtf(somme_bloc(s_attente, relais) / e.taille + e.epsilon);
#pragma unroll
        for (int i = 0; i < PAQUETS_NORME; i++) {
            int k = (i * FILS_PRODUIT + threadIdx.x) * 4;
            if (k >= e.taille) continue;
            float4 y = mettre_a_l_echelle(a[i], f, e.norme_attente, k);
            v[i] = make_float4(v[i].x + y.x, v[i].y + y.y, v[i].z + y.z, v[i].w + y.w);
            if (blockIdx.x == 0) *(float4*)(e.x_suivant + k) = v[i];
        }
    }
#pragma unroll
    for (int i = 0; i < PAQUETS_NORME; i++) s += carres(v[i]);
    float f = rsqrtf(somme_bloc(s, relais) / e.taille + e.epsilon);
#pragma unroll
    for (int i = 0; i < PAQUETS_NORME; i++) {
        int k = (i * FILS_PRODUIT + threadIdx.x) * 4;
        if ((k & ~127) >= unites * 64) continue;  // les 128 valeurs de la chaîne sont dehors
        float4 y = k < e.taille ? mettre_a_l_echelle(v[i], f, e.norme, k) : make_float4(0.f, 0.f, 0.f, 0.f);
        ranger_entree(entree, sommes, unites, k, y);
    }
}

// Entrée prise telle quelle.
__device__ __forceinline__ void preparer_telle_quelle(const Entree& e, u8* entree, float* sommes, int unites) {
    for (int k = threadIdx.x * 4; (k & ~127) < unites * 64; k += FILS_PRODUIT * 4) {
        float4 v = k < e.taille ? lire_l2(e.x + k) : make_float4(0.f, 0.f, 0.f, 0.f);
        ranger_entree(entree, sommes, unites, k, v);
    }
}
