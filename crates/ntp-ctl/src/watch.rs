//! `ntp-ctl watch`: the clock and its sources, live, in a terminal.
//!
//! Two things happen at once, and neither waits for the other: a thread listens to the daemon, and the screen listens to the keyboard. A daemon that is restarted is
//! found again; meanwhile the screen says so. What was seen is kept for ten minutes, in bounded rings.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use ntp_control_api::control::methods::{Interval, Monitor};
use ntp_control_api::control::types::{Source, Status};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Row, Table};

use crate::connect::Socket;
use crate::console::Failure;
use crate::figures::{age, duration, known, signed};
use crate::sources::{mark, reference};

/// Points kept of each line: ten minutes.
const KEPT: usize = 600;
/// Sources whose past is kept; of more the newest have none.
const SOURCES_KEPT: usize = 64;
/// Between two looks at the keyboard.
const GLANCE: Duration = Duration::from_millis(100);

/// An offset and the half width of the interval around it, at a time.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    offset: f64,
    half: f64,
}

/// What is plotted of a point.
type Figure = fn(&Point) -> f64;

/// What the screen shows.
#[derive(Debug, Default)]
struct View {
    status: Option<Status>,
    connected: bool,
    clock: VecDeque<Point>,
    sources: BTreeMap<u64, VecDeque<Point>>,
    /// Row of the table that is plotted; the clock if none.
    chosen: Option<usize>,
}

/// What the listener has to say.
enum News {
    Status(Box<Status>),
    Gone,
}

pub(crate) fn run(config: Option<&Path>) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return Err(Failure::Told(
            "`watch` needs a terminal; `ntp-ctl tracking -f json` is for programs".into(),
        ));
    }
    let socket = Socket::find(config)?;
    // A daemon that is not there is said before the screen is taken over.
    socket.connect()?;
    let (sender, news) = mpsc::channel();
    thread::spawn(move || {
        loop {
            if listen(&socket, &sender).is_none() || sender.send(News::Gone).is_err() {
                return;
            }
            pause();
        }
    });
    let mut terminal = ratatui::try_init()?;
    let result = interact(&mut terminal, &news);
    ratatui::restore();
    result
}

/// Passes on what the daemon says until it goes away; nothing if nobody wants to hear it any more.
fn listen(socket: &Socket, sender: &mpsc::Sender<News>) -> Option<()> {
    let Some(mut client) = socket.try_connect() else {
        return Some(());
    };
    let interval = Some(1.0);
    if client.subscribe::<Monitor>(&Interval { interval }).is_err() {
        return Some(());
    }
    while let Ok(reply) = client.answer::<Monitor>() {
        sender.send(News::Status(Box::new(reply.status))).ok()?;
    }
    Some(())
}

fn interact(terminal: &mut ratatui::DefaultTerminal, news: &Receiver<News>) -> Result<(), Failure> {
    let mut view = View::default();
    loop {
        loop {
            match news.try_recv() {
                Ok(News::Status(status)) => view.take(*status),
                Ok(News::Gone) => view.connected = false,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::Told("the listener ended unexpectedly".into()));
                }
            }
        }
        terminal.draw(|frame| draw(frame, &view))?;
        if event::poll(GLANCE)?
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
    fn take(&mut self, status: Status) {
        let at = status.program.now;
        let system = &status.system;
        if let (Some(offset), Some(half)) = (system.offset, system.error_bound) {
            keep(&mut self.clock, Point { at, offset, half });
        }
        let alive = |id: &u64| status.sources.iter().any(|source| source.id == *id);
        self.sources.retain(|id, _| alive(id));
        for source in &status.sources {
            let Some(measured) = &source.measurement else {
                continue;
            };
            let point = Point {
                at: measured.at,
                offset: measured.offset,
                half: measured.uncertainty.unwrap_or(0.0),
            };
            if self.sources.len() < SOURCES_KEPT || self.sources.contains_key(&source.id) {
                let past = self.sources.entry(source.id).or_default();
                if past.back().is_none_or(|last| last.at < point.at) {
                    keep(past, point);
                }
            }
        }
        self.status = Some(status);
        self.connected = true;
    }

    /// Chooses another row; above the first is the clock.
    fn choose(&mut self, by: isize) {
        let rows = self
            .status
            .as_ref()
            .map_or(0, |status| status.sources.len());
        let now = self.chosen.map_or(0, |row| row + 1);
        let next = now.saturating_add_signed(by).min(rows);
        self.chosen = next.checked_sub(1);
    }

    fn chosen_source(&self) -> Option<&Source> {
        self.status.as_ref()?.sources.get(self.chosen?)
    }
}

fn keep(past: &mut VecDeque<Point>, point: Point) {
    if past.len() == KEPT {
        past.pop_front();
    }
    past.push_back(point);
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
        frame.render_widget(Paragraph::new("waiting for the daemon …"), head);
        return;
    };
    draw_head(frame, head, view, status);
    draw_plot(frame, plot, view);
    draw_table(frame, table, view, status);
    let keys =
        "up/down: plot a source or the clock   q: quit   * reference + used x falseticker ? silent";
    frame.render_widget(
        Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)),
        foot,
    );
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View, status: &Status) {
    let system = &status.system;
    let (word, colour) = match (view.connected, system.synchronized) {
        (false, _) => ("the daemon is gone; waiting for it", Color::Red),
        (true, true) => ("synchronised", Color::Green),
        (true, false) => ("NOT synchronised", Color::Red),
    };
    let reference = system.reference.as_deref().unwrap_or(&system.reference_id);
    let lines = vec![
        Line::styled(
            format!("{word}, stratum {}, reference {reference}", system.stratum),
            Style::new().fg(colour).add_modifier(Modifier::BOLD),
        ),
        Line::raw(format!(
            "offset {}  error {}  bound {}",
            system.offset.map_or_else(|| "unknown".into(), signed),
            known(system.estimated_error),
            known(system.error_bound)
        )),
        Line::raw(format!(
            "frequency {:+.3} ppm ± {:.3}  {} of {} sources agree, {} must",
            system.frequency,
            system.frequency_sigma,
            system.agreeing,
            system.candidates,
            system.needed
        )),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_plot(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let nothing = VecDeque::new();
    let (title, past) = match view.chosen_source() {
        Some(source) => (
            format!(" {}: offset and its interval ", source.name),
            view.sources.get(&source.id).unwrap_or(&nothing),
        ),
        None => (
            " the clock: offset and guaranteed bound ".into(),
            &view.clock,
        ),
    };
    let block = Block::bordered().title(title);
    let (Some(first), Some(last)) = (past.front(), past.back()) else {
        let text = Paragraph::new("nothing measured yet").block(block);
        return frame.render_widget(text, area);
    };
    let now = view
        .status
        .as_ref()
        .map_or(last.at, |status| status.program.now);
    let span = (now - first.at).max(10.0);
    let line = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        past.iter()
            .map(|point| (point.at - now, value(point)))
            .collect()
    };
    // The clock's bound is around zero: the clock itself is what may be wrong. A source's interval is around what it says.
    let of_clock = view.chosen_source().is_none();
    let (upper, lower): (Figure, Figure) = if of_clock {
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
    let set = |data, colour| {
        Dataset::default()
            .data(data)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(colour))
    };
    let chart = Chart::new(vec![
        set(&above, Color::DarkGray),
        set(&below, Color::DarkGray),
        set(&offsets, Color::Cyan),
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

fn draw_table(frame: &mut Frame<'_>, area: Rect, view: &View, status: &Status) {
    let reference = reference(status);
    // The chosen row stays in sight.
    let room = usize::from(area.height.saturating_sub(3));
    let first = view.chosen.map_or(0, |row| (row + 1).saturating_sub(room));
    let rows = status
        .sources
        .iter()
        .enumerate()
        .skip(first)
        .map(|(index, source)| {
            let mark = mark(source, reference);
            let colour = match mark {
                '*' | '+' => Color::Green,
                'x' | '!' => Color::Red,
                '?' | '~' | '.' => Color::Yellow,
                _ => Color::Reset,
            };
            let measured = source.measurement.as_ref();
            let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
            let row = Row::new([
                mark.to_string(),
                source.name.clone(),
                or_dash(measured.map(|it| it.stratum.to_string())),
                format!("{:o}", source.reach),
                age(source.poll),
                or_dash(measured.map(|it| signed(it.offset))),
                or_dash(measured.and_then(|it| it.uncertainty).map(duration)),
                source.state.clone(),
            ]);
            let style = Style::new().fg(colour);
            row.style(if view.chosen == Some(index) {
                style.add_modifier(Modifier::REVERSED)
            } else {
                style
            })
        });
    let widths = [
        Constraint::Length(1),
        Constraint::Min(18),
        Constraint::Length(2),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(13),
    ];
    let header = Row::new(["", "source", "st", "reach", "poll", "offset", "±", "state"]);
    let table = Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .block(Block::bordered().title(format!(" {} sources ", status.sources.len())));
    frame.render_widget(table, area);
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program for people waits in real time"
)]
fn pause() {
    thread::sleep(Duration::from_secs(1));
}

#[cfg(test)]
mod tests {
    use ntp_control_api::control::types::{Measurement, System};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn status(second: u32, sources: u64) -> Status {
        let at = f64::from(second);
        let source = |id: u64| Source {
            id,
            name: format!("192.0.2.{id}:123"),
            address: format!("192.0.2.{id}:123"),
            state: if id == 2 { "falseticker" } else { "selected" }.into(),
            online: true,
            measurement: Some(Measurement {
                at,
                offset: 1e-4,
                uncertainty: Some(2e-3),
                ..Measurement::default()
            }),
            ..Source::default()
        };
        let mut status = Status {
            system: System {
                synchronized: true,
                stratum: 2,
                reference_id: "192.0.2.1".into(),
                reference: Some("192.0.2.1:123".into()),
                offset: Some(2e-5 * at.sin()),
                error_bound: Some(3e-3),
                ..System::default()
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
    fn everything_has_its_place_on_a_terminal_of_80_by_24() {
        let mut view = View::default();
        assert!(screen(&view, 80, 24).contains("waiting for the daemon"));
        for second in 0..60 {
            view.take(status(second, 4));
        }
        let text = screen(&view, 80, 24);
        for expected in [
            "synchronised, stratum 2, reference 192.0.2.1:123",
            "bound 3.00 ms",
            "the clock: offset and guaranteed bound",
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
        view.choose(1);
        view.choose(1);
        assert!(screen(&view, 80, 24).contains(" 192.0.2.2:123: offset and its interval "));
        view.connected = false;
        assert!(screen(&view, 80, 24).contains("the daemon is gone"));
    }

    #[test]
    fn the_chosen_row_stays_in_sight_and_a_tiny_terminal_is_no_mistake() {
        let mut view = View::default();
        view.take(status(1, 40));
        for _ in 0..50 {
            view.choose(1);
        }
        assert!(screen(&view, 80, 24).contains("192.0.2.40:123"));
        for (width, height) in [(1, 1), (20, 5), (300, 100)] {
            screen(&view, width, height);
        }
    }

    #[test]
    fn the_past_is_bounded() {
        let mut view = View::default();
        for second in 0..2000 {
            view.take(status(second, 100));
        }
        assert_eq!(view.clock.len(), KEPT);
        assert_eq!(view.sources.len(), SOURCES_KEPT);
        view.take(status(2000, 0));
        assert!(view.sources.is_empty());
    }
}
