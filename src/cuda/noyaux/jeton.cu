// Tout le calcul d'un jeton en un noyau, un bloc par multiprocesseur. Les blocs suivent la même suite
// d'instructions et ne s'attendent que par les valeurs marquées qu'ils s'échangent : un bloc qui n'a rien à
// faire d'une instruction passe à la suivante. Tous doivent être sur la carte en même temps (lancement
// coopératif).

struct Jeton {
    const Instruction* instructions;
    int nombre;
    u32 base;  // s'ajoute à tous les numéros : jamais deux fois la même
    Pas pas;
    int octets_entree;  // mémoire partagée des entrées, puis des anneaux
    int octets_anneau;
};

extern "C" __global__ void __launch_bounds__(FILS_BLOC, 1) jeton(const __grid_constant__ Jeton p) {
    __shared__ Commun commun;
    __shared__ Rotation rotation;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const int MOTS = sizeof(Instruction) / 16;
    const uint4* programme = (const uint4*)p.instructions;
    if (sizeof(Partage) > p.octets_entree) asm volatile("trap;");
    for (int i = threadIdx.x; i < min(p.nombre, FENETRE) * MOTS; i += FILS_BLOC)
        commun.calcul.mots[i / MOTS][i % MOTS] = programme[i];
    if (threadIdx.x == 0) rotation.pulsations = nullptr;
    if (threadIdx.x < CHAINES) {
        commun.phases[threadIdx.x] = 0;
        commun.formats[threadIdx.x] = -1;
    }
#if MOTEUR_DE_COPIE
    // Toutes les voies d'une chaîne rendent une place, une seule la remplit.
    for (int i = threadIdx.x; i < CHAINES * PLACES_MAX; i += FILS_BLOC) {
        const u32 remplie = adresse_partagee((u64*)commun.remplies + i);
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(remplie) : "memory");
        asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(remplie + VERS_LUES) : "memory");
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    __syncthreads();
    const u8* anneaux = memoire + p.octets_entree;
    if (chaine >= CHAINES) {
#if MOTEUR_DE_COPIE
        copier_d_avance(p.instructions, p.nombre, commun, anneaux, p.octets_anneau, chaine - CHAINES);
#endif
        return;
    }
    // Toute instruction accorde les chaînes du bloc au moins une fois : aucune n'en a deux de retard.
#pragma unroll 1
    for (int i = 0; i < p.nombre; i++) {
        // L'instruction qui prendra la place de la précédente se lit pendant que celle-ci s'exécute.
        const int suivante = i + FENETRE - 1;
        const bool releve = chaine == CHAINES - 1 && voie < MOTS && i > 0 && suivante < p.nombre;
        const uint4 mot = releve ? programme[suivante * MOTS + voie] : make_uint4(0, 0, 0, 0);
        const Instruction& courante = commun.calcul[i];
        switch (courante.genre) {
            case SOURCE:
                source(courante.source, p.pas.jeton, p.base + courante.numero);
                accorder();
                break;
            case ATTENTION: attention_jeton(courante.attention, p.pas, p.base, courante.numero, rotation); break;
            case PRODUIT:
                if (par_anneau(courante.produit.m.format)) {
                    if constexpr (PAR_ANNEAU != 0)
                        produit<true>(courante.produit, commun, adresse_partagee(anneaux), p.octets_anneau, p.base,
                                      courante.numero);
                } else if constexpr (SANS_ANNEAU != 0) {
                    produit_sans_anneau(courante.produit, commun, p.base, courante.numero);
                }
        }
        if (releve) commun.calcul.mots[suivante % FENETRE][voie] = mot;
    }
}
