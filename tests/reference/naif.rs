//! Le même calcul, refait en f64 par des boucles, sans rien partager avec le moteur.

use crate::modeles::Essai;

type Matrice = Vec<Vec<f64>>;

impl Essai {
    fn vecteur(&self, nom: &str) -> Vec<f64> {
        self.poids[nom].1.iter().map(|&v| f64::from(v)).collect()
    }

    fn lineaire(&self, x: &Matrice, nom: &str) -> Matrice {
        let (forme, w) = &self.poids[nom];
        let ligne = |x: &Vec<f64>, l: usize| {
            w[l * forme[1]..(l + 1) * forme[1]].iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum()
        };
        let mut y: Matrice = x.iter().map(|x| (0..forme[0]).map(|l| ligne(x, l)).collect()).collect();
        if let Some((_, biais)) = self.poids.get(&nom.replace(".weight", ".bias")) {
            y.iter_mut().for_each(|y| y.iter_mut().zip(biais).for_each(|(y, &b)| *y += f64::from(b)));
        }
        y
    }

    fn norme(&self, x: &Matrice, nom: &str) -> Matrice {
        let w = self.vecteur(nom);
        x.iter().map(|x| normer(x, &w)).collect()
    }

    /// Tourne chaque tête de chaque ligne, paires (i, i + dim/2) ; la ligne est la position.
    fn tourner(&self, x: &mut Matrice, i: usize) {
        if self.sans_rope > 0 && (i + 1).is_multiple_of(self.sans_rope) {
            return;
        }
        let locale = self.est_gemma() && self.fenetre_de(i).is_some();
        let (theta, facteur) =
            if locale { (self.theta_locale, 1.0) } else { (self.theta, self.facteur_lineaire) };
        let llama3 = self.facteurs_llama3();
        for (position, ligne) in x.iter_mut().enumerate() {
            for tete in ligne.chunks_mut(self.dim) {
                for j in 0..self.dim / 2 {
                    let pulsation = theta.powf(-2.0 * j as f64 / self.dim as f64) / facteur;
                    let diviseur = if self.llama3 { f64::from(llama3[j]) } else { 1.0 };
                    let (s, c) = (position as f64 * pulsation / diviseur).sin_cos();
                    let (a, b) = (tete[j], tete[j + self.dim / 2]);
                    tete[j] = a * c - b * s;
                    tete[j + self.dim / 2] = a * s + b * c;
                }
            }
        }
    }

    fn attention(&self, x: &Matrice, i: usize) -> Matrice {
        let nomme = |nom: &str| format!("blk.{i}.{nom}.weight");
        let mut q = self.lineaire(x, &nomme("attn_q"));
        let mut k = self.lineaire(x, &nomme("attn_k"));
        let v = self.lineaire(x, &nomme("attn_v"));
        if self.norme_qk {
            for (y, nom) in [(&mut q, "attn_q_norm"), (&mut k, "attn_k_norm")] {
                let w = self.vecteur(&nomme(nom));
                let normees = |l: &Vec<f64>| l.chunks(self.dim).flat_map(|t| normer(t, &w)).collect();
                *y = y.iter().map(normees).collect();
            }
        }
        self.tourner(&mut q, i);
        self.tourner(&mut k, i);
        let mut y = vec![vec![0.0; self.tetes * self.dim]; x.len()];
        for t in 0..self.tetes {
            let (debut, debut_kv) = (t * self.dim, t / (self.tetes / self.tetes_kv) * self.dim);
            for p1 in 0..x.len() {
                let vues = (0..=p1).filter(|p0| self.fenetre_de(i).is_none_or(|w| p1 - p0 < w));
                let score = |p0: usize| -> f64 {
                    let produit: f64 = (0..self.dim).map(|j| q[p1][debut + j] * k[p0][debut_kv + j]).sum();
                    produit / (self.dim as f64).sqrt()
                };
                let scores: Vec<(usize, f64)> = vues.map(|p0| (p0, score(p0).exp())).collect();
                let somme: f64 = scores.iter().map(|s| s.1).sum();
                for (p0, poids) in scores {
                    for j in 0..self.dim {
                        y[p1][debut + j] += poids / somme * v[p0][debut_kv + j];
                    }
                }
            }
        }
        self.lineaire(&y, &nomme("attn_output"))
    }

    fn mlp(&self, x: &Matrice, i: usize) -> Matrice {
        let nomme = |nom: &str| format!("blk.{i}.{nom}.weight");
        let gelu = |x: f64| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        };
        let activer = |x: f64| if self.est_gemma() { gelu(x) } else { x / (1.0 + (-x).exp()) };
        let mut y = self.lineaire(x, &nomme("ffn_gate"));
        let montee = self.lineaire(x, &nomme("ffn_up"));
        for (y, m) in y.iter_mut().flatten().zip(montee.iter().flatten()) {
            *y = activer(*y) * m;
        }
        self.lineaire(&y, &nomme("ffn_down"))
    }

    /// Logits de chaque position.
    pub(crate) fn logits_naifs(&self, jetons: &[u32]) -> Matrice {
        let table = self.vecteur("token_embd.weight");
        let echelle = if self.est_gemma() { (self.d as f64).sqrt() } else { 1.0 };
        let plonger = |&j: &u32| {
            table[j as usize * self.d..(j as usize + 1) * self.d].iter().map(|v| v * echelle).collect()
        };
        let mut x: Matrice = jetons.iter().map(plonger).collect();
        for i in 0..self.nb_couches {
            let nomme = |nom: &str| format!("blk.{i}.{nom}.weight");
            let mut y = self.attention(&self.norme(&x, &nomme("attn_norm")), i);
            if self.est_gemma() {
                y = self.norme(&y, &nomme("post_attention_norm"));
            }
            ajouter(&mut x, &y);
            let mut y = self.mlp(&self.norme(&x, &nomme("ffn_norm")), i);
            if self.est_gemma() {
                y = self.norme(&y, &nomme("post_ffw_norm"));
            }
            ajouter(&mut x, &y);
        }
        let tete = if self.lies { "token_embd.weight" } else { "output.weight" };
        self.lineaire(&self.norme(&x, "output_norm.weight"), tete)
    }
}

fn ajouter(x: &mut Matrice, y: &Matrice) {
    x.iter_mut().flatten().zip(y.iter().flatten()).for_each(|(x, y)| *x += y);
}

fn normer(x: &[f64], w: &[f64]) -> Vec<f64> {
    let moyenne = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(w).map(|(v, w)| v / (moyenne + 1e-5).sqrt() * w).collect()
}
