//! Plot of a replay as SVG: bound and estimated error as bands, the offset, the measurements, and
//! the commands of operators.
//!
//! Bounds are milliseconds and errors microseconds, of both signs, so the ordinate is `asinh(y /
//! unit)`.

use std::fmt::Write as _;

use crate::{Outcome, Sample};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 56.0;
/// Number of rows for the labels of commands, so that neighbouring labels do not overlap.
const ROWS: usize = 4;
/// Colours of sources, distinguishable with colour blindness.
const COLOURS: [&str; 8] = [
    "#2b5fa8", "#c4622d", "#2f8f83", "#8a56ac", "#a58a1f", "#b5487b", "#5d7f2a", "#58687a",
];

/// Draws a replay. `title` is escaped.
pub fn svg(outcome: &Outcome, title: &str) -> String {
    let mut plot = Plot::new(outcome, title);
    plot.band("#e3ebf5", |sample| sample.bound);
    plot.band("#bcd0ea", |sample| sample.estimated_error.min(sample.bound));
    plot.axes();
    plot.measurements();
    plot.offset();
    for (index, (at, request)) in outcome.operator_requests.iter().enumerate() {
        plot.mark(*at, TOP + 12.0 * (index % ROWS) as f64, request);
    }
    plot.legend();
    plot.svg + "</svg>\n"
}

struct Plot<'a> {
    outcome: &'a Outcome,
    /// Names of the measured sources.
    names: Vec<&'a str>,
    /// Seconds at the right end.
    end: f64,
    /// Seconds up to which the ordinate is about linear.
    unit: f64,
    /// Largest value, in seconds.
    highest: f64,
    svg: String,
}

impl<'a> Plot<'a> {
    fn new(outcome: &'a Outcome, title: &str) -> Self {
        let samples = &outcome.samples;
        let mut errors: Vec<f64> = samples.iter().map(|it| it.estimated_error).collect();
        errors.sort_by(f64::total_cmp);
        let typical = errors.get(errors.len() / 2).copied().unwrap_or(1e-3);
        let unit = 10f64.powi(typical.clamp(1e-8, 1.0).log10().floor() as i32 - 1);
        let offsets = outcome.measurements.iter().map(|(.., offset)| offset.abs());
        let highest = samples
            .iter()
            .map(|sample| sample.bound.max(sample.offset.abs()))
            .chain(offsets)
            .fold(unit * 10.0, f64::max);
        let names = outcome.measurements.iter().map(|(name, ..)| name.as_str());
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
            escaped(title)
        );
        Self {
            outcome,
            names,
            end: samples.last().map_or(1.0, |sample| sample.at).max(1.0),
            unit,
            highest,
            svg,
        }
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + at / self.end * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let reach = (self.highest / self.unit).asinh() * 1.05;
        middle - (value / self.unit).asinh() / reach * (HEIGHT - TOP - BOTTOM) / 2.0
    }

    fn points(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        points.fold(String::new(), |mut text, (at, value)| {
            let _ = write!(text, "{:.1},{:.1} ", self.x(at), self.y(value));
            text
        })
    }

    /// Fills the area between a value and its negative.
    fn band(&mut self, colour: &str, value: impl Fn(&Sample) -> f64) {
        let samples = self.outcome.samples.iter();
        let upper = samples.clone().map(|sample| (sample.at, value(sample)));
        let lower = samples.rev().map(|sample| (sample.at, -value(sample)));
        let points = self.points(upper.chain(lower));
        let _ = writeln!(self.svg, "<polygon fill=\"{colour}\" points=\"{points}\"/>");
    }

    fn axes(&mut self) {
        let powers = self.unit.log10().round() as i32..=self.highest.log10().floor() as i32;
        for power in powers {
            for value in [10f64.powi(power), -(10f64.powi(power))] {
                let y = self.y(value);
                grid(&mut self.svg, y, &named(value));
            }
        }
        let y = self.y(0.0);
        grid(&mut self.svg, y, "0");
        for share in 0..=6 {
            let at = self.end * f64::from(share) / 6.0;
            let (x, y) = (self.x(at), HEIGHT - BOTTOM + 18.0);
            let _ = writeln!(
                self.svg,
                "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#666\">{at:.0} s</text>"
            );
        }
    }

    fn colour(&self, name: &str) -> &'static str {
        let mut names = self.names.iter();
        let index = names.position(|other| *other == name).unwrap_or(0);
        COLOURS[index % COLOURS.len()]
    }

    fn measurements(&mut self) {
        for (name, at, offset) in &self.outcome.measurements {
            let (x, y, colour) = (self.x(*at), self.y(*offset), self.colour(name));
            let _ = writeln!(
                self.svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\"/>"
            );
        }
    }

    fn offset(&mut self) {
        let samples = self.outcome.samples.iter();
        let points = self.points(samples.map(|sample| (sample.at, sample.offset)));
        let _ = writeln!(
            self.svg,
            "<polyline fill=\"none\" stroke=\"#1b1f24\" stroke-width=\"1.4\" points=\"{points}\"/>"
        );
    }

    /// Draws a vertical line with a label, on the side of it that has room.
    fn mark(&mut self, at: f64, y: f64, name: &str) {
        let (x, name) = (self.x(at), escaped(name));
        let (label, anchor) = if x < WIDTH * 0.75 {
            (x + 3.0, "start")
        } else {
            (x - 3.0, "end")
        };
        let _ = writeln!(
            self.svg,
            "<g class=\"mark\"><title>{name}</title><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#a33\" stroke-width=\"0.8\" stroke-dasharray=\"4 3\"/>\
             <text x=\"{label:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"10\" fill=\"#a33\">{name}</text></g>",
            HEIGHT - BOTTOM,
            y + 8.0
        );
    }

    fn legend(&mut self) {
        for (index, name) in self.names.iter().take(COLOURS.len()).enumerate() {
            let x = LEFT + index as f64 * 110.0;
            let _ = writeln!(
                self.svg,
                "<circle cx=\"{x}\" cy=\"{0}\" r=\"4\" fill=\"{1}\"/><text x=\"{2}\" y=\"{3}\">{4}</text>",
                HEIGHT - 16.0,
                COLOURS[index],
                x + 8.0,
                HEIGHT - 12.0,
                escaped(name)
            );
        }
    }
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

/// Formats a power of ten in a suitable unit.
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

/// Escapes text for XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
