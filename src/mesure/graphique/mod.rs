//! Images des rapports, en SVG (texte véritable) ou en PNG, avec une police comprise dans le binaire.

mod barres;
mod nuage;

use std::path::Path;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::{DrawingBackend, FontStyle, RGBColor, TextStyle};
use plotters::style::{Color, IntoFont, WHITE, register_font};

pub use barres::{Barre, Barres};
pub use nuage::{Nuage, Point, Serie};

use crate::erreur::{Erreur, Resultat};

/// La police : elle mesure le texte des SVG et dessine celui des PNG.
const POLICE: &[u8] = include_bytes!("police/DejaVuSans-latin.ttf");
/// Nom sous lequel les SVG la demandent : celle du lecteur y fait aussi bien.
const FAMILLE: &str = "sans-serif";
const LARGEUR: u32 = 960;
const HAUTEUR_TITRE: u32 = 76;
/// Couleurs des séries, distinctes pour un daltonien (Okabe et Ito).
const COULEURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const ENCRE: RGBColor = RGBColor(34, 34, 34);

/// Une image : un titre, ce qu'il faut savoir de la mesure, des panneaux l'un sous l'autre.
pub struct Image {
    /// Titre.
    pub titre: String,
    /// Conditions de la mesure, sur une ligne.
    pub legende: String,
    /// Panneaux, de haut en bas.
    pub panneaux: Vec<Panneau>,
}

/// Une partie d'une image.
pub enum Panneau {
    /// Barres horizontales.
    Barres(Barres),
    /// Points, reliés ou non.
    Nuage(Nuage),
}

impl Panneau {
    fn hauteur(&self) -> u32 {
        match self {
            Self::Barres(barres) => barres.hauteur(),
            Self::Nuage(_) => nuage::HAUTEUR,
        }
    }
}

/// Ce qui empêche une image d'être dessinée.
type Refus = Box<dyn std::error::Error>;

/// Une forme d'image, d'après l'extension du fichier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forme {
    Svg,
    Png,
}

fn forme(chemin: &Path) -> Resultat<Forme> {
    match chemin.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("svg") => Ok(Forme::Svg),
        Some("png") => Ok(Forme::Png),
        _ => Err(Erreur::Usage(format!("« {} » : une image finit par .svg ou .png", chemin.display()))),
    }
}

/// Refuse tout de suite un nom d'image qui ne pourra pas servir, avant de longues mesures.
///
/// # Errors
/// L'extension n'est pas d'une forme connue.
pub fn verifier(chemin: &Path) -> Resultat<()> {
    forme(chemin).map(|_| ())
}

impl Image {
    /// Dessine l'image dans le fichier `chemin`, dont l'extension dit la forme.
    ///
    /// # Errors
    /// Extension inconnue, disque qui refuse.
    pub fn dessiner(&self, chemin: &Path) -> Resultat<()> {
        let impossible =
            |e: Refus| Erreur::Usage(format!("dessin de « {} » impossible : {e}", chemin.display()));
        let octets = match forme(chemin)? {
            Forme::Svg => self.en_svg().map(String::into_bytes),
            Forme::Png => self.en_png(),
        };
        std::fs::write(chemin, octets.map_err(impossible)?).map_err(|e| Erreur::ecriture(chemin, e))
    }

    fn taille(&self) -> (u32, u32) {
        (LARGEUR, HAUTEUR_TITRE + self.panneaux.iter().map(Panneau::hauteur).sum::<u32>())
    }

    fn en_svg(&self) -> Result<String, Refus> {
        let mut texte = String::new();
        self.peindre(&SVGBackend::with_string(&mut texte, self.taille()).into_drawing_area())?;
        Ok(texte)
    }

    fn en_png(&self) -> Result<Vec<u8>, Refus> {
        let (largeur, hauteur) = self.taille();
        let mut pixels = vec![0; largeur as usize * hauteur as usize * 3];
        self.peindre(&BitMapBackend::with_buffer(&mut pixels, (largeur, hauteur)).into_drawing_area())?;
        let mut octets = Vec::new();
        let mut codeur = png::Encoder::new(&mut octets, largeur, hauteur);
        codeur.set_color(png::ColorType::Rgb);
        codeur.write_header()?.write_image_data(&pixels)?;
        Ok(octets)
    }

    fn peindre<B: DrawingBackend>(&self, zone: &DrawingArea<B, Shift>) -> Result<(), Refus>
    where
        B::ErrorType: 'static,
    {
        register_font(FAMILLE, FontStyle::Normal, POLICE).map_err(|_| "police illisible")?;
        zone.fill(&WHITE)?;
        let (entete, mut reste) = zone.split_vertically(HAUTEUR_TITRE);
        entete.draw_text(&abreger(&self.titre, 62), &style(26), (24, 18))?;
        entete.draw_text(&abreger(&self.legende, 110), &style(16), (24, 52))?;
        for (rang, panneau) in self.panneaux.iter().enumerate() {
            let (ici, suite) = reste.split_vertically(panneau.hauteur());
            match panneau {
                Panneau::Barres(barres) => barres.peindre(&ici, COULEURS[rang % COULEURS.len()])?,
                Panneau::Nuage(nuage) => nuage.peindre(&ici)?,
            }
            reste = suite;
        }
        zone.present()?;
        Ok(())
    }
}

fn style(taille: i32) -> TextStyle<'static> {
    (FAMILLE, taille).into_font().color(&ENCRE.to_rgba())
}

/// Les `nombre` premiers caractères d'un texte, ce qui est coupé se voyant.
fn abreger(texte: &str, nombre: usize) -> String {
    if texte.chars().count() <= nombre {
        return texte.to_owned();
    }
    let debut: String = texte.chars().take(nombre).collect();
    format!("{}…", debut.trim_end())
}

/// Graduations rondes de `[bas, haut]`, six environ : leur pas et leurs décimales.
fn graduer(bas: f64, haut: f64) -> (f64, usize) {
    let brut = ((haut - bas) / 6.0).max(f64::MIN_POSITIVE);
    let ordre = 10_f64.powf(brut.log10().floor());
    let pas = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * ordre).find(|p| *p >= brut).unwrap_or(brut);
    (pas, (-pas.log10().floor()).max(0.0) as usize)
}

#[cfg(test)]
mod tests;
