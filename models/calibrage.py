"""Choisit les textes qui calibrent le modèle embarqué : `calibrage.py CORPUS TEXTES SORTIE`.

CORPUS : part0.jsonl.xz à part3.jsonl.xz (une ligne `[source, texte]` par document), dialogues_ras/*.jsonl et
dialogues.tar.xz (une conversation `{"messages": [{"role", "content"}]}` par ligne). TEXTES : les textes
d'évaluation (*.txt). Écrit dans SORTIE theatre.txt, romans.txt, divers.txt et conversations.txt, de 700 000 signes
chacun, toujours les mêmes. Un document qui partage treize mots de suite avec un texte d'évaluation est écarté.
"""

import glob
import io
import json
import lzma
import random
import re
import sys
import tarfile

MOTS, DOCUMENT, FICHIER = 13, 6000, 700_000
corpus, textes, sortie = sys.argv[1:]


def suites(texte):
    mots = re.findall(r"\w+", texte.lower())
    return {tuple(mots[i : i + MOTS]) for i in range(len(mots) - MOTS + 1)}


def genre(texte):
    lignes = texte.split("\n")
    repliques = sum(bool(re.match(r"^[A-ZÉÈÀ][\w' ,éèêôî-]{1,25} : ", ligne)) for ligne in lignes)
    if repliques > 0.12 * len(lignes):
        return "theatre"
    if len(texte) > 7000 and re.search(r"dit-il|s'écria|répondit|murmura|-t-elle", texte):
        return "romans"
    return "divers" if len(texte) > 2500 else None


def ecrire(nom, documents, separateur):
    hasard.shuffle(documents)
    gardes, taille, ecartes = [], 0, 0
    for document in documents:
        if taille > FICHIER:
            break
        if suites(document) & evaluation:
            ecartes += 1
            continue
        gardes.append(document)
        taille += len(document)
    with open(f"{sortie}/{nom}.txt", "w", encoding="utf8") as fichier:
        fichier.write(separateur.join(gardes))
    print(nom, len(gardes), "documents,", ecartes, "écartés")


hasard = random.Random(1)
evaluation = set()
for chemin in sorted(glob.glob(f"{textes}/*.txt")):
    evaluation |= suites(open(chemin, encoding="utf8").read())
genres = {"theatre": [], "romans": [], "divers": []}
for k in range(4):
    with lzma.open(f"{corpus}/part{k}.jsonl.xz", "rt", encoding="utf8") as lignes:
        for i, ligne in enumerate(lignes):
            # Un document sur sept.
            if i % 7 == 3 and (nom := genre(texte := json.loads(ligne)[1])):
                genres[nom].append(texte.strip()[:DOCUMENT])
for nom, documents in genres.items():
    ecrire(nom, documents, "\n\n\n")
lignes = [ligne for chemin in sorted(glob.glob(f"{corpus}/dialogues_ras/*.jsonl")) for ligne in open(chemin, encoding="utf8")]
archive = tarfile.open(f"{corpus}/dialogues.tar.xz")
for membre in sorted((m for m in archive if m.isfile() and m.name.endswith(".jsonl")), key=lambda m: m.name):
    lignes += io.TextIOWrapper(archive.extractfile(membre), "utf8")
conversations = [json.loads(ligne)["messages"] for ligne in lignes if ligne.strip()]
marquer = lambda m: f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n"
ecrire("conversations", ["".join(map(marquer, messages)) for messages in conversations], "\n")
