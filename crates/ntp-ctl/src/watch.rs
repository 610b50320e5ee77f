//! `ntp-ctl watch`: shows the clock and its sources live in a terminal.
//!
//! A thread receives the state from the daemon, independently of the main thread, which handles the
//! keyboard. After a restart of the daemon the thread reconnects. The history covers ten minutes,
//! in bounded ring buffers.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use ntp_control_api::control::methods::{Monitor, MonitorInput};
use ntp_time::{NtpDuration, SystemTime};
use ntp_types::source::SourceId;
use ntp_types::status::{SourceStatus, Status};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Row, Table};

use crate::connect::Socket;
use crate::console::Failure;
use crate::format::{Seconds as _, age, duration, or_unknown, signed};
use crate::layout::or_dash;
use crate::sources::{reference_name, state, symbol};

/// Length of a history in points: ten minutes.
const HISTORY: usize = 600;
/// Maximum number of sources with a history; further ones have none.
const MAX_SOURCES: usize = 64;
/// Colours of the curves.
const OFFSET: Color = Color::Cyan;
const BAND: Color = Color::DarkGray;
/// Interval of polling the keyboard.
const KEY_INTERVAL: Duration = Duration::from_millis(100);

/// A point of a history: time, offset and half width of the interval around it, in seconds.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    offset: f64,
    half: f64,
}

impl Point {
    fn new(at: SystemTime, offset: NtpDuration, half: NtpDuration) -> Self {
        Self {
            at: unix(at),
            offset: offset.seconds(),
            half: half.seconds(),
        }
    }
}

/// Returns seconds since 1970.
fn unix(time: SystemTime) -> f64 {
    time.as_nanos() as f64 * 1e-9
}

/// Returns the plotted value of a point.
type Value = fn(&Point) -> f64;

/// State of the screen.
#[derive(Debug, Default)]
struct View {
    status: Option<Status>,
    connected: bool,
    clock: VecDeque<Point>,
    sources: BTreeMap<SourceId, VecDeque<Point>>,
    /// Row of the table that is plotted; `None` plots the clock.
    chosen: Option<usize>,
}

/// A message of the receiving thread.
enum Message {
    Status(Box<Status>),
    Disconnected,
}

pub(crate) fn run(config: Option<&Path>) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return Err(Failure::Error(
            "`watch` requires a terminal; use `ntp-ctl tracking -f json` in programs".into(),
        ));
    }
    let socket = Socket::find(config)?;
    // A failed connection is reported before the terminal is taken over.
    socket.connect()?;
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        loop {
            if receive(&socket, &sender).is_none() || sender.send(Message::Disconnected).is_err() {
                return;
            }
            pause();
        }
    });
    let mut terminal = ratatui::try_init()?;
    let result = interact(&mut terminal, &messages);
    ratatui::restore();
    result
}

/// Forwards states of the daemon until it disconnects; `None` if the channel is closed.
fn receive(socket: &Socket, sender: &mpsc::Sender<Message>) -> Option<()> {
    let Some(mut client) = socket.try_connect() else {
        return Some(());
    };
    let interval = Some(1.0);
    let input = MonitorInput { interval };
    if client.subscribe::<Monitor>(&input).is_err() {
        return Some(());
    }
    while let Ok(reply) = client.next_reply::<Monitor>() {
        sender.send(Message::Status(Box::new(reply.status))).ok()?;
    }
    Some(())
}

fn interact(
    terminal: &mut ratatui::DefaultTerminal,
    messages: &Receiver<Message>,
) -> Result<(), Failure> {
    let mut view = View::default();
    loop {
        loop {
            match messages.try_recv() {
                Ok(Message::Status(status)) => view.update(*status),
                Ok(Message::Disconnected) => view.connected = false,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::Error(
                        "The receiving thread ended unexpectedly".into(),
                    ));
                }
            }
        }
        terminal.draw(|frame| draw(frame, &view))?;
        if event::poll(KEY_INTERVAL)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupt =
                key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            match key.code {
                _ if interrupt => return Ok(()),
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Down | KeyCode::Char('j') => view.choose(1),
                KeyCode::Up | KeyCode::Char('k') => view.choose(-1),
                _ => {}
            }
        }
    }
}

impl View {
    fn update(&mut self, status: Status) {
        let system = &status.system;
        if let (Some(offset), Some(half)) = (system.offset, system.error_bound) {
            push(
                &mut self.clock,
                Point::new(status.program.now, offset, half),
            );
        }
        let exists = |id: &SourceId| status.sources.iter().any(|source| source.id == *id);
        self.sources.retain(|id, _| exists(id));
        for source in &status.sources {
            let Some(measured) = &source.measurement else {
                continue;
            };
            let half = measured.uncertainty.unwrap_or_default();
            let point = Point::new(measured.at, measured.offset, half);
            if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source.id) {
                let history = self.sources.entry(source.id).or_default();
                if history.back().is_none_or(|last| last.at < point.at) {
                    push(history, point);
                }
            }
        }
        self.status = Some(status);
        self.connected = true;
    }

    /// Moves the selection by `by` rows; above the first row is the clock.
    fn choose(&mut self, by: isize) {
        let rows = self
            .status
            .as_ref()
            .map_or(0, |status| status.sources.len());
        let current = self.chosen.map_or(0, |row| row + 1);
        let next = current.saturating_add_signed(by).min(rows);
        self.chosen = next.checked_sub(1);
    }

    fn chosen_source(&self) -> Option<&SourceStatus> {
        self.status.as_ref()?.sources.get(self.chosen?)
    }
}

/// Appends a point and removes the oldest if the history is full.
fn push(history: &mut VecDeque<Point>, point: Point) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(point);
}

fn draw(frame: &mut Frame<'_>, view: &View) {
    let [head, plot, table, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Percentage(50),
        Constraint::Min(5),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let Some(status) = &view.status else {
        frame.render_widget(Paragraph::new("waiting for the daemon ..."), head);
        return;
    };
    draw_head(frame, head, view, status);
    draw_plot(frame, plot, view);
    draw_table(frame, table, view, status);
    let keys =
        "up/down: select plot   q: quit   * reference  + selected  x falseticker  ? no reply";
    frame.render_widget(
        Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)),
        foot,
    );
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View, status: &Status) {
    let system = &status.system;
    let (word, colour) = match (view.connected, system.synchronized) {
        (false, _) => ("disconnected, waiting for the daemon", Color::Red),
        (true, true) if system.fallback_since.is_some() => {
            ("synchronised to fallback sources", Color::Yellow)
        }
        (true, true) => ("synchronised", Color::Green),
        (true, false) if system.local_since.is_some() => ("local time", Color::Yellow),
        (true, false) => ("NOT synchronised", Color::Red),
    };
    let reference = reference_name(status);
    let lines = vec![
        Line::styled(
            format!("{word}, stratum {}, reference {reference}", system.stratum),
            Style::new().fg(colour).add_modifier(Modifier::BOLD),
        ),
        Line::raw(format!(
            "offset {}  estimated error {}  error bound {}",
            system.offset.map_or_else(|| "unknown".into(), signed),
            or_unknown(system.estimated_error),
            or_unknown(system.error_bound)
        )),
        Line::raw(format!(
            "frequency {:+.3} ppm ± {:.3}  {} of {} sources agree ({} required)",
            system.frequency.as_ppm(),
            system.frequency_uncertainty.as_ppm(),
            system.agreeing,
            system.candidates,
            system.required
        )),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Names of the curves in their colours.
fn legend(name: &str, band: &str) -> Line<'static> {
    Line::from(vec![
        format!(" {name}: ").into(),
        Span::styled("━ offset", OFFSET),
        "  ".into(),
        Span::styled(format!("━ {band}"), BAND),
        " ".into(),
    ])
}

fn draw_plot(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let nothing = VecDeque::new();
    let (name, band, history) = match view.chosen_source() {
        Some(source) => (
            source.name.as_str(),
            "interval",
            view.sources.get(&source.id).unwrap_or(&nothing),
        ),
        None => ("clock", "error bound", &view.clock),
    };
    let block = Block::bordered().title(legend(name, band));
    let (Some(first), Some(last)) = (history.front(), history.back()) else {
        let text = Paragraph::new("no measurements yet").block(block);
        return frame.render_widget(text, area);
    };
    let now = view
        .status
        .as_ref()
        .map_or(last.at, |status| unix(status.program.now));
    let span = (now - first.at).max(10.0);
    let line = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        history
            .iter()
            .map(|point| (point.at - now, value(point)))
            .collect()
    };
    // The error bound of the clock is around zero; the interval of a source is around its offset.
    let of_clock = view.chosen_source().is_none();
    let (upper, lower): (Value, Value) = if of_clock {
        (|point| point.half, |point| -point.half)
    } else {
        (
            |point| point.offset + point.half,
            |point| point.offset - point.half,
        )
    };
    let (offsets, above, below) = (line(|point| point.offset), line(upper), line(lower));
    let largest = above.iter().chain(&below).chain(&offsets);
    let largest = largest.map(|(_, y)| y.abs()).fold(1e-9, f64::max) * 1.1;
    let set = |data, colour: Color| {
        Dataset::default()
            .data(data)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(colour)
    };
    let chart = Chart::new(vec![
        set(&above, BAND),
        set(&below, BAND),
        set(&offsets, OFFSET),
    ])
    .block(block)
    .x_axis(
        Axis::default()
            .bounds([-span, 0.0])
            .labels([format!("-{}", age(span)), "now".to_owned()]),
    )
    .y_axis(Axis::default().bounds([-largest, largest]).labels([
        format!("-{}", duration(largest)),
        "0".to_owned(),
        format!("+{}", duration(largest)),
    ]));
    frame.render_widget(chart, area);
}

/// A column of the table: heading, width, the least width of a terminal that shows it, and its cell.
type Column = (&'static str, u16, u16, fn(&Status, &SourceStatus) -> String);

/// Columns of the table, beside the symbol and the name.
const COLUMNS: [Column; 10] = [
    ("st", 2, 0, |_, it| {
        or_dash(it.measurement.as_ref().map(|it| it.stratum))
    }),
    ("reach", 5, 0, |_, it| format!("{:o}", it.reach)),
    ("poll", 5, 0, |_, it| age(it.poll)),
    ("last", 4, 90, |status, it| {
        let measured = it.measurement.as_ref();
        or_dash(measured.map(|it| age(status.program.now - it.at)))
    }),
    ("offset", 10, 0, |_, it| {
        or_dash(it.measurement.as_ref().map(|it| signed(it.offset)))
    }),
    ("±", 9, 0, |_, it| {
        let uncertainty = it.measurement.as_ref().and_then(|it| it.uncertainty);
        or_dash(uncertainty.map(duration))
    }),
    ("delay", 9, 100, |_, it| {
        let delay = it.measurement.as_ref().and_then(|it| it.delay);
        or_dash(delay.map(duration))
    }),
    ("jitter", 9, 110, |_, it| {
        or_dash(it.path.map(|it| duration(it.jitter)))
    }),
    ("state", 13, 0, |_, it| state(it).to_owned()),
    ("authentication", 22, 150, |_, it| it.authentication.clone()),
];

fn draw_table(frame: &mut Frame<'_>, area: Rect, view: &View, status: &Status) {
    // The chosen row stays visible.
    let room = usize::from(area.height.saturating_sub(3));
    let first = view.chosen.map_or(0, |row| (row + 1).saturating_sub(room));
    let columns = || {
        COLUMNS
            .iter()
            .filter(|(_, _, least, _)| *least <= area.width)
    };
    let rows = status
        .sources
        .iter()
        .enumerate()
        .skip(first)
        .map(|(index, source)| {
            let symbol = symbol(status, source);
            let colour = match symbol {
                '*' | '+' => Color::Green,
                'x' | '!' => Color::Red,
                '?' | '~' | '.' => Color::Yellow,
                _ => Color::Reset,
            };
            let cells = columns().map(|(.., cell)| cell(status, source));
            let row = [symbol.to_string(), source.name.clone()].into_iter();
            let style = Style::new().fg(colour);
            Row::new(row.chain(cells)).style(if view.chosen == Some(index) {
                style.add_modifier(Modifier::REVERSED)
            } else {
                style
            })
        });
    let widths = columns().map(|(_, width, ..)| Constraint::Length(*width));
    let widths = [Constraint::Length(1), Constraint::Min(18)]
        .into_iter()
        .chain(widths);
    let headings = columns().map(|(heading, ..)| *heading);
    let header = Row::new(["", "source"].into_iter().chain(headings));
    let table = Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(format!(" {} sources ", status.sources.len())));
    frame.render_widget(table, area);
}

#[expect(
    clippy::disallowed_methods,
    reason = "an interactive program waits in real time"
)]
fn pause() {
    thread::sleep(Duration::from_secs(1));
}

#[cfg(test)]
mod tests {
    use ntp_time::Stratum;
    use ntp_types::source::SourceState;
    use ntp_types::status::{MeasurementStatus, SystemStatus};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn status(second: u32, sources: u32) -> Status {
        let at = SystemTime::from_nanos(0) + NtpDuration::from_seconds(second.into());
        let source = |id: u32| SourceStatus {
            id: SourceId(id),
            name: format!("192.0.2.{id}:123"),
            address: format!("192.0.2.{id}:123").parse().unwrap(),
            state: match id {
                2 => SourceState::Falseticker,
                _ => SourceState::Selected,
            },
            online: true,
            measurement: Some(MeasurementStatus {
                at,
                offset: NtpDuration::from_micros(100),
                uncertainty: Some(NtpDuration::from_millis(2)),
                ..MeasurementStatus::default()
            }),
            ..SourceStatus::default()
        };
        let mut status = Status {
            system: SystemStatus {
                synchronized: true,
                stratum: Stratum::new(2),
                reference: Some(SourceId(1)),
                offset: Some(NtpDuration::from_seconds_f64(
                    2e-5 * f64::from(second).sin(),
                )),
                error_bound: Some(NtpDuration::from_millis(3)),
                ..SystemStatus::default()
            },
            sources: (1..=sources).map(source).collect(),
            ..Status::default()
        };
        status.program.now = at;
        status
    }

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_fits_a_terminal_of_80_by_24() {
        let mut view = View::default();
        assert!(screen(&view, 80, 24).contains("waiting for the daemon"));
        for second in 0..60 {
            view.update(status(second, 4));
        }
        let text = screen(&view, 80, 24);
        for expected in [
            "synchronised, stratum 2, reference 192.0.2.1:123",
            "error bound 3.00 ms",
            "clock: ━ offset  ━ error bound",
            "+3.30 ms",
            "now",
            "* 192.0.2.1:123",
            "x 192.0.2.2:123",
            "falseticker",
            "192.0.2.4:123",
            "q: quit",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        let wide = screen(&view, 150, 24);
        for column in ["last", "delay", "jitter", "authentication"] {
            assert!(!text.contains(column) && wide.contains(column), "{wide}");
        }
        view.choose(1);
        view.choose(1);
        assert!(screen(&view, 80, 24).contains(" 192.0.2.2:123: ━ offset  ━ interval "));
        view.connected = false;
        assert!(screen(&view, 80, 24).contains("disconnected, waiting for the daemon"));
    }

    #[test]
    fn the_chosen_row_stays_visible_and_tiny_terminals_work() {
        let mut view = View::default();
        view.update(status(1, 40));
        for _ in 0..50 {
            view.choose(1);
        }
        assert!(screen(&view, 80, 24).contains("192.0.2.40:123"));
        for (width, height) in [(1, 1), (20, 5), (300, 100)] {
            screen(&view, width, height);
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let mut view = View::default();
        for second in 0..2000 {
            view.update(status(second, 100));
        }
        assert_eq!(view.clock.len(), HISTORY);
        assert_eq!(view.sources.len(), MAX_SOURCES);
        view.update(status(2000, 0));
        assert!(view.sources.is_empty());
    }
}
