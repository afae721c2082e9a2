//! Barres horizontales, avec leur intervalle.

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{PathElement, Rectangle};
use plotters::prelude::{DrawingBackend, RGBColor};
use plotters::style::Color;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{ENCRE, Refus, abreger, graduer, style};
use crate::nombres::ecrire_reel;

const MARGE_HAUT: i32 = 44;
const MARGE_BAS: i32 = 56;
const MARGE_GAUCHE: i32 = 190;
const MARGE_DROITE: i32 = 110;
const PAS: i32 = 40;
const EPAISSEUR: i32 = 24;

/// Un panneau de barres.
pub struct Barres {
    /// Titre du panneau.
    pub titre: String,
    /// Grandeur et unité de l'axe.
    pub axe: String,
    /// Barres, de haut en bas.
    pub barres: Vec<Barre>,
}

/// Une barre.
pub struct Barre {
    /// Ce qu'elle mesure.
    pub nom: String,
    /// Sa longueur.
    pub valeur: f64,
    /// Son intervalle.
    pub intervalle: [f64; 2],
}

impl Barres {
    pub(super) fn hauteur(&self) -> u32 {
        (MARGE_HAUT + MARGE_BAS + PAS * self.barres.len() as i32).unsigned_abs()
    }

    pub(super) fn peindre<B: DrawingBackend>(
        &self,
        zone: &DrawingArea<B, Shift>,
        couleur: RGBColor,
    ) -> Result<(), Refus>
    where
        B::ErrorType: 'static,
    {
        let (largeur, hauteur) = zone.dim_in_pixel();
        let (largeur, bas) = (largeur as i32 - MARGE_GAUCHE - MARGE_DROITE, hauteur as i32 - MARGE_BAS);
        let longueurs = self.barres.iter().flat_map(|b| [b.valeur, b.intervalle[1]]);
        let max = longueurs.filter(|v| v.is_finite()).fold(0.0, f64::max).max(1e-9);
        let x = |v: f64| MARGE_GAUCHE + (v / max * f64::from(largeur)) as i32;
        zone.draw_text(&self.titre, &style(19), (24, 12))?;
        let (pas, decimales) = graduer(0.0, max);
        let sous = style(15).pos(Pos::new(HPos::Center, VPos::Top));
        for i in 0..=(max / pas) as u32 {
            let v = f64::from(i) * pas;
            zone.draw(&PathElement::new(vec![(x(v), MARGE_HAUT), (x(v), bas)], ENCRE.mix(0.15)))?;
            zone.draw_text(&ecrire_reel(v, decimales), &sous, (x(v), bas + 6))?;
        }
        zone.draw_text(&self.axe, &sous, (MARGE_GAUCHE + largeur / 2, bas + 28))?;
        let devant = style(16).pos(Pos::new(HPos::Right, VPos::Center));
        let derriere = style(16).pos(Pos::new(HPos::Left, VPos::Center));
        for (rang, barre) in (0..).zip(&self.barres) {
            let milieu = MARGE_HAUT + PAS * rang + PAS / 2;
            let (haut, fond) = (milieu - EPAISSEUR / 2, milieu + EPAISSEUR / 2);
            zone.draw(&Rectangle::new([(x(0.0), haut), (x(barre.valeur), fond)], couleur.filled()))?;
            zone.draw_text(&abreger(&barre.nom, 22), &devant, (MARGE_GAUCHE - 10, milieu))?;
            let mut fin = x(barre.valeur);
            if barre.intervalle.iter().all(|v| v.is_finite()) {
                let [a, b] = barre.intervalle.map(x);
                fin = fin.max(b);
                for trait_ in [
                    vec![(a, milieu), (b, milieu)],
                    vec![(a, milieu - 6), (a, milieu + 6)],
                    vec![(b, milieu - 6), (b, milieu + 6)],
                ] {
                    zone.draw(&PathElement::new(trait_, ENCRE.stroke_width(2)))?;
                }
            }
            let decimales = if barre.valeur < 100.0 { 1 } else { 0 };
            zone.draw_text(&ecrire_reel(barre.valeur, decimales), &derriere, (fin + 8, milieu))?;
        }
        Ok(())
    }
}
