//! SVG plot of the offset over time, with the bound as a band.
//!
//! Errors are microseconds and bounds milliseconds, of both signs, so the ordinate is
//! `asinh(y / unit)`: linear within a unit, logarithmic beyond. A band is one polygon, a curve one
//! polyline; no library is needed for that.

use core::fmt::Write as _;

/// A point of a run: time, the true error of the clock, and the claimed errors, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) at: f64,
    pub(crate) error: f64,
    pub(crate) estimated_error: f64,
    pub(crate) bound: f64,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) points: Vec<Point>,
    /// The ordinate is linear within this, seconds.
    pub(crate) unit: f64,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let end = self.points.last().map_or(1.0, |point| point.at);
        let start = self.points.first().map_or(0.0, |point| point.at);
        let highest = self
            .points
            .iter()
            .map(|point| point.bound.max(point.error.abs()))
            .fold(self.unit, f64::max);
        let reach = (highest / self.unit).asinh() * 1.05;
        let x = |at: f64| LEFT + (at - start) / (end - start).max(1e-9) * (WIDTH - LEFT - RIGHT);
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let y = |value: f64| {
            middle - (value / self.unit).asinh() / reach * (HEIGHT - TOP - BOTTOM) / 2.0
        };
        let path = |of: &dyn Fn(&Point) -> f64, backwards: bool| {
            let mut points: Vec<&Point> = self.points.iter().collect();
            if backwards {
                points.reverse();
            }
            points.iter().fold(String::new(), |mut path, point| {
                let _ = write!(path, "{:.1},{:.1} ", x(point.at), y(of(point)));
                path
            })
        };
        let band = |of: &dyn Fn(&Point) -> f64, colour: &str| {
            format!(
                "<polygon fill=\"{colour}\" points=\"{}{}\"/>\n",
                path(of, false),
                path(&|point| -of(point), true)
            )
        };

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            self.title
        );
        svg += &band(&|point| point.bound, "#dfe8f2");
        svg += &band(&|point| point.estimated_error, "#a9c4e2");
        for value in ticks(self.unit, highest) {
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#bbb\" stroke-width=\"0.5\"/>\
                 <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
                WIDTH - RIGHT,
                y(value),
                LEFT - 6.0,
                y(value) + 4.0,
                label(value)
            );
        }
        for share in 0..=5 {
            let at = start + (end - start) * f64::from(share) / 5.0;
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{at:.0} s</text>",
                x(at).min(WIDTH - RIGHT - 16.0),
                HEIGHT - BOTTOM + 20.0
            );
        }
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"#b03020\" stroke-width=\"1\" points=\"{}\"/>",
            path(&|point| point.error, false)
        );
        svg + "</svg>\n"
    }
}

/// Powers of ten from the unit to the highest value, of both signs, and zero.
fn ticks(unit: f64, highest: f64) -> Vec<f64> {
    let (first, last) = (unit.log10().ceil() as i32, highest.log10().floor() as i32);
    let positive = (first..=last).map(|power| 10f64.powi(power));
    positive
        .flat_map(|value| [value, -value])
        .chain([0.0])
        .collect()
}

/// Formats a power of ten in a suitable unit.
fn label(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    let nanos = (value.abs() * 1e9).round();
    match nanos {
        0.0 => "0".to_owned(),
        nanos if nanos < 1e3 => format!("{sign}{nanos} ns"),
        nanos if nanos < 1e6 => format!("{sign}{} us", nanos / 1e3),
        nanos if nanos < 1e9 => format!("{sign}{} ms", nanos / 1e6),
        nanos => format!("{sign}{} s", nanos / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_powers_of_ten_with_units() {
        let names: Vec<String> = ticks(1e-6, 2e-4).into_iter().map(label).collect();
        assert_eq!(
            names,
            ["1 us", "-1 us", "10 us", "-10 us", "100 us", "-100 us", "0"]
        );
        assert_eq!(label(1e-8), "10 ns");
        assert_eq!(label(-1.0), "-1 s");
    }

    #[test]
    fn a_plot_has_bands_and_a_curve() {
        let point = |at: f64| Point {
            at,
            error: 1e-6 * at,
            estimated_error: 1e-5,
            bound: 1e-3,
        };
        let plot = Plot {
            title: "test".to_owned(),
            points: (0..10).map(|at| point(f64::from(at))).collect(),
            unit: 1e-6,
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<polygon").count(), 2);
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"));
    }
}
