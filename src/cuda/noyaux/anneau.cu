// Copies d'avance des poids : chaque chaîne a en mémoire partagée un anneau d'étapes, rempli par le moteur
// de copie (Hopper) ou par `cp.async`. Les poids ne dépendent de rien : l'anneau franchit les instructions,
// et la mémoire de la carte ne s'arrête pas pendant qu'un vecteur s'échange entre les blocs.

__device__ __forceinline__ void preparer_barriere(u32 barriere) {
    // Une arrivée par copie du moteur, ou une par voie.
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barriere), "n"(MOTEUR_DE_COPIE ? 1 : 32) : "memory");
}

__device__ __forceinline__ void attendre_barriere(u32 barriere, u32 parite) {
    u32 fini;
    do {
#if MOTEUR_DE_COPIE
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(fini)
                     : "r"(barriere), "r"(parite)
                     : "memory");
#else
        asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(fini)
                     : "r"(barriere), "r"(parite)
                     : "memory");
#endif
    } while (!fini);
}

__device__ __forceinline__ void copier_etape(u32 place, u32 barriere, const u8* source, u32 octets, int voie) {
#if MOTEUR_DE_COPIE
    if (voie != 0) return;
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barriere), "r"(octets) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(place),
                 "l"(source), "r"(octets), "r"(barriere)
                 : "memory");
#else
    for (u32 o = voie * 16; o < octets; o += 512) copier_16(place + o, source + o);
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barriere) : "memory");
#endif
}

// Octets d'une étape, par format.
__device__ __forceinline__ u32 octets_etape(int format) {
    switch (format) {
        case Q4: return Etape<Q4>::OCTETS;
        case Q4M: return Etape<Q4M>::OCTETS;
        case Q6: return Etape<Q6>::OCTETS;
        case Q8: return Etape<Q8>::OCTETS;
        case F32: return Etape<F32>::OCTETS;
        default: return Etape<F16>::OCTETS;
    }
}

// Les étapes qu'une chaîne doit à un produit : les mêmes, consécutives, dans une tuile sur `pas`.
struct Part {
    int tuile, pas, tuiles;  // `tuiles` : celles de la matrice, ou 0 si la chaîne n'a rien à faire
    int premiere, etapes;

    __device__ __forceinline__ explicit Part(const Produit& p) {
        const int chaine = threadIdx.x / 32, part = chaine & ((1 << p.log_partage) - 1);
        const int simultanees = CHAINES >> p.log_partage;
        premiere = part * p.m.etapes >> p.log_partage;
        etapes = ((part + 1) * p.m.etapes >> p.log_partage) - premiere;
        tuiles = etapes > 0 ? (p.m.lignes + LIGNES_TUILE - 1) / LIGNES_TUILE : 0;
        tuile = blockIdx.x * simultanees + (chaine >> p.log_partage);
        pas = gridDim.x * simultanees;
    }
};

// L'anneau d'une chaîne. Tout y est commun aux voies.
struct Anneau {
    const Commun* commun;
    const u8* debut;
    u32 barrieres;
    int octets;              // de toutes les places
    int nombre;              // instructions du programme
    u32 phases = 0;          // parité attendue de chaque place
    int format = -1;         // des étapes de l'anneau
    u32 taille = 0;          // d'une étape
    int places = 0, place_lue = 0, place_demandee = 0, en_route = 0;
    int instruction = -1;    // produit dont on demande les étapes
    int tuile = 0, tuiles = 0, pas = 0, premiere = 0, par_tuile = 0, restantes = 0, etapes = 0;
    const u8* source = nullptr;

    __device__ __forceinline__ Anneau(const Commun* commun, const u8* debut, int octets, int nombre)
        : commun(commun), debut(debut), octets(octets), nombre(nombre) {
        barrieres = adresse_partagee(commun->barrieres[threadIdx.x / 32]);
    }

    __device__ __forceinline__ void ouvrir(const Produit& p, int i) {
        const Part part(p);
        instruction = i;
        tuile = part.tuile, tuiles = part.tuiles, pas = part.pas;
        premiere = part.premiere, par_tuile = restantes = part.etapes, etapes = p.m.etapes;
        source = p.m.octets;
        viser();
    }

    __device__ __forceinline__ void viser() { rang = (u32)tuile * etapes + premiere; }

    // Passe au produit suivant, s'il est en vue et que ses étapes ont le même format.
    __device__ __forceinline__ bool suivre(int courante) {
        const int fin = min(nombre, courante + FENETRE - 1);
#pragma unroll 1
        for (int i = instruction + 1; i < fin; i++) {
            const Instruction& suivante = commun->instruction(i);
            if (suivante.genre != PRODUIT) continue;
            if (suivante.produit.m.format != format) return false;
            ouvrir(suivante.produit, i);
            return true;
        }
        return false;
    }

    // Remplit l'anneau, en allant jusqu'aux produits qui suivent l'instruction courante.
    __device__ __forceinline__ void demander(int courante, int voie) {
#pragma unroll 1
        while (en_route < places) {
            if (tuile >= tuiles) {
                if (!suivre(courante)) return;
                continue;
            }
            copier_etape(adresse_partagee(debut) + place_demandee * taille, barrieres + 8 * place_demandee,
                         source + (u64)rang * taille, taille, voie);
            place_demandee = place_demandee + 1 == places ? 0 : place_demandee + 1;
            en_route++;
            rang++;
            if (--restantes > 0) continue;
            restantes = par_tuile;
            tuile += pas;
            viser();
        }
    }

    // Le produit `i` commence : si l'anneau n'en est pas déjà là, il est vide, et repart avec ce format.
    __device__ __forceinline__ void commencer(const Produit& p, int i, int voie) {
        if (instruction < i) {
            format = p.m.format;
            taille = octets_etape(format);
            // Les flottants ne passent pas par l'anneau : une seule de leurs étapes fait déjà assez de lectures.
            places = format < F16 ? min(PLACES_MAX, octets / (int)taille) : 0;
            place_lue = place_demandee = 0;
            ouvrir(p, i);
        }
        demander(i, voie);
    }

    // La plus ancienne étape demandée, ou nul si son format ne passe pas par l'anneau.
    __device__ __forceinline__ const u8* prendre() {
        if (places == 0) return nullptr;
        attendre_barriere(barrieres + 8 * place_lue, phases >> place_lue & 1);
        return debut + place_lue * taille;
    }

    // Rend la place de l'étape prise, que toutes les voies ont lue.
    __device__ __forceinline__ void liberer(int courante, int voie) {
        if (places == 0) return;
        __syncwarp();
        phases ^= 1u << place_lue;
        place_lue = place_lue + 1 == places ? 0 : place_lue + 1;
        en_route--;
        demander(courante, voie);
    }

  private:
    u32 rang = 0;  // de la prochaine étape, dans toute la matrice
};
