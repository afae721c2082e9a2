// Attention d'un seul jeton, répartie sur le contexte : un bloc par tête kv et par tranche de positions.
// Le bloc de la première tranche réunit les autres, toujours dans le même ordre.

#define POSITIONS_MIN 128      // positions par tranche, au moins
#define TRANCHES 32            // tranches, au plus
#define AVANCE 2               // positions du cache que chaque voie lit d'avance
#define PARTIEL (DIM_TETE + 2) // maximum, somme, puis valeurs non normées

// Voies qui se partagent une position : une puissance de deux, 8 valeurs chacune.
#define VOIES_POSITION \
    (DIM_TETE <= 8 ? 1 : DIM_TETE <= 16 ? 2 : DIM_TETE <= 32 ? 4 : DIM_TETE <= 64 ? 8 : DIM_TETE <= 128 ? 16 : 32)
#define POSITIONS_CHAINE (32 / VOIES_POSITION)
// Têtes de requêtes par bloc : leurs accumulateurs tiennent dans les registres.
#define TETES_BLOC_MAX 2
#define TETES_BLOC (TETES_PAR_GROUPE <= TETES_BLOC_MAX ? TETES_PAR_GROUPE : TETES_BLOC_MAX)

// Softmax en cours d'une tête : maximum, somme des exponentielles, valeurs pondérées.
struct Cumul {
    float maximum, somme, valeurs[8];

    __device__ __forceinline__ void vider() {
        maximum = -INFINI, somme = 0.f;
#pragma unroll
        for (int i = 0; i < 8; i++) valeurs[i] = 0.f;
    }
    __device__ __forceinline__ void ajouter(float m, float s, const float (&v)[8]) {
        float nouveau = fmaxf(maximum, m);
        if (nouveau == -INFINI) return;
        float a = __expf(maximum - nouveau), b = __expf(m - nouveau);
        somme = somme * a + s * b;
#pragma unroll
        for (int i = 0; i < 8; i++) valeurs[i] = valeurs[i] * a + v[i] * b;
        maximum = nouveau;
    }
};

// Réunit les cumuls des voies d'une chaîne qui portent les mêmes dimensions.
__device__ __forceinline__ void reunir_chaine(Cumul& c) {
    float m = c.maximum;
#pragma unroll
    for (int o = VOIES_POSITION; o < 32; o <<= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, o));
    const float f = m == -INFINI ? 0.f : __expf(c.maximum - m);
    c.maximum = m;
    c.somme *= f;
#pragma unroll
    for (int i = 0; i < 8; i++) c.valeurs[i] *= f;
#pragma unroll
    for (int o = VOIES_POSITION; o < 32; o <<= 1) {
        c.somme += __shfl_xor_sync(~0u, c.somme, o);
#pragma unroll
        for (int i = 0; i < 8; i++) c.valeurs[i] += __shfl_xor_sync(~0u, c.valeurs[i], o);
    }
}

// Ce qu'un bloc doit voir.
struct Portee {
    int position, debut, fin, tranches;

    __device__ __forceinline__ Portee(const Tetes& t, int position, int tranche, int tranches_max) : position(position) {
        int premiere = t.fenetre ? max(0, position + 1 - t.fenetre) : 0, vues = position + 1 - premiere;
        int longueur = max(POSITIONS_MIN, (vues + tranches_max - 1) / tranches_max);
        tranches = (vues + longueur - 1) / longueur;
        debut = premiere + tranche * longueur;
        fin = min(debut + longueur, position + 1);
    }
    // Le jeton lui-même en fait-il partie ?
    __device__ __forceinline__ bool est_courante() const { return fin == position + 1; }
};

// Mémoire partagée d'un bloc, à la place des entrées des produits.
struct Partage {
    float q[TETES_BLOC][DIM_TETE];
    float kv[2][DIM_TETE];                 // clé et valeur du jeton
    __align__(16) u16 neuves[2][DIM_TETE]; // les mêmes, en f16
    // De chaque chaîne : maximum, somme, valeurs.
    float maximums[TETES_BLOC][CHAINES], sommes[TETES_BLOC][CHAINES], cumuls[TETES_BLOC][CHAINES][DIM_TETE];
};

// Les têtes dont un bloc s'occupe, et ce qu'il en dit.
struct Ouvrage {
    const Attention& a;
    u32 base, numero;
    int kv, part, tete, tetes;  // tête kv, part de ses requêtes, première requête, requêtes
    u16 *cles, *valeurs;

    const Angles& angles;

    // `objet` : une part des têtes d'un groupe, qui en a `parts` de `taille` requêtes au plus.
    __device__ __forceinline__ Ouvrage(const Attention& a, u32 base, u32 numero, int objet, int parts, int taille,
                                       u32 sequence, const Angles& angles)
        : a(a), base(base), numero(numero), kv(objet / parts), part(objet % parts), angles(angles) {
        tete = kv * TETES_PAR_GROUPE + part * taille;
        tetes = min(taille, TETES_PAR_GROUPE - part * taille);
        cles = a.t.cles + place_cache(a.t, sequence, kv);
        valeurs = a.t.valeurs + place_cache(a.t, sequence, kv);
    }

    // Prépare les requêtes et, si le bloc voit le jeton courant, sa clé et sa valeur, qu'une seule part
    // range dans le cache.
    __device__ __forceinline__ void preparer(Partage& s, const Portee& portee) const {
        const u64* source = a.qkv + (a.t.nb_kv * TETES_PAR_GROUPE + kv) * DIM_TETE;
        const u32 attendu = base + a.numero_qkv;
        for (int i = threadIdx.x / 32; i < tetes + 2; i += CHAINES) {
            if (i < tetes) {
                int d = (tete + i) * DIM_TETE;
                preparer_tete(Marquees{a.qkv + d, attendu}, a.t.biais_q ? a.t.biais_q + d : nullptr, a.t.norme_q, a.t,
                              &angles, s.q[i]);
            } else if (portee.est_courante()) {
                const bool est_cle = i == tetes;
                const float* biais = est_cle ? a.t.biais_k : a.t.biais_v;
                preparer_tete(Marquees{source + (est_cle ? 0 : a.t.nb_kv * DIM_TETE), attendu},
                              biais ? biais + kv * DIM_TETE : nullptr, est_cle ? a.t.norme_k : nullptr, a.t,
                              est_cle ? &angles : nullptr, s.kv[i - tetes]);
                // La chaîne qui l'a préparée la convertit et la range.
                u16* cache = (est_cle ? cles : valeurs) + (u64)portee.position * DIM_TETE;
                __syncwarp();
                for (int d = threadIdx.x % 32; d < DIM_TETE; d += 32) {
                    const u16 v = vers_f16(s.kv[i - tetes][d]);
                    s.neuves[i - tetes][d] = v;
                    if (part == 0) cache[d] = v;
                }
            }
        }
        accorder();
    }

    __device__ __forceinline__ u64* partiel(int h, int tranche) const {
        return a.partiels + (u64)((tete + h) * TRANCHES + tranche) * PARTIEL;
    }

    __device__ __forceinline__ void sortir(int h, int d, float v0, float v1) const {
        ecrire_marquee(a.sortie + ((tete + h) * DIM_TETE + d) / 2, paire_f16(v0 * REDUCTION, v1 * REDUCTION), base + numero);
    }

    // Réunit les chaînes, puis écrit le résultat, ou le cumul de cette tranche s'il y en a plusieurs.
    __device__ __forceinline__ void ecrire(const Partage& s, int tranche, int tranches) const {
        for (int i = threadIdx.x; i < tetes * (DIM_TETE / 2); i += FILS) {
            int h = i / (DIM_TETE / 2), d = i % (DIM_TETE / 2) * 2;
            float somme = 0.f, v0 = 0.f, v1 = 0.f;
#pragma unroll
            for (int c = 0; c < CHAINES; c++) {
                const float2 v = *(const float2*)&s.cumuls[h][c][d];
                somme += s.sommes[h][c], v0 += v.x, v1 += v.y;
            }
            if (tranches == 1) {
                sortir(h, d, __fdividef(v0, somme), __fdividef(v1, somme));
                continue;
            }
            u64* p = partiel(h, tranche);
            ecrire_marquee(p + 2 + d, __float_as_uint(v0), base + numero);
            ecrire_marquee(p + 3 + d, __float_as_uint(v1), base + numero);
            if (d > 0) continue;
            float maximum = s.maximums[h][0];
            for (int c = 1; c < CHAINES; c++) maximum = fmaxf(maximum, s.maximums[h][c]);
            ecrire_marquee(p, __float_as_uint(maximum), base + numero);
            ecrire_marquee(p + 1, __float_as_uint(somme), base + numero);
        }
    }

    // Attend toutes les tranches et les réunit.
    __device__ __forceinline__ void reunir(int tranches) const {
        const u32 attendu = base + numero;
        for (int i = threadIdx.x; i < tetes * (DIM_TETE / 2); i += FILS) {
            int h = i / (DIM_TETE / 2), d = i % (DIM_TETE / 2) * 2;
            float maximum = -INFINI, somme = 0.f, v0 = 0.f, v1 = 0.f;
            for (int t = 0; t < tranches; t++) {
                const u64* p = partiel(h, t);
                DeuxMarquees tete = lire_marquees(p), v = lire_marquees(p + 2 + d);
                attendre_marquees(tete, p, attendu);
                attendre_marquees(v, p + 2 + d, attendu);
                float nouveau = fmaxf(maximum, __uint_as_float(tete.v0));
                float f = expf(maximum - nouveau), g = expf(__uint_as_float(tete.v0) - nouveau);
                somme = somme * f + __uint_as_float(tete.v1) * g;
                v0 = v0 * f + __uint_as_float(v.v0) * g, v1 = v1 * f + __uint_as_float(v.v1) * g;
                maximum = nouveau;
            }
            sortir(h, d, v0 / somme, v1 / somme);
        }
    }
};

// Une position du cache, lue d'avance.
struct CleValeur {
    uint4 k, v;

    __device__ __forceinline__ void lire(const Ouvrage& o, const Portee& portee, int pos, int d0) {
        k = v = make_uint4(0, 0, 0, 0);
        if (pos >= min(portee.fin, portee.position) || d0 >= DIM_TETE) return;
        k = *(const uint4*)(o.cles + (u64)pos * DIM_TETE + d0);
        v = *(const uint4*)(o.valeurs + (u64)pos * DIM_TETE + d0);
    }
};

// Pose en mémoire partagée les cumuls des chaînes, ramenés au même maximum.
__device__ __forceinline__ void poser_cumuls(Partage& s, Cumul (&cumuls)[TETES_BLOC], int tetes, int voie, int chaine,
                                             int d0) {
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) {
        if (h >= tetes) break;
        reunir_chaine(cumuls[h]);
        if (voie == 0) s.maximums[h][chaine] = cumuls[h].maximum;
    }
    accorder();
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) {
        if (h >= tetes) break;
        float m = s.maximums[h][0];
#pragma unroll
        for (int c = 1; c < CHAINES; c++) m = fmaxf(m, s.maximums[h][c]);
        const float f = __expf(cumuls[h].maximum - m);
        if (voie == 0) s.sommes[h][chaine] = cumuls[h].somme * f;
        if (voie >= VOIES_POSITION || d0 >= DIM_TETE) continue;
#pragma unroll
        for (int i = 0; i < 8; i++) s.cumuls[h][chaine][d0 + i] = cumuls[h].valeurs[i] * f;
    }
    accorder();
}

__device__ __forceinline__ void attention_tranche(const Ouvrage& o, const Portee& portee, int tranche) {
    Partage& s = *(Partage*)memoire;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32, d0 = voie % VOIES_POSITION * 8;
    const int ecart = CHAINES * POSITIONS_CHAINE;
    // Le cache vient de jetons passés : ses premières positions n'attendent personne.
    int pos = portee.debut + chaine * POSITIONS_CHAINE + voie / VOIES_POSITION;
    CleValeur pretes[AVANCE];
#pragma unroll
    for (int i = 0; i < AVANCE; i++) pretes[i].lire(o, portee, pos + i * ecart, d0);
    o.preparer(s, portee);

    Cumul cumuls[TETES_BLOC];
#pragma unroll
    for (int h = 0; h < TETES_BLOC; h++) cumuls[h].vider();
    for (int base = portee.debut; base < portee.fin; base += ecart, pos += ecart) {
        CleValeur lue = pretes[0];
#pragma unroll
        for (int i = 1; i < AVANCE; i++) pretes[i - 1] = pretes[i];
        pretes[AVANCE - 1].lire(o, portee, pos + AVANCE * ecart, d0);
        if (pos == portee.position && d0 < DIM_TETE) {
            lue.k = *(const uint4*)(s.neuves[0] + d0);
            lue.v = *(const uint4*)(s.neuves[1] + d0);
        }
        float k[8], v[8];
        ouvrir_8(lue.k, k);
        ouvrir_8(lue.v, v);
#pragma unroll
        for (int h = 0; h < TETES_BLOC; h++) {
            if (h >= o.tetes) break;
            float score = 0.f;
            if (d0 < DIM_TETE) {
#pragma unroll
                for (int i = 0; i < 8; i++) score += s.q[h][d0 + i] * k[i];
            }
            for (int e = VOIES_POSITION / 2; e > 0; e >>= 1) score += __shfl_xor_sync(~0u, score, e);
            if (pos < portee.fin) cumuls[h].ajouter(score * o.a.t.echelle, 1.f, v);
        }
    }
    poser_cumuls(s, cumuls, o.tetes, voie, chaine, d0);
    o.ecrire(s, tranche, portee.tranches);
}

__device__ __noinline__ void attention_jeton(const Attention& a, const Pas& pas, u32 base, u32 numero, Rotation& rotation) {
    // Un contexte court tient en une tranche : les têtes se répartissent alors une par bloc.
    const bool court = pas.position < POSITIONS_MIN && a.t.nb_kv * TETES_PAR_GROUPE <= gridDim.x;
    const int taille = court ? 1 : TETES_BLOC, parts = (TETES_PAR_GROUPE + taille - 1) / taille;
    const int objets = a.t.nb_kv * parts;
    // Qui attend une tranche ne doit pas avoir à la calculer après : plusieurs seulement si chacune a son bloc.
    const int tranches_max = max(1, min(TRANCHES, (int)gridDim.x / objets));
    // Les derniers blocs ont le moins de tuiles du produit qui précède : ils sont prêts avant ses résultats.
    for (int w = gridDim.x - 1 - blockIdx.x; w < objets * tranches_max; w += gridDim.x) {
        const int tranche = w / objets;
        const Portee portee(a.t, pas.position, tranche, tranches_max);
        if (tranche >= portee.tranches) break;
        // Les angles ne dépendent que de la position : ceux d'une couche servent aux suivantes.
        if (a.t.pulsations != rotation.pulsations) {
            accorder();
            rotation.angles.calculer(a.t, pas.position, FILS);
            if (threadIdx.x == 0) rotation.pulsations = a.t.pulsations;
            accorder();
        }
        const Ouvrage ouvrage(a, base, numero, w % objets, parts, taille, pas.sequence, rotation.angles);
        attention_tranche(ouvrage, portee, tranche);
        if (tranche == 0 && portee.tranches > 1) ouvrage.reunir(portee.tranches);
        accorder();
    }
    accorder();
}
