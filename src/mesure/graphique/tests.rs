use super::*;

fn exemple() -> Image {
    let barre =
        |nom: &str, valeur: f64| Barre { nom: nom.into(), valeur, intervalle: [valeur * 0.9, valeur * 1.1] };
    let point = |x: f64, y: f64| Point { x, y, intervalle: [y - 5.0, y + 5.0] };
    Image {
        titre: "RâS-Fr 67M (Q4_0)".into(),
        legende: "essai, 2 fils".into(),
        panneaux: vec![
            Panneau::Barres(Barres {
                titre: "Amorçage".into(),
                axe: "Débit (jetons/s)".into(),
                barres: vec![barre("pp512", 1686.0), barre("pp2048", 1500.0)],
            }),
            Panneau::Nuage(Nuage {
                titre: "Décodage selon la profondeur".into(),
                axes: ["Profondeur (jetons)".into(), "Débit (jetons/s)".into()],
                depuis_zero: true,
                series: vec![
                    Serie { nom: "tg128".into(), points: vec![point(0.0, 230.0), point(1024.0, 180.0)] },
                    Serie { nom: "seul".into(), points: vec![point(512.0, 100.0)] },
                ],
            }),
        ],
    }
}

#[test]
fn le_texte_d_un_svg_est_du_texte() {
    let svg = exemple().en_svg().unwrap();
    for attendu in [
        "RâS-Fr 67M (Q4_0)",
        "essai, 2 fils",
        "Amorçage",
        "pp2048",
        "1\u{202f}686",
        "Débit (jetons/s)",
        "Profondeur (jetons)",
        "tg128",
        "seul",
    ] {
        let lignes = svg.lines().filter(|l| l.trim() == attendu);
        assert!(lignes.count() >= 1, "« {attendu} » absent de :\n{svg}");
    }
    assert!(svg.contains("<text") && svg.contains("sans-serif"));
}

#[test]
fn un_png_porte_de_l_encre_la_ou_il_y_a_du_texte() {
    let octets = exemple().en_png().unwrap();
    let mut lecteur = png::Decoder::new(std::io::Cursor::new(octets)).read_info().unwrap();
    let mut pixels = vec![0; lecteur.output_buffer_size().unwrap()];
    let info = lecteur.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), exemple().taille());
    let sombres = |haut: usize, bas: usize| {
        let lignes = &pixels[haut * 3 * info.width as usize..bas * 3 * info.width as usize];
        lignes.chunks(3).filter(|p| p.iter().all(|c| *c < 100)).count()
    };
    assert!(sombres(10, 45) > 200, "le titre : {}", sombres(10, 45));
    assert_eq!(sombres(0, 10), 0, "la marge");
}

#[test]
fn l_extension_dit_la_forme_et_une_autre_est_refusee() {
    let dossier = tempfile::tempdir().unwrap();
    for (nom, debut) in [("a.svg", b"<svg".as_slice()), ("b.PNG", b"\x89PNG")] {
        let chemin = dossier.path().join(nom);
        exemple().dessiner(&chemin).unwrap();
        assert!(std::fs::read(&chemin).unwrap().starts_with(debut), "{nom}");
    }
    assert!(verifier(Path::new("c.jpg")).unwrap_err().to_string().contains(".svg ou .png"));
    let refus = exemple().dessiner(&dossier.path().join("absent/d.svg")).unwrap_err().to_string();
    assert!(refus.contains("n'existe pas"), "{refus}");
}

#[test]
fn les_graduations_sont_rondes() {
    assert_eq!(graduer(0.0, 1700.0), (500.0, 0));
    assert_eq!(graduer(0.0, 1.0), (0.2, 1));
    assert_eq!(graduer(31.9, 32.1), (0.05, 2));
}
