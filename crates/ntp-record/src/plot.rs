//! A replay as an SVG: the bound as a band, the offset and every measurement against time, and what operators asked for as marks.
//!
//! Bounds are milliseconds and errors microseconds, of both signs, so the ordinate is `asinh(y / unit)`.

use std::fmt::Write as _;

use crate::Outcome;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 56.0;
/// Rows in which marks are named, so that neighbours do not cover each other.
const ROWS: usize = 4;
/// Colours of sources, told apart by those who see fewer colours, too.
const COLOURS: [&str; 8] = [
    "#2b5fa8", "#c4622d", "#2f8f83", "#8a56ac", "#a58a1f", "#b5487b", "#5d7f2a", "#58687a",
];

/// Draws it. `title` is escaped.
pub fn svg(outcome: &Outcome, title: &str) -> String {
    let samples = &outcome.samples;
    let end = samples.last().map_or(1.0, |sample| sample.at).max(1.0);
    let mut errors: Vec<f64> = samples
        .iter()
        .map(|sample| sample.estimated_error)
        .collect();
    errors.sort_by(f64::total_cmp);
    let typical = errors
        .get(errors.len() / 2)
        .copied()
        .unwrap_or(1e-3)
        .clamp(1e-8, 1.0);
    let unit = 10f64.powi(typical.log10().floor() as i32 - 1);
    let offsets = outcome
        .measurements
        .iter()
        .map(|(_, _, offset)| offset.abs());
    let highest = samples
        .iter()
        .map(|sample| sample.bound.max(sample.offset.abs()))
        .chain(offsets)
        .fold(unit * 10.0, f64::max);
    let reach = (highest / unit).asinh() * 1.05;
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    let y = |value: f64| middle - (value / unit).asinh() / reach * (HEIGHT - TOP - BOTTOM) / 2.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    for (of, colour) in [(0, "#e3ebf5"), (1, "#bcd0ea")] {
        let value = |index: usize| {
            let sample = &samples[index];
            if of == 0 {
                sample.bound
            } else {
                sample.estimated_error.min(sample.bound)
            }
        };
        let forth = (0..samples.len()).map(|index| (index, value(index)));
        let back = (0..samples.len()).rev().map(|index| (index, -value(index)));
        let points = forth
            .chain(back)
            .fold(String::new(), |mut points, (index, value)| {
                let _ = write!(points, "{:.1},{:.1} ", x(samples[index].at), y(value));
                points
            });
        let _ = writeln!(svg, "<polygon fill=\"{colour}\" points=\"{points}\"/>");
    }
    for power in unit.log10().round() as i32..=highest.log10().floor() as i32 {
        for value in [10f64.powi(power), -(10f64.powi(power))] {
            grid(&mut svg, y(value), &named(value));
        }
    }
    grid(&mut svg, y(0.0), "0");
    for share in 0..=6 {
        let at = end * f64::from(share) / 6.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{at:.0} s</text>",
            x(at),
            HEIGHT - BOTTOM + 18.0
        );
    }
    let mut names: Vec<&str> = outcome
        .measurements
        .iter()
        .map(|(name, ..)| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let colour = |name: &str| {
        let index = names.iter().position(|other| *other == name).unwrap_or(0);
        COLOURS[index % COLOURS.len()]
    };
    for (name, at, offset) in &outcome.measurements {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"{}\"/>",
            x(*at),
            y(*offset),
            colour(name)
        );
    }
    let line = samples.iter().fold(String::new(), |mut line, sample| {
        let _ = write!(line, "{:.1},{:.1} ", x(sample.at), y(sample.offset));
        line
    });
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"#1b1f24\" stroke-width=\"1.4\" points=\"{line}\"/>"
    );
    for (index, (at, request)) in outcome.operator_requests.iter().enumerate() {
        mark(
            &mut svg,
            x(*at),
            TOP + 12.0 * (index % ROWS) as f64,
            request,
        );
    }
    for (index, name) in names.iter().take(COLOURS.len()).enumerate() {
        let place = LEFT + index as f64 * 110.0;
        let _ = writeln!(
            svg,
            "<circle cx=\"{place}\" cy=\"{0}\" r=\"4\" fill=\"{1}\"/><text x=\"{2}\" y=\"{3}\">{4}</text>",
            HEIGHT - 16.0,
            colour(name),
            place + 8.0,
            HEIGHT - 12.0,
            escaped(name)
        );
    }
    svg + "</svg>\n"
}

/// A vertical line with a name, which stands where there is room for it.
fn mark(svg: &mut String, x: f64, y: f64, name: &str) {
    let name = escaped(name);
    let (at, anchor) = if x < WIDTH * 0.75 {
        (x + 3.0, "start")
    } else {
        (x - 3.0, "end")
    };
    let _ = writeln!(
        svg,
        "<g class=\"mark\"><title>{name}</title><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#a33\" stroke-width=\"0.8\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"10\" fill=\"#a33\">{name}</text></g>",
        HEIGHT - BOTTOM,
        y + 8.0
    );
}

fn grid(svg: &mut String, y: f64, name: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\" stroke-width=\"0.6\"/>\
         <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{name}</text>",
        WIDTH - RIGHT,
        LEFT - 8.0,
        y + 4.0
    );
}

/// A power of ten in the unit that suits it.
fn named(value: f64) -> String {
    let sign = if value < 0.0 { "\u{2212}" } else { "" };
    let nanos = (value.abs() * 1e9).round();
    match nanos {
        nanos if nanos < 1e3 => format!("{sign}{nanos} ns"),
        nanos if nanos < 1e6 => format!("{sign}{} \u{b5}s", nanos / 1e3),
        nanos if nanos < 1e9 => format!("{sign}{} ms", nanos / 1e6),
        nanos => format!("{sign}{} s", nanos / 1e9),
    }
}

/// Text that may stand in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
