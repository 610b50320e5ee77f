//! A simulated history is reported and compared with the simulator's truth.
//!
//! The world loses its network for hours, is stepped by another program and is suspended; the truth is what is
//! counted second by second beside the history.

use ntp_history::{Accuracy, Chain, Collector, Recorder, Report};
use ntp_proto::engine::Now;
use ntp_sim::{Action, Scenario, World};
use ntp_time::{Monotonic, NtpDuration};

/// Limits of the report, in seconds.
const LIMITS: [f64; 3] = [6e-3, 9e-3, 13e-3];

/// What is counted beside the history.
#[derive(Default)]
struct Truth {
    /// Seconds with a bound above each limit, or none.
    outside: [f64; 3],
    /// Seconds with an error above each limit.
    wrong: [f64; 3],
    synchronized: f64,
    largest_error: f64,
    largest_bound: f64,
}

fn world(days: u32) -> Scenario {
    let mut scenario = Scenario::new("history").with_servers(4);
    for day in 0..days {
        let morning = f64::from(day) * 86_400.0;
        let network = |up| Action::Network { v4: up, v6: up };
        // Longer each day, so that limits are crossed.
        scenario = scenario
            .at(morning + 20_000.0, network(false))
            .at(morning + 26_000.0 + f64::from(day) * 1000.0, network(true));
        if day % 2 == 1 {
            scenario = scenario
                .at(morning + 70_000.0, Action::ForeignStep(3.0))
                .at(
                    morning + 76_000.0,
                    Action::Suspend {
                        seconds: 1800.0,
                        error: 0.2,
                    },
                );
        }
    }
    scenario.modify(|world| world.duration = f64::from(days) * 86_400.0)
}

fn simulate(days: u32) -> (Report, Truth) {
    let mut world = World::new(&world(days), 5);
    let (mut recorder, mut chain, mut truth) =
        (Recorder::new("0.1.0"), Chain::default(), Truth::default());
    let limits = LIMITS.map(NtpDuration::from_seconds_f64).to_vec();
    let mut collector = Collector::new(None, None, limits);
    let mut lines = Vec::new();
    let mut seen = 0;
    for second in 0..days * 86_400 {
        world.run(f64::from(second)).unwrap();
        let synchronized = world.status().system.synchronized;
        let figures = world.figures().filter(|_| synchronized);
        let accuracy = figures.map(|figures| Accuracy {
            bound: figures.bound,
            estimated_error: figures.estimated_error,
        });
        let now = Now {
            monotonic: Monotonic::from_nanos(i64::from(second) * 1_000_000_000),
            system: world.clock().system(),
        };
        lines.extend(recorder.before_round(now, accuracy));
        recorder.after_round(accuracy);
        for (_, event) in &world.journal().events[seen..] {
            recorder.record_event(now, event);
        }
        seen = world.journal().events.len();
        let bound = accuracy.map_or(f64::MAX, |it| it.bound.as_seconds_f64());
        let error = world.error().abs();
        truth.count(accuracy.map(|_| bound), error);
    }
    lines.extend(recorder.finish());
    let texts: Vec<String> = lines.into_iter().map(|entry| chain.append(entry)).collect();
    let mut reader = Chain::default();
    for text in &texts {
        collector.add(reader.read(text).unwrap());
    }
    let report = collector.finish(reader.last(), reader.hash().to_string());
    (report.unwrap(), truth)
}

impl Truth {
    /// Counts a second.
    fn count(&mut self, bound: Option<f64>, error: f64) {
        for (index, limit) in LIMITS.into_iter().enumerate() {
            let outside = bound.is_none_or(|bound| bound > limit);
            self.outside[index] += f64::from(u8::from(outside));
            self.wrong[index] += f64::from(u8::from(error > limit));
        }
        if let Some(bound) = bound {
            self.synchronized += 1.0;
            self.largest_bound = self.largest_bound.max(bound);
            self.largest_error = self.largest_error.max(error);
        }
    }
}

fn compare(days: u32) {
    let (report, truth) = simulate(days);
    let all = &report.overall;
    let seconds = |time: NtpDuration| time.as_seconds_f64();
    // A bound that falls between two observations belongs to either second.
    let close = |got: f64, truth: f64| (got - truth).abs() <= 0.002 * truth + 60.0;
    assert!(close(seconds(all.synchronized), truth.synchronized));
    for (index, outside) in all.outside.iter().enumerate() {
        let (got, counted) = (seconds(outside.time), truth.outside[index]);
        assert!(close(got, counted), "{outside:?}: {got} {counted}");
        assert!(got + 60.0 >= truth.wrong[index], "{outside:?}");
    }
    let [low, middle, high] = truth.outside;
    assert!(
        low > middle + 60.0 && middle > high + 60.0,
        "the world crosses the limits: {:?}",
        truth.outside
    );
    let largest = seconds(all.largest_bound.unwrap());
    assert!(
        (1.0..1.1).contains(&(largest / truth.largest_bound)),
        "{largest}"
    );
    // An error that another program has made is known only when it is noticed.
    assert!(
        days > 1 || truth.largest_error <= largest,
        "{}",
        truth.largest_error
    );
    let disturbances = days / 2;
    let steps = all.steps as u32;
    assert!(steps >= 2 * disturbances, "{steps}");
    assert!(
        report.gaps.len() as u32 >= disturbances,
        "{:?}",
        report.gaps
    );
    assert!(report.integrity.faults.is_empty());
}

#[test]
fn the_report_of_two_simulated_days_agrees_with_the_truth() {
    compare(2);
}

#[test]
#[ignore = "takes minutes"]
fn the_report_of_a_simulated_month_agrees_with_the_truth() {
    compare(30);
}
