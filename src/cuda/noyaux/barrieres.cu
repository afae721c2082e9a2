// Barrières et copies du moteur de copie de la carte (Hopper) : une place remplie, une place lue.

__device__ __forceinline__ void attendre_barriere(u32 barriere, u32 parite) {
    u32 fini;
    do {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(fini)
                     : "r"(barriere), "r"(parite)
                     : "memory");
    } while (!fini);
}

__device__ __forceinline__ bool est_passee(u32 barriere, u32 parite) {
    u32 oui;
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(oui)
                 : "r"(barriere), "r"(parite)
                 : "memory");
    return oui;
}

__device__ __forceinline__ void arriver(u32 barriere) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barriere) : "memory");
}

__device__ __forceinline__ void copier_etape(u32 place, u32 barriere, const u8* source, u32 octets) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barriere), "r"(octets) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(place),
                 "l"(source), "r"(octets), "r"(barriere)
                 : "memory");
}
