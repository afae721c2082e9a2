// Produit d'une matrice par le vecteur d'un jeton, limité par la lecture des poids. Les produits se font sur
// les cœurs tenseurs, le vecteur occupant toutes les colonnes de la seconde matrice : des codes de 4 bits y
// entrent presque sans décodage, et tout se somme en f32.

// Produits des poids d'une étape, ajoutés aux totaux des lignes g et g + 8. Pour des codes, chaque voie d'un
// groupe de quatre pondère un bloc ; pour des flottants, la première porte le total.
template <int T>
__device__ __forceinline__ void produit_unite(const Unite<T>& u, const u8* entree, const float* sommes,
                                              float (&totaux)[2], int voie) {
    const bool CODES = Forme<T>::ECHELLES > 0;
    float bruts[2][2];  // [moitié][groupe de 16]
    float c[2][4] = {};
#pragma unroll
    for (int b = 0; b < 4; b++) {
        u32 w[2][4];
        decoder_paires(u, 0, b, w[0]);
        decoder_paires(u, 1, b, w[1]);
        uint4 x = *(const uint4*)(entree + b * 64 + voie % 4 * 16);
        u32 debut[4] = {w[0][0], w[1][0], w[0][1], w[1][1]}, fin[4] = {w[0][2], w[1][2], w[0][3], w[1][3]};
        if (CODES) {
#pragma unroll
            for (int i = 0; i < 4; i++) c[0][i] = c[1][i] = 0.f;
        }
        accumuler(c[0], debut, x.x, x.y);
        accumuler(c[1], fin, x.z, x.w);
        if (CODES && voie % 4 == b) {
            bruts[0][0] = c[0][0], bruts[0][1] = c[1][0];
            bruts[1][0] = c[0][2], bruts[1][1] = c[1][2];
        }
    }
    if (CODES) {
        float2 s = *(const float2*)(sommes + voie % 4 * 2);
        totaux[0] += ponderer(u, 0, bruts[0][0], bruts[0][1], s.x, s.y);
        totaux[1] += ponderer(u, 1, bruts[1][0], bruts[1][1], s.x, s.y);
    } else if (voie % 4 == 0) {
        totaux[0] += c[0][0] + c[1][0];
        totaux[1] += c[0][2] + c[1][2];
    }
}

// Paire de lignes qu'un fil écrit à la fin d'un groupe de tours : 4 tours · 16 chaînes · 8 paires au plus,
// soit une par fil.
struct Ecriture {
    int tour, chaine, ligne;  // tour dans le groupe, première chaîne de la tuile, ligne de la matrice
    bool utile;

    __device__ __forceinline__ Ecriture(const Produit& p, int premier_tour, int tours) {
        const int log_simultanees = LOG_CHAINES - p.log_partage, s = threadIdx.x / 8 & ((1 << log_simultanees) - 1);
        tour = threadIdx.x >> (3 + log_simultanees);
        chaine = s << p.log_partage;
        ligne = ((((premier_tour + tour) * gridDim.x + blockIdx.x) << log_simultanees) + s) * LIGNES_TUILE + threadIdx.x % 8 * 2;
        utile = tour < tours && ligne < p.m.lignes;
    }

    // Ce à quoi le résultat s'ajoutera, lu d'avance.
    __device__ __forceinline__ DeuxMarquees lire_ancien(const Produit& p) const {
        return p.effet == AJOUTER && utile ? lire_marquees((const u64*)p.sortie + ligne) : DeuxMarquees{0, 0, 0, 0};
    }

    // Réunit les chaînes et écrit. Les lignes d'une matrice ajoutée ou à portes vont par huit.
    __device__ __forceinline__ void achever(const Produit& p, const float (*partiels)[CHAINES][LIGNES_TUILE],
                                            DeuxMarquees ancien, u32 base, u32 numero) const {
        float a = 0.f, b = 0.f;
        if (utile) {
            const int chaines = 1 << p.log_partage;
#pragma unroll 4
            for (int c = 0; c < chaines; c++) {
                float2 v = *(const float2*)&partiels[tour][chaine + c][threadIdx.x % 8 * 2];
                a += v.x, b += v.y;
            }
        }
        a *= EXPANSION, b *= EXPANSION;
        if (p.effet == PORTE_SILU || p.effet == PORTE_GELU) {
            float v = activer(a, p.effet - PORTE_SILU) * b, voisine = __shfl_down_sync(~0u, v, 1);
            if (threadIdx.x % 2 == 0 && utile)
                ecrire_marquee((u64*)p.sortie + ligne / 4, paire_f16(v * REDUCTION, voisine * REDUCTION), base + numero);
            return;
        }
        if (!utile) return;
        if (p.effet == LOGITS) {
            float* sortie = (float*)p.sortie + ligne;
            if (ligne + 1 < p.m.lignes) *(float2*)sortie = make_float2(a, b);
            else *sortie = a;
            return;
        }
        u64* sortie = (u64*)p.sortie + ligne;
        if (p.effet == AJOUTER) {
            attendre_marquees(ancien, sortie, base + p.numero_ancien);
            a += __uint_as_float(ancien.v0), b += __uint_as_float(ancien.v1);
        }
        ecrire_marquee(sortie, __float_as_uint(a), base + numero);
        ecrire_marquee(sortie + 1, __float_as_uint(b), base + numero);
    }
};

// La part d'une chaîne dans une tuile, lue ou inventée à mesure : `n` étapes à partir de la `premiere`.
template <int T>
__device__ __forceinline__ float2 part_de_format(const Matrice& m, int tuile, int premiere, int n, const u8* entree,
                                                 const float* sommes, int voie) {
    float totaux[2] = {0.f, 0.f};
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        produit_unite(obtenir<T>(m, tuile, premiere + i, voie), entree, sommes, totaux, voie);
        entree += COLONNES_ETAPE * 2;
        sommes += COLONNES_ETAPE / 16;
    }
    return make_float2(totaux[0], totaux[1]);
}

__device__ __forceinline__ float2 part_sans_anneau(const Matrice& m, int tuile, int premiere, int n, const u8* entree,
                                                const float* sommes, int voie) {
    switch (m.format % VIRTUEL) {
        case Q4: return part_de_format<Q4>(m, tuile, premiere, n, entree, sommes, voie);
        case Q4M: return part_de_format<Q4M>(m, tuile, premiere, n, entree, sommes, voie);
        case Q6: return part_de_format<Q6>(m, tuile, premiere, n, entree, sommes, voie);
        case Q8: return part_de_format<Q8>(m, tuile, premiere, n, entree, sommes, voie);
        case F16: return part_de_format<F16>(m, tuile, premiere, n, entree, sommes, voie);
        case BF16: return part_de_format<BF16>(m, tuile, premiere, n, entree, sommes, voie);
        default: return part_de_format<F32>(m, tuile, premiere, n, entree, sommes, voie);
    }
}

template <bool PAR_ANNEAU>
__device__ __forceinline__ void produit(const Produit& p, Commun& commun, u32 anneaux, int octets_anneau, u32 base,
                                        u32 numero) {
    const int tuiles = (p.m.lignes + LIGNES_TUILE - 1) / LIGNES_TUILE, log_simultanees = LOG_CHAINES - p.log_partage;
    if (blockIdx.x << log_simultanees >= tuiles) {
        accorder();
        return;
    }
    {
        const EntreePartagee entree(p.m);
        if (p.norme) entree.normer(p, base, numero, commun.relais);
        else entree.copier(p, base);
    }
    accorder();

    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32, format = p.m.format;
    const Part part(p, chaine);
    Anneau anneau(commun, anneaux, octets_anneau, PAR_ANNEAU ? format : Q4);
    const u8* x0 = memoire + part.premiere * (COLONNES_ETAPE * 2);
    const float* s0 = (const float*)(memoire + p.m.etapes * (COLONNES_ETAPE * 2)) + part.premiere * (COLONNES_ETAPE / 16);
    const int tours = (tuiles - 1 - (blockIdx.x << log_simultanees)) / part.pas + 1;
    int tuile = part.tuile;
#pragma unroll 1
    for (int premier = 0; premier < tours; premier += TOURS_GROUPE) {
        const int nombre = min(TOURS_GROUPE, tours - premier), parite = premier / TOURS_GROUPE % 2;
        const DeuxMarquees ancien = Ecriture(p, premier, nombre).lire_ancien(p);
#pragma unroll 1
        for (int tour = 0; tour < nombre; tour++, tuile += part.pas) {
            float totaux[2] = {0.f, 0.f};
            const int n = tuile < part.tuiles ? part.etapes : 0;
            if (PAR_ANNEAU) {
#pragma unroll 1
                for (int i = 0; i < n; i++) {
                    const u32 u = anneau.prendre();
                    const u8* x = x0 + i * (COLONNES_ETAPE * 2);
                    const float* s = s0 + i * (COLONNES_ETAPE / 16);
                    if (format == Q4) produit_unite(relire_unite<Q4>(u, voie), x, s, totaux, voie);
                    else if (format == Q4M) produit_unite(relire_unite<Q4M>(u, voie), x, s, totaux, voie);
                    else if (format == Q6) produit_unite(relire_unite<Q6>(u, voie), x, s, totaux, voie);
                    else produit_unite(relire_unite<Q8>(u, voie), x, s, totaux, voie);
                    anneau.rendre(commun.rendues[chaine], voie);
                }
            } else {
                const float2 v = part_sans_anneau(p.m, tuile, part.premiere, n, x0, s0, voie);
                totaux[0] = v.x, totaux[1] = v.y;
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                totaux[h] += __shfl_xor_sync(~0u, totaux[h], 1);
                totaux[h] += __shfl_xor_sync(~0u, totaux[h], 2);
                if (voie % 4 == 0) commun.partiels[parite][tour][chaine][h * 8 + voie / 4] = totaux[h];
            }
        }
        accorder();
        Ecriture(p, premier, nombre).achever(p, commun.partiels[parite], ancien, base, numero);
    }
    // Une chaîne sans étape n'a pas touché à son anneau.
    if (PAR_ANNEAU && part.tuile < part.tuiles) anneau.finir(commun, format);
}

// Hors du noyau : ses registres ne doivent rien coûter aux formats qui passent par l'anneau.
__device__ __noinline__ void produit_sans_anneau(const Produit& p, Commun& commun, u32 base, u32 numero) {
    produit<false>(p, commun, 0, 1, base, numero);
}
