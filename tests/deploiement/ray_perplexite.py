"""Perplexité en parts sur un groupe Ray : python ray_perplexite.py PARTS SORTIE -- OPTIONS DE « rasfr perplexity »

Chaque part est une tâche Ray, qui lance « rasfr perplexity … --shard I/N --json » là où il reste des cœurs ; une
part dont la machine tombe est refaite ailleurs. Les rapports réunis par « rasfr perplexity merge » donnent
exactement ce qu'une seule exécution aurait donné. Modèle et textes doivent se trouver au même chemin sur toutes
les machines (disque partagé), ou être désignés par hf: et --dataset.

RASFR désigne le binaire ; CPUS_PAR_PART, les cœurs d'une part (passés à -t).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ray

RASFR = os.environ.get("RASFR", "rasfr")
CPUS = int(os.environ.get("CPUS_PAR_PART", "1"))


@ray.remote(num_cpus=CPUS, max_retries=3)
def mesurer(part, options):
    commande = [RASFR, "perplexity", *options, "-t", str(CPUS), "--shard", part, "--json"]
    fini = subprocess.run(commande, capture_output=True, check=False)
    if fini.returncode != 0:
        raise RuntimeError(f"part {part} : {fini.stderr.decode(errors='replace').strip()}")
    return fini.stdout


def main():
    separateur = sys.argv.index("--") if "--" in sys.argv else 0
    if separateur != 3:
        sys.exit(__doc__)
    nombre, sortie, options = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:]
    ray.init(log_to_driver=False)
    taches = [mesurer.remote(f"{rang}/{nombre}", options) for rang in range(1, nombre + 1)]
    with tempfile.TemporaryDirectory() as dossier:
        parts = []
        for rang, rapport in enumerate(ray.get(taches), start=1):
            parts.append(Path(dossier) / f"part-{rang}.json")
            parts[-1].write_bytes(rapport)
        fini = subprocess.run([RASFR, "perplexity", "merge", "--json", *parts], stdout=subprocess.PIPE, check=True)
    sortie.write_bytes(fini.stdout)
    print(f"{nombre} parts réunies dans {sortie}")


if __name__ == "__main__":
    main()
