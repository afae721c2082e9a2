// Passes de plusieurs jetons : normes, têtes et attention ; les produits sont dans `produit_lot`.

struct NormeLot {
    float* x;             // [n, taille]
    const float* attente; // [n, taille], à normer puis ajouter à x sur place, ou nul
    const float* norme_attente;
    const float* norme;   // nul : seulement l'ajout
    u16* sortie;          // [lignes, enjambee] f16, réduites
    const u32* lignes;    // ligne de x de chaque ligne de sortie, ou nul : la même
    int taille;
    int enjambee;
    float epsilon;
};

extern "C" __global__ void norme_lot(const __grid_constant__ NormeLot p) {
    __shared__ float relais[32];
    laisser_suivre();
    attendre_precedent();
    u64 ligne = p.lignes ? p.lignes[blockIdx.x] : blockIdx.x;
    float* x = p.x + ligne * p.taille;
    if (p.attente) {
        const float* y = p.attente + ligne * p.taille;
        float s = 0.f;
        for (int k = threadIdx.x; k < p.taille; k += blockDim.x) s += y[k] * y[k];
        float f = rsqrtf(somme_bloc(s, relais) / p.taille + p.epsilon);
        for (int k = threadIdx.x; k < p.taille; k += blockDim.x) x[k] += y[k] * f * p.norme_attente[k];
    }
    if (!p.norme) return;
    float s = 0.f;
    for (int k = threadIdx.x; k < p.taille; k += blockDim.x) s += x[k] * x[k];
    float f = rsqrtf(somme_bloc(s, relais) / p.taille + p.epsilon) * REDUCTION;
    u16* sortie = p.sortie + (u64)blockIdx.x * p.enjambee;
    for (int k = threadIdx.x; k < p.enjambee; k += blockDim.x)
        sortie[k] = k < p.taille ? vers_f16(x[k] * f * p.norme[k]) : 0;
}

struct TetesLot {
    Tetes t;
    const float* qkv;      // [n, (têtes + 2 kv) · DIM_TETE]
    u16* q;                // [n, têtes, DIM_TETE] f16, échelle d'attention comprise
    const u32* positions;  // [n]
    const u32* sequences;  // [n]
};

// Une chaîne par tête d'un jeton : les requêtes, puis les clés, puis les valeurs.
extern "C" __global__ void tetes_lot(const __grid_constant__ TetesLot p) {
    __shared__ float tampon[4][DIM_TETE];
    __shared__ Angles angles;
    const int chaine = threadIdx.x / 32, voie = threadIdx.x % 32;
    const int nb_q = p.t.nb_kv * TETES_PAR_GROUPE, nb = nb_q + 2 * p.t.nb_kv;
    const int tete = blockIdx.y * 4 + chaine;
    laisser_suivre();
    attendre_precedent();
    const u64 jeton = blockIdx.x;
    const u32 position = p.positions[jeton];
    angles.calculer(p.t, position, blockDim.x);
    __syncthreads();
    if (tete >= nb) return;
    const float* source = p.qkv + (jeton * nb + tete) * DIM_TETE;
    const bool est_q = tete < nb_q, est_k = !est_q && tete < nb_q + p.t.nb_kv;
    const int rang = est_q ? tete : est_k ? tete - nb_q : tete - nb_q - p.t.nb_kv;
    const float* biais = est_q ? p.t.biais_q : est_k ? p.t.biais_k : p.t.biais_v;
    const float* norme = est_q ? p.t.norme_q : est_k ? p.t.norme_k : nullptr;
    preparer_tete(Valeurs{source}, biais ? biais + rang * DIM_TETE : nullptr, norme, p.t,
                  est_q || est_k ? &angles : nullptr, tampon[chaine]);
    u16* sortie = est_q ? p.q + (jeton * nb_q + rang) * DIM_TETE
                        : (est_k ? p.t.cles : p.t.valeurs) + place_cache(p.t, p.sequences[jeton], rang) +
                              (u64)position * DIM_TETE;
    for (int d = voie; d < DIM_TETE; d += 32)
        sortie[d] = vers_f16(tampon[chaine][d] * (est_q ? p.t.echelle : 1.f));
}
