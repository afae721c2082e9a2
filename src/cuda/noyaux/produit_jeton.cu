// Produit d'une matrice par le vecteur d'un jeton, limité par la lecture des poids. Les produits se font sur
// les cœurs tenseurs, le vecteur occupant toutes les colonnes de la seconde matrice : des codes de 4 bits y
// entrent presque sans décodage, et tout se somme en f32.

// Ce que les cœurs tenseurs prennent de l'entrée à une étape. Pour des codes, chaque bloc a sa colonne, la
// première des deux que la voie v d'un groupe de quatre reçoit du bloc v : sa somme y tombe seule.
template <int T>
struct EntreeEtape {
    static const bool CODES = Forme<T>::ECHELLES > 0;
    uint4 x[4];
    float2 sommes;

    __device__ __forceinline__ void lire(const u8* entree, const float* s, int voie) {
        if (CODES) {
            const uint4 v = *(const uint4*)(entree + voie / 8 * 64 + voie % 4 * 16);
#pragma unroll
            for (int b = 0; b < 4; b++) x[b] = voie / 4 == 2 * b ? v : make_uint4(0, 0, 0, 0);
            sommes = *(const float2*)(s + voie % 4 * 2);
        } else {
#pragma unroll
            for (int b = 0; b < 4; b++) x[b] = *(const uint4*)(entree + b * 64 + voie % 4 * 16);
        }
    }
};

// Produits des poids d'une étape, ajoutés aux totaux des lignes g et g + 8. Pour des codes, chaque voie d'un
// groupe de quatre pondère un bloc ; pour des flottants, la première porte le total.
template <int T>
__device__ __forceinline__ void produit_unite(const Unite<T>& u, const EntreeEtape<T>& e, float (&totaux)[2], int voie) {
    float c[2][4] = {};
#pragma unroll
    for (int b = 0; b < 4; b++) {
        u32 w[2][4];
        decoder_paires(u, 0, b, w[0]);
        decoder_paires(u, 1, b, w[1]);
        u32 debut[4] = {w[0][0], w[1][0], w[0][1], w[1][1]}, fin[4] = {w[0][2], w[1][2], w[0][3], w[1][3]};
        accumuler(c[0], debut, e.x[b].x, e.x[b].y);
        accumuler(c[1], fin, e.x[b].z, e.x[b].w);
    }
    if (EntreeEtape<T>::CODES) {
        totaux[0] += ponderer(u, 0, c[0][0], c[1][0], e.sommes.x, e.sommes.y);
        totaux[1] += ponderer(u, 1, c[0][2], c[1][2], e.sommes.x, e.sommes.y);
    } else if (voie % 4 == 0) {
        totaux[0] += c[0][0] + c[1][0];
        totaux[1] += c[0][2] + c[1][2];
    }
}

// Ligne d'une tuile dont la voie pose le total, si elle est l'une des deux premières de son groupe.
__device__ __forceinline__ int ligne_posee(int voie) { return voie % 2 * 8 + voie / 4; }

// Pose les totaux d'une tuile, sommés sur les quatre voies de chaque groupe.
__device__ __forceinline__ void poser_totaux(float* partiel, const float (&totaux)[2], int voie) {
    const bool impaire = voie & 1;
    float v = impaire ? totaux[1] : totaux[0];
    v += __shfl_xor_sync(~0u, impaire ? totaux[0] : totaux[1], 1);
    v += __shfl_xor_sync(~0u, v, 2);
    if (voie % 4 < 2) *partiel = v;
}

// Paire de lignes qu'un fil écrit à la fin d'un groupe de tours : 4 tours · 16 chaînes · 8 paires au plus,
// soit une par fil.
struct Ecriture {
    int tour, chaine, ligne;  // tour dans le groupe, première chaîne de la tuile, ligne de la matrice
    bool utile;

    // `fil` : le rang du fil, décalé d'une chaîne par groupe pour que toutes écrivent à leur tour.
    __device__ __forceinline__ Ecriture(const Produit& p, int premier_tour, int tours, int fil) {
        fil = (fil - premier_tour / TOURS_GROUPE * 32) & (FILS - 1);
        const int log_simultanees = LOG_CHAINES - p.log_partage, s = fil / 8 & ((1 << log_simultanees) - 1);
        tour = fil >> (3 + log_simultanees);
        chaine = s << p.log_partage;
        ligne = ((((premier_tour + tour) * gridDim.x + blockIdx.x) << log_simultanees) + s) * LIGNES_TUILE + fil % 8 * 2;
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
            const float* v = &partiels[tour][chaine][ligne % LIGNES_TUILE];
            if (p.log_partage == LOG_CHAINES) {
                float2 w[CHAINES];
#pragma unroll
                for (int c = 0; c < CHAINES; c++) w[c] = *(const float2*)(v + c * LIGNES_TUILE);
#pragma unroll
                for (int c = 0; c < CHAINES; c++) a += w[c].x, b += w[c].y;
            } else {
#pragma unroll 1
                for (int c = 0; c < 1 << p.log_partage; c++) a += v[c * LIGNES_TUILE], b += v[c * LIGNES_TUILE + 1];
            }
        }
        a *= EXPANSION, b *= EXPANSION;
        if (p.effet == PORTE_SILU || p.effet == PORTE_GELU) {
            float v = activer(a, p.effet - PORTE_SILU) * b, voisine = __shfl_down_sync(~0u, v, 1);
            if (ligne % 4 == 0 && utile)
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
__device__ __forceinline__ void part_de_format(const Matrice& m, int tuile, int premiere, int n, const u8* entree,
                                               const float* sommes, float (&totaux)[2], int voie) {
#pragma unroll 1
    for (int i = 0; i < n; i++) {
        EntreeEtape<T> e;
        e.lire(entree + i * COLONNES_ETAPE * 2, sommes + i * (COLONNES_ETAPE / 16), voie);
        produit_unite(obtenir<T>(m, tuile, premiere + i, voie), e, totaux, voie);
    }
}

__device__ __forceinline__ void part_sans_anneau(const Matrice& m, int tuile, int premiere, int n, const u8* entree,
                                                 const float* sommes, float (&totaux)[2], int voie) {
    selon_format<SANS_ANNEAU>(m.format % VIRTUEL, [&](auto f) {
        part_de_format<decltype(f)::VALEUR>(m, tuile, premiere, n, entree, sommes, totaux, voie);
    });
}

// D'un tour à l'autre, parmi les totaux d'une chaîne.
#define PAS_PARTIEL (CHAINES * LIGNES_TUILE)

// Les tours d'un groupe où la chaîne a une tuile, lus de l'anneau : une étape se lit pendant que la précédente
// se calcule. Une chaîne qui n'a qu'une étape par tuile garde son entrée dans ses registres.
template <int T>
__device__ __forceinline__ void tours_de_format(Anneau& anneau, int tours, int n, const u8* entree,
                                                const float* sommes, float* partiel, int voie) {
    if (tours == 0) return;
    EntreeEtape<T> e;
    e.lire(entree, sommes, voie);
    Unite<T> suivante = anneau.lire<T>(voie);
    float totaux[2] = {0.f, 0.f};
    int i = 0;
    // Deux à la fois : ce qui est lu d'avance change de nom, sans changer de registre.
#pragma unroll 2
    for (int restantes = tours * n; restantes > 0; restantes--) {
        const Unite<T> u = suivante;
        if (restantes > 1) suivante = anneau.lire<T>(voie);
        if (n > 1) e.lire(entree + i * (COLONNES_ETAPE * 2), sommes + i * (COLONNES_ETAPE / 16), voie);
        produit_unite(u, e, totaux, voie);
        if (++i < n) continue;
        poser_totaux(partiel, totaux, voie);
        partiel += PAS_PARTIEL;
        totaux[0] = totaux[1] = 0.f;
        i = 0;
    }
}

template <bool ANNEAU>
__device__ __forceinline__ void produit(const Produit& p, Commun& commun, u32 anneaux, int octets_anneau, u32 base,
                                        u32 numero) {
    const int tuiles = (p.m.lignes + LIGNES_TUILE - 1) / LIGNES_TUILE, log_simultanees = LOG_CHAINES - p.log_partage;
    if (blockIdx.x << log_simultanees >= tuiles) {
        accorder();
        return;
    }
    // Tout ce qui ne dépend pas de l'entrée se prépare avant de l'attendre.
    const u32 fil = rang_fil(), voie = fil % 32, chaine = fil / 32;
    const int format = p.m.format;
    const Part part(p, chaine);
    Anneau anneau(commun, anneaux, octets_anneau, format);
    const u8* x0 = memoire + part.premiere * (COLONNES_ETAPE * 2);
    const float* s0 = (const float*)(memoire + p.m.etapes * (COLONNES_ETAPE * 2)) + part.premiere * (COLONNES_ETAPE / 16);
    const int tours = (tuiles - 1 - (blockIdx.x << log_simultanees)) / part.pas + 1;
    // Tours où cette chaîne a une tuile : tous, sauf peut-être le dernier.
    const int miens = part.tuile + (tours - 1) * part.pas < part.tuiles ? tours : part.tuiles > 0 ? tours - 1 : 0;
    float* const miens_partiels = commun.partiels[0][0][chaine] + ligne_posee(voie);
    {
        const EntreePartagee entree(p.m);
        if (p.norme) entree.normer(p, base, numero, commun.relais);
        else entree.copier(p, base);
    }
    accorder();
    int tuile = part.tuile;
#pragma unroll 1
    for (int premier = 0; premier < tours; premier += TOURS_GROUPE) {
        const int nombre = min(TOURS_GROUPE, tours - premier), parite = premier / TOURS_GROUPE % 2;
        const int pleins = min(max(miens - premier, 0), nombre);
        const Ecriture ecriture(p, premier, nombre, fil);
        const DeuxMarquees ancien = ecriture.lire_ancien(p);
        float* const partiel = miens_partiels + parite * (TOURS_GROUPE * PAS_PARTIEL);
        if constexpr (ANNEAU) {
            selon_format<PAR_ANNEAU>(format, [&](auto f) {
                tours_de_format<decltype(f)::VALEUR>(anneau, pleins, part.etapes, x0, s0, partiel, voie);
            });
        }
#pragma unroll 1
        for (int tour = ANNEAU ? pleins : 0; tour < nombre; tour++) {
            float totaux[2] = {0.f, 0.f};
            if (!ANNEAU && tour < pleins)
                part_sans_anneau(p.m, tuile + tour * part.pas, part.premiere, part.etapes, x0, s0, totaux, voie);
            poser_totaux(partiel + tour * PAS_PARTIEL, totaux, voie);
        }
        tuile += TOURS_GROUPE * part.pas;
        accorder();
        ecriture.achever(p, commun.partiels[parite], ancien, base, numero);
    }
    // Une chaîne sans étape n'a pas touché à son anneau.
    if (ANNEAU && part.tuile < part.tuiles) anneau.finir(commun, format);
}

// Hors du noyau : ses registres ne doivent rien coûter aux formats qui passent par l'anneau.
__device__ __noinline__ void produit_sans_anneau(const Produit& p, Commun& commun, u32 base, u32 numero) {
    produit<false>(p, commun, 0, 1, base, numero);
}
