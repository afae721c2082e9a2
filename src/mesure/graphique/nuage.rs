//! Points avec leur intervalle, reliés ou nommés un par un.

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{Circle, EmptyElement, ErrorBar, PathElement, Text};
use plotters::prelude::DrawingBackend;
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, WHITE};

use super::{COULEURS, ENCRE, Refus, abreger, graduer, style};
use crate::nombres::ecrire_reel;

pub(super) const HAUTEUR: u32 = 420;

/// Un panneau de points.
pub struct Nuage {
    /// Titre du panneau.
    pub titre: String,
    /// Grandeurs et unités des axes, horizontal puis vertical.
    pub axes: [String; 2],
    /// L'axe vertical part-il de zéro ?
    pub depuis_zero: bool,
    /// Séries, chacune de sa couleur.
    pub series: Vec<Serie>,
}

/// Où va le nom d'un point, en pixels sous lui, selon le nombre de ses voisins déjà nommés.
const HAUTEURS_DE_NOM: [i32; 5] = [-10, 14, -30, 34, -50];

/// Hauteur du nom d'un point, placé en parts des axes, et retient ce point : les noms de voisins s'écartent.
fn hauteur_du_nom(nommes: &mut Vec<(f64, f64)>, (x, y): (f64, f64)) -> i32 {
    let voisins = nommes.iter().filter(|(a, b)| (x - a).abs() < 0.3 && (y - b).abs() < 0.1).count();
    nommes.push((x, y));
    HAUTEURS_DE_NOM[voisins % HAUTEURS_DE_NOM.len()]
}

/// Une suite de points reliés ; une série d'un seul point porte son nom à côté de lui.
pub struct Serie {
    /// Nom, pour la légende.
    pub nom: String,
    /// Points, par abscisse croissante.
    pub points: Vec<Point>,
}

/// Un point et son intervalle vertical.
pub struct Point {
    /// Abscisse.
    pub x: f64,
    /// Ordonnée.
    pub y: f64,
    /// Intervalle de l'ordonnée.
    pub intervalle: [f64; 2],
}

impl Point {
    fn bornes(&self) -> [f64; 2] {
        if self.intervalle.iter().all(|v| v.is_finite()) { self.intervalle } else { [self.y; 2] }
    }
}

impl Nuage {
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|s| &s.points)
    }

    /// Étendues des axes, un peu plus larges que les points.
    fn etendues(&self) -> [[f64; 2]; 2] {
        let etendre = |valeurs: Vec<f64>, part: f64| {
            let bas = valeurs.iter().copied().fold(f64::INFINITY, f64::min);
            let haut = valeurs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let marge = ((haut - bas) * part).max(haut.abs() * 0.02).max(1e-9);
            [bas - marge, haut + marge]
        };
        let x = etendre(self.points().map(|p| p.x).collect(), 0.12);
        let y = etendre(self.points().flat_map(Point::bornes).collect(), 0.15);
        [[x[0].max(0.0), x[1]], [if self.depuis_zero { 0.0 } else { y[0] }, y[1]]]
    }

    pub(super) fn peindre<B: DrawingBackend>(&self, zone: &DrawingArea<B, Shift>) -> Result<(), Refus>
    where
        B::ErrorType: 'static,
    {
        let [[x0, x1], [y0, y1]] = self.etendues();
        let mut graphique = ChartBuilder::on(zone)
            .caption(&self.titre, style(19))
            .margin(18)
            .margin_right(40)
            .x_label_area_size(52)
            .y_label_area_size(90)
            .build_cartesian_2d(x0..x1, y0..y1)?;
        // Plotters met jusqu'à deux fois plus de graduations que `graduer`.
        let decimales = |bas: f64, haut: f64| graduer(bas, bas + (haut - bas) / 2.0).1;
        let (dx, dy) = (decimales(x0, x1), decimales(y0, y1));
        graphique
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(ENCRE.mix(0.15))
            .x_labels(8)
            .y_labels(7)
            .x_label_formatter(&|v| ecrire_reel(*v, dx))
            .y_label_formatter(&|v| ecrire_reel(*v, dy))
            .x_desc(&self.axes[0])
            .y_desc(&self.axes[1])
            .label_style(style(15))
            .axis_desc_style(style(17))
            .draw()?;
        let mut nommes: Vec<(f64, f64)> = Vec::new();
        for (serie, couleur) in self.series.iter().zip(COULEURS.iter().cycle()) {
            let trait_ = couleur.stroke_width(2);
            let ligne = LineSeries::new(serie.points.iter().map(|p| (p.x, p.y)), trait_);
            let dessinee = graphique.draw_series(ligne)?;
            if serie.points.len() > 1 {
                let cle = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], trait_);
                dessinee.label(&serie.nom).legend(cle);
            }
            let intervalles = serie.points.iter().map(|p| {
                let [bas, haut] = p.bornes();
                ErrorBar::new_vertical(p.x, bas, p.y, haut, trait_, 10)
            });
            graphique.draw_series(intervalles)?;
            graphique
                .draw_series(serie.points.iter().map(|p| Circle::new((p.x, p.y), 4, couleur.filled())))?;
            if let [seul] = serie.points.as_slice() {
                // À droite du graphique, le nom va à gauche de son point.
                let a_droite = seul.x > f64::midpoint(x0, x1);
                let cote = if a_droite { HPos::Right } else { HPos::Left };
                let hauteur = hauteur_du_nom(&mut nommes, (seul.x / (x1 - x0), seul.y / (y1 - y0)));
                let place = (if a_droite { -10 } else { 10 }, hauteur);
                let police = style(15).pos(Pos::new(cote, VPos::Center));
                let nom = Text::new(abreger(&serie.nom, 40), place, police);
                graphique.draw_series(std::iter::once(EmptyElement::at((seul.x, seul.y)) + nom))?;
            }
        }
        if self.series.iter().any(|s| s.points.len() > 1) {
            graphique
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE.mix(0.85))
                .border_style(ENCRE.mix(0.3))
                .label_font(style(15))
                .draw()?;
        }
        Ok(())
    }
}
