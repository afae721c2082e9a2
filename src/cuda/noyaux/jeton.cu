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

extern "C" __global__ void __launch_bounds__(FILS, 1) jeton(const __grid_constant__ Jeton p) {
    __shared__ Commun commun;
    const int voie = threadIdx.x % 32, chaine = threadIdx.x / 32;
    const u32* programme = (const u32*)p.instructions;
    if (sizeof(Partage) > p.octets_entree) asm volatile("trap;");
    for (int i = threadIdx.x; i < min(p.nombre, FENETRE) * MOTS_INSTRUCTION; i += FILS)
        commun.fenetre[i / MOTS_INSTRUCTION][i % MOTS_INSTRUCTION] = programme[i];
    if (voie < PLACES_MAX) preparer_barriere(adresse_partagee(&commun.barrieres[chaine][voie]));
#if MOTEUR_DE_COPIE
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    Anneau anneau(&commun, memoire + p.octets_entree + chaine * p.octets_anneau, p.octets_anneau, p.nombre);
#pragma unroll 1
    for (int i = 0; i < p.nombre; i++) {
        __syncthreads();
        // L'instruction qui prendra la place de la précédente se lit pendant que celle-ci s'exécute.
        const int suivante = i + FENETRE - 1;
        const bool releve = chaine == CHAINES - 1 && i > 0 && suivante < p.nombre;
        u32 mots[(MOTS_INSTRUCTION + 31) / 32];
        if (releve) {
#pragma unroll
            for (int m = 0; m < (MOTS_INSTRUCTION + 31) / 32; m++) {
                if (m * 32 + voie < MOTS_INSTRUCTION) mots[m] = programme[suivante * MOTS_INSTRUCTION + m * 32 + voie];
            }
        }
        const Instruction& courante = commun.instruction(i);
        switch (courante.genre) {
            case SOURCE: source(courante.source, p.pas.jeton, p.base + courante.numero); break;
            case ATTENTION: attention_jeton(courante.attention, p.pas, p.base, courante.numero); break;
            case PRODUIT: produit(courante.produit, commun, anneau, i, p.base, courante.numero); break;
        }
        anneau.demander(i, voie);
        if (releve) {
#pragma unroll
            for (int m = 0; m < (MOTS_INSTRUCTION + 31) / 32; m++) {
                if (m * 32 + voie < MOTS_INSTRUCTION) commun.fenetre[suivante % FENETRE][m * 32 + voie] = mots[m];
            }
        }
    }
}
