//! The plot of a report: error bound and estimated error over time, on a logarithmic scale.

use std::fmt::Write as _;

use ntp_history::Report;
use ntp_history::report::Point;
use ntp_time::{NtpDuration, SystemTime};

use crate::format::duration;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 40.0;
/// Narrower rectangles are not seen; a year has 35 000 entries.
const COLUMNS: usize = 440;

const BOUND: &str = "#bcd0ea";
const ESTIMATED: &str = "#2b5fa8";
const UNKNOWN: &str = "#f3d9d2";

/// The largest figures of the entries that share a column.
#[derive(Clone, Copy, Default)]
struct Column {
    bound: Option<f64>,
    estimated: Option<f64>,
    /// Whether a part of it was not synchronised.
    unsynchronized: bool,
}

/// Draws the report.
pub(super) fn svg(report: &Report) -> String {
    let scale = Scale::new(report);
    let mut columns = [None::<Column>; COLUMNS];
    for point in &report.points {
        add(&mut columns, &scale, point);
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Error bound (light), estimated error (dark), not synchronised (red); white: no history</text>\n"
    );
    for (index, column) in columns.iter().enumerate() {
        let Some(column) = column else { continue };
        let x = LEFT + (WIDTH - LEFT - RIGHT) * index as f64 / COLUMNS as f64;
        if column.unsynchronized {
            rectangle(&mut svg, x, TOP, UNKNOWN);
        }
        for (value, colour) in [(column.bound, BOUND), (column.estimated, ESTIMATED)] {
            if let Some(value) = value {
                rectangle(&mut svg, x, scale.y(value), colour);
            }
        }
    }
    scale.axes(&mut svg, report);
    svg + "</svg>\n"
}

fn rectangle(svg: &mut String, x: f64, y: f64, colour: &str) {
    let width = (WIDTH - LEFT - RIGHT) / COLUMNS as f64;
    let height = HEIGHT - BOTTOM - y;
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn add(columns: &mut [Option<Column>; COLUMNS], scale: &Scale, point: &Point) {
    let index = |time| ((scale.share(time) * COLUMNS as f64) as usize).min(COLUMNS - 1);
    let larger = |old: Option<f64>, new: Option<NtpDuration>| {
        let new = new.map(NtpDuration::as_seconds_f64);
        old.max_by_value(new)
    };
    for column in &mut columns[index(point.from)..=index(point.to)] {
        let column = column.get_or_insert_default();
        column.bound = larger(column.bound, point.bound);
        column.estimated = larger(column.estimated, point.estimated_error);
        column.unsynchronized |= point.bound.is_none();
    }
}

/// The larger of two values, if there are any.
trait MaxByValue {
    fn max_by_value(self, other: Self) -> Self;
}

impl MaxByValue for Option<f64> {
    fn max_by_value(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        }
    }
}

/// Converts times and figures to coordinates.
struct Scale {
    from: SystemTime,
    length: f64,
    /// Powers of ten at the lower and upper end.
    powers: (i32, i32),
}

impl Scale {
    fn new(report: &Report) -> Self {
        let points = report.points.iter();
        let values = points.flat_map(|point| [point.bound, point.estimated_error]);
        let limits = report.overall.outside.iter().map(|outside| outside.limit);
        let values = values.flatten().chain(limits);
        let powers = values.map(|value| value.as_seconds_f64().max(1e-9).log10());
        let (low, high) = powers.fold((f64::MAX, f64::MIN), |(low, high), power| {
            (low.min(power), high.max(power))
        });
        let (low, high) = if low > high {
            (-6.0, -3.0)
        } else {
            (low, high)
        };
        Self {
            from: report.from,
            length: (report.to - report.from).as_seconds_f64().max(1.0),
            powers: (low.floor() as i32, (high + 0.1).ceil() as i32),
        }
    }

    fn share(&self, time: SystemTime) -> f64 {
        ((time - self.from).as_seconds_f64() / self.length).clamp(0.0, 1.0)
    }

    fn y(&self, seconds: f64) -> f64 {
        let (low, high) = (f64::from(self.powers.0), f64::from(self.powers.1));
        let share = (seconds.max(1e-9).log10() - low) / (high - low).max(1.0);
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, svg: &mut String, report: &Report) {
        for power in self.powers.0..=self.powers.1 {
            let value = 10f64.powi(power);
            let name = duration(value);
            line(svg, self.y(value), &name, "#999", "none");
        }
        for outside in &report.overall.outside {
            let limit = outside.limit;
            line(svg, self.y(limit.as_seconds_f64()), "", "#a33", "4 3");
        }
        for part in 0..=4 {
            let at = self.from + NtpDuration::from_seconds_f64(self.length * f64::from(part) / 4.0);
            let text = at.to_string();
            let minute = text.get(..16).unwrap_or(&text).replace('T', " ");
            let x = LEFT + (WIDTH - LEFT - RIGHT) * f64::from(part) / 4.0;
            let anchor = ["start", "middle", "middle", "middle", "end"][part as usize];
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#666\">{minute}</text>",
                HEIGHT - BOTTOM + 18.0
            );
        }
    }
}

fn line(svg: &mut String, y: f64, name: &str, colour: &str, dashes: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"0.6\" stroke-dasharray=\"{dashes}\"/>\
         <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{name}</text>",
        WIDTH - RIGHT,
        LEFT - 8.0,
        y + 4.0
    );
}
