// Copies d'avance des poids : chaque chaîne a en mémoire partagée un anneau d'étapes, que remplit le moteur de
// copie de la carte (Hopper), mené par des chaînes à part. Les poids ne dépendent de rien : l'anneau franchit
// les instructions, et la mémoire de la carte ne s'arrête pas pendant qu'un vecteur s'échange entre les blocs.
// Sans moteur de copie, il n'y a pas d'anneau : chacun lit ses poids quand il en a besoin.

// L'écart entre la barrière d'une place remplie et celle de la place lue.
#define VERS_LUES (CHAINES * PLACES_MAX * 8)

// Formats de codes, qui passent par l'anneau, et les autres. Les flottants n'y passent pas : une seule de leurs
// étapes fait déjà assez de lectures.
#define DE_CODES ((1 << F16) - 1)
#define PAR_ANNEAU (MOTEUR_DE_COPIE ? FORMATS & DE_CODES : 0)
#define SANS_ANNEAU (EMPLOYES & (MOTEUR_DE_COPIE ? ~DE_CODES | FORMATS >> VIRTUEL : ~0))

// Octets d'une étape, par format.
__device__ __forceinline__ u32 octets_etape(int format) {
    u32 octets = 0;
    selon_format<PAR_ANNEAU>(format, [&](auto f) { octets = Etape<decltype(f)::VALEUR>::OCTETS; });
    return octets;
}

// Places d'un anneau de `octets` octets, pour des étapes de `etape` octets.
__device__ __forceinline__ int nombre_places(int octets, u32 etape) {
    return min(PLACES_MAX, octets / (int)etape);
}

__device__ __forceinline__ bool par_anneau(int format) { return PAR_ANNEAU && format < F16; }

// Les étapes qu'une chaîne doit à un produit : les mêmes, consécutives, dans une tuile sur `pas`.
struct Part {
    int tuile, pas, tuiles;  // `tuiles` : celles de la matrice, ou 0 si la chaîne n'a rien à faire
    int premiere, etapes;

    __device__ __forceinline__ Part(const Produit& p, int chaine) {
        const int part = chaine & ((1 << p.log_partage) - 1), simultanees = CHAINES >> p.log_partage;
        premiere = part * p.m.etapes >> p.log_partage;
        etapes = ((part + 1) * p.m.etapes >> p.log_partage) - premiere;
        tuiles = etapes > 0 ? (p.m.lignes + LIGNES_TUILE - 1) / LIGNES_TUILE : 0;
        tuile = blockIdx.x * simultanees + (chaine >> p.log_partage);
        pas = gridDim.x * simultanees;
    }
};

// L'anneau, vu de la chaîne qui le lit, le temps d'un produit.
struct Anneau {
    u32 codes;  // de cette voie, à la première place
    u32 remplies, phases;
    int places, place;

    // Un autre format que celui du produit d'avant repart d'un anneau vide.
    __device__ __forceinline__ Anneau(const Commun& commun, u32 anneaux, int octets, int format) {
        const u32 chaine = rang_fil() / 32u, voie = rang_fil() % 32u;
        codes = anneaux + chaine * octets + voie * 16;
        remplies = adresse_partagee(commun.remplies[chaine]);
        places = PAR_ANNEAU ? nombre_places(octets, octets_etape(format)) : 0;
        place = format == commun.formats[chaine] ? commun.places[chaine] : 0;
        phases = commun.phases[chaine];
    }

    // Lit la plus ancienne étape, d'un format `T` qui est celui de l'anneau, et rend sa place.
    template <int T>
    __device__ __forceinline__ Unite<T> lire(int voie) {
        const u32 remplie = remplies + 8 * place;
        attendre_barriere(remplie, phases >> place & 1);
        const Unite<T> u = relire_unite<T>(codes + place * Etape<T>::OCTETS, voie);
        arriver(remplie + VERS_LUES);
        phases ^= 1u << place;
        place = place + 1 == places ? 0 : place + 1;
        return u;
    }

    __device__ __forceinline__ void finir(Commun& commun, int format) const {
        const int chaine = threadIdx.x / 32;
        if (threadIdx.x % 32 == 0) {
            commun.formats[chaine] = format;
            commun.places[chaine] = place;
            commun.phases[chaine] = phases;
        }
        // Le produit suivant les lit avant de s'accorder.
        __syncwarp();
    }
};

// L'anneau de la chaîne de rang `voie`, vu de la voie qui le remplit.
struct Copieur {
    int chaine, instruction = -1, voulu = -1, format = -1, places = 0, place = 0;
    int tuile = 0, tuiles = 0, pas = 0, premiere = 0, par_tuile = 0, restantes = 0, etapes = 0;
    u32 rang = 0, taille = 0;
    u32 occupees = 0, phases = 0;  // un bit par place : remplie et pas encore vue lue, parité de sa lecture
    const u8* source = nullptr;

    __device__ __forceinline__ void ouvrir(const Produit& p, int i) {
        const Part part(p, chaine);
        instruction = i;
        tuile = part.tuile, tuiles = part.tuiles, pas = part.pas;
        premiere = part.premiere, par_tuile = restantes = part.etapes, etapes = p.m.etapes;
        source = p.m.octets;
        voulu = p.m.format;
        rang = (u32)tuile * etapes + premiere;
    }

    // Va au produit suivant parmi les instructions d'avant `fin`, s'il y en a un.
    __device__ __forceinline__ void suivre(const Fenetre& fenetre, int fin) {
#pragma unroll 1
        for (int i = instruction + 1; i < fin; i++) {
            instruction = i;
            const Instruction& suivante = fenetre[i];
            if (suivante.genre != PRODUIT || !par_anneau(suivante.produit.m.format)) continue;
            ouvrir(suivante.produit, i);
            return;
        }
    }

    // La place qu'il faut voir lue avant de copier l'étape suivante, ou -1.
    __device__ __forceinline__ int attendue(int octets) {
        if (voulu != format) {
            // Les places d'un autre format ne sont pas aux mêmes endroits : il faut que toutes soient lues.
            if (occupees) return __ffs(occupees) - 1;
            format = voulu;
            taille = octets_etape(format);
            places = nombre_places(octets, taille);
            place = 0;
        }
        return occupees >> place & 1 ? place : -1;
    }

    __device__ __forceinline__ void liberer(int p) {
        occupees ^= 1u << p;
        phases ^= 1u << p;
    }

    // Passe à l'étape suivante et à sa place, l'étape copiée.
    __device__ __forceinline__ void avancer() {
        occupees |= 1u << place;
        place = place + 1 == places ? 0 : place + 1;
        rang++;
        if (--restantes > 0) return;
        restantes = par_tuile;
        tuile += pas;
        rang = (u32)tuile * etapes + premiere;
    }
};

// Ce que demande la voie d'une chaîne : l'étape `source`, à sa place, dont la lecture précédente, s'il y en a eu une,
// est attestée par `lue`.
struct Demande {
    bool utile, apres_lecture;
    u32 place, remplie, lue, parite, taille;
    const u8* source;

    // Copie les étapes que demandent les voies, chaîne par chaîne. La barrière de la place est passée : on la repasse
    // juste avant, car `compute-sanitizer --tool racecheck` ne tient pour lu que ce qu'atteste la dernière barrière
    // passée par la chaîne, et il y en a une par voie.
    __device__ __forceinline__ void servir(int voie) const {
#pragma unroll
        for (int v = 0; v < SERVIES; v++) {
            if (voie == v && utile) {
                if (apres_lecture) est_passee(lue, parite);
                copier_etape(place, remplie, source, taille);
            }
            __syncwarp();
        }
    }
};

// Le travail de la chaîne qui copie de rang `rang` : une voie par chaîne servie.
__device__ __forceinline__ void copier_d_avance(const Instruction* instructions, int nombre, Commun& commun,
                                                const u8* anneaux, int octets, int rang) {
    const int voie = threadIdx.x % 32;
    Fenetre& fenetre = commun.copies[rang];
    Copieur c;
    c.chaine = rang + voie % SERVIES * COPIEUSES;
    const u32 debut = adresse_partagee(anneaux) + c.chaine * octets;
    const u32 remplies = adresse_partagee(commun.remplies[c.chaine]);
    if (voie >= SERVIES) c.instruction = nombre;
    int lues = 0;
    while (true) {
        const bool oisive = c.instruction < nombre && c.tuile >= c.tuiles;
        if (__any_sync(~0u, oisive)) {
            // La fenêtre avance avec la voie la plus en retard.
            const int derniere = __reduce_min_sync(~0u, c.instruction);
            while (lues < nombre && lues < derniere + FENETRE) {
                if (voie < sizeof(Instruction) / 16)
                    fenetre.mots[lues % FENETRE][voie] = ((const uint4*)(instructions + lues))[voie];
                lues++;
                __syncwarp();
            }
            if (oisive) {
                c.suivre(fenetre, lues);
                if (c.tuile >= c.tuiles && c.instruction == nombre - 1) c.instruction = nombre;
            }
            if (!__any_sync(~0u, c.instruction < nombre)) return;
        }
        const bool prete = c.instruction < nombre && c.tuile < c.tuiles;
        int attendue = prete ? c.attendue(octets) : -1;
        Demande d;
        d.lue = remplies + VERS_LUES + 8 * attendue;
        d.parite = attendue >= 0 && c.phases >> attendue & 1;
        d.apres_lecture = attendue >= 0 && est_passee(d.lue, d.parite);
        if (d.apres_lecture) {
            c.liberer(attendue);
            attendue = c.attendue(octets);
        }
        d.utile = prete && attendue < 0;
        d.place = debut + c.place * c.taille;
        d.remplie = remplies + 8 * c.place;
        d.source = c.source + (u64)c.rang * c.taille;
        d.taille = c.taille;
        d.servir(voie);
        if (d.utile) c.avancer();
        if (!__any_sync(~0u, d.apres_lecture || d.utile)) __nanosleep(20);
    }
}
