//! SVG plot of several quantities over hours, one below the other, a curve for each daemon.

use core::fmt::Write as _;

/// A quantity.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) curves: Vec<Curve>,
}

/// Its values with one daemon: hours and value.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 22.0;

/// Colours of the curves.
const COLOURS: [&str; 2] = ["#b03020", "#2050a0"];

/// Draws the panels.
pub(super) fn svg(panels: &[Panel]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        HEIGHT * panels.len() as f64
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<g transform=\"translate(0 {})\">",
            HEIGHT * number as f64
        );
        panel.draw(&mut svg);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

impl Panel {
    fn draw(&self, svg: &mut String) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let end = points().map(|point| point.0).fold(1e-9, f64::max);
        let highest = points().map(|point| point.1).fold(1e-9, f64::max) * 1.1;
        let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - value / highest * (HEIGHT - TOP - BOTTOM);
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">{}</text>",
            self.title
        );
        for share in [0.0, 0.5, 1.0] {
            let value = highest * share;
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#ccc\" stroke-width=\"0.5\"/>\
                 <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{value:.1}</text>\
                 <text x=\"{4:.1}\" y=\"{5}\" text-anchor=\"middle\">{6:.1} h</text>",
                WIDTH - RIGHT,
                y(value),
                LEFT - 6.0,
                y(value) + 4.0,
                x(end * share).min(WIDTH - RIGHT - 12.0),
                HEIGHT - 6.0,
                end * share,
            );
        }
        for (number, (curve, colour)) in self.curves.iter().zip(COLOURS).enumerate() {
            let path: String = curve
                .points
                .iter()
                .map(|&(at, value)| format!("{:.1},{:.1} ", x(at), y(value)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{path}\"/>\
                 <text x=\"{}\" y=\"18\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
                WIDTH - RIGHT - 70.0 * number as f64,
                curve.name
            );
        }
    }
}
