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
    DeuxMarquees ancien;      // ce qui s'y trouve, lu d'avance

    __device__ __forceinline__ bool utile(const Produit& p, int tours) const {
        return tour < tours && ligne < p.m.lignes;
    }

    __device__ __forceinline__ Ecriture(const Produit& p, int premier_tour, int tours) {
        const int simultanees = CHAINES >> p.log_partage, s = threadIdx.x / 8 % simultanees;
        tour = threadIdx.x / (8 * simultanees);
        chaine = s << p.log_partage;
        ligne = (((premier_tour + tour) * gridDim.x + blockIdx.x) * simultanees + s) * LIGNES_TUILE + threadIdx.x % 8 * 2;
        ancien = p.effet == AJOUTER && utile(p, tours) ? lire_marquees((const u64*)p.sortie + ligne) : DeuxMarquees{0, 0, 0, 0};
    }

    // Réunit les chaînes et écrit. Les lignes d'une matrice ajoutée ou à portes vont par huit.
    __device__ __forceinline__ void achever(const Produit& p, const float (*partiels)[CHAINES][LIGNES_TUILE],
                                            int tours, u32 base, u32 numero) {
        float a = 0.f, b = 0.f;
        if (utile(p, tours)) {
            for (int c = 0; c < 1 << p.log_partage; c++) {
                float2 v = *(const float2*)&partiels[tour][chaine + c][threadIdx.x % 8 * 2];
                a += v.x, b += v.y;
            }
        }
        a *= EXPANSION, b *= EXPANSION;
        if (p.effet >= PORTE_SILU && p.effet < LOGITS) {
            float v = activer(a, p.effet - PORTE_SILU) * b, voisine = __shfl_down_sync(~0u, v, 1);
            if (threadIdx.x % 2 == 0 && utile(p, tours))
                ecrire_marquee((u64*)p.sortie + ligne / 4, paire_f16(v * REDUCTION, voisine * REDUCTION), base + numero);
            return;
        }
        if (!utile(p, tours)) return;
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

// Une étape de codes, prise dans l'anneau si elle y est.
template <int T>
__device__ __forceinline__ void produit_codes(const u8* dans_l_anneau, const u8* sur_la_carte, const u8* entree,
                                              const float* sommes, float (&totaux)[2], int voie) {
    Unite<T> u = dans_l_anneau ? relire_unite<T>(dans_l_anneau, voie) : lire_unite<T>(sur_la_carte, voie);
    produit_unite(u, entree, sommes, totaux, voie);
}

// Une étape de flottants. Hors du noyau : ses registres ne doivent rien coûter aux codes.
template <int T>
__device__ __noinline__ float2 produit_flottants(const u8* sur_la_carte, const u8* entree, int voie) {
    float totaux[2] = {0.f, 0.f};
    produit_unite(lire_unite<T>(sur_la_carte, voie), entree, nullptr, totaux, voie);
    return make_float2(totaux[0], totaux[1]);
}

__device__ __forceinline__ void produit(const Produit& p, Commun& commun, Anneau& anneau, int courante, u32 base,
                                        u32 numero) {
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const Part part(p);
    anneau.commencer(p, courante, voie);
    const int tuiles = (p.m.lignes + LIGNES_TUILE - 1) / LIGNES_TUILE, simultanees = CHAINES >> p.log_partage;
    if (blockIdx.x * simultanees >= tuiles) return;

    const EntreePartagee entree(p.m);
    if (p.norme) entree.normer(p, base, numero, commun.relais);
    else entree.copier(p, base);
    __syncthreads();

    const int format = p.m.format, etapes_tuile = p.m.etapes;
    const u32 taille = octets_etape(format);
    const u8* octets = p.m.octets;
    const int tours = (tuiles - 1 - blockIdx.x * simultanees) / part.pas + 1;
    int tuile = part.tuile;
#pragma unroll 1
    for (int premier = 0; premier < tours; premier += TOURS_GROUPE) {
        const int nombre = min(TOURS_GROUPE, tours - premier), parite = premier / TOURS_GROUPE % 2;
        Ecriture ecriture(p, premier, nombre);
#pragma unroll 1
        for (int tour = 0; tour < nombre; tour++, tuile += part.pas) {
            float totaux[2] = {0.f, 0.f};
            const u8* x = entree.valeurs + part.premiere * (COLONNES_ETAPE * 2);
            const float* s = entree.sommes + part.premiere * (COLONNES_ETAPE / 16);
            const u8* directe = octets + ((u64)tuile * etapes_tuile + part.premiere) * taille;
#pragma unroll 1
            for (int n = tuile < part.tuiles ? part.etapes : 0; n > 0; n--) {
                const u8* u = anneau.prendre();
                if (format == Q4) produit_codes<Q4>(u, directe, x, s, totaux, voie);
                else switch (format) {
                    case Q4M: produit_codes<Q4M>(u, directe, x, s, totaux, voie); break;
                    case Q6: produit_codes<Q6>(u, directe, x, s, totaux, voie); break;
                    case Q8: produit_codes<Q8>(u, directe, x, s, totaux, voie); break;
                    default:
                        float2 v = format == F16    ? produit_flottants<F16>(directe, x, voie)
                                   : format == BF16 ? produit_flottants<BF16>(directe, x, voie)
                                                    : produit_flottants<F32>(directe, x, voie);
                        totaux[0] += v.x, totaux[1] += v.y;
                }
                anneau.liberer(courante, voie);
                directe += taille;
                x += COLONNES_ETAPE * 2;
                s += COLONNES_ETAPE / 16;
            }
#pragma unroll
            for (int h = 0; h < 2; h++) {
                totaux[h] += __shfl_xor_sync(~0u, totaux[h], 1);
                totaux[h] += __shfl_xor_sync(~0u, totaux[h], 2);
                if (voie % 4 == 0) commun.partiels[parite][tour][chaine][h * 8 + voie / 4] = totaux[h];
            }
        }
        __syncthreads();
        ecriture.achever(p, commun.partiels[parite], nombre, base, numero);
    }
}
