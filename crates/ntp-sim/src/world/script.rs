//! The script's events.

use ntp_proto::engine::{Command, CommandId, Input};
use ntp_time::NtpDuration;

use super::{OUR_ADDRESS, ScheduledEvent, World};
use crate::Action;
use crate::node::Routes;

impl World {
    /// Executes an event of the script, on node 0.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Behaviour(server, behaviour) => {
                self.hosts[server].server.config.behaviour = behaviour;
            }
            Action::Networks(networks) => self.networks = networks,
            Action::ServerError(server, error) => self.hosts[server].server.config.error = error,
            Action::ClockBehaviour(clock, behaviour) => {
                self.ref_clocks[clock].config.behaviour = behaviour;
            }
            Action::Receiver(clock, receiver) => self.ref_clocks[clock].config.receiver = receiver,
            Action::ClockError(clock, error) => self.ref_clocks[clock].config.error = error,
            Action::Nts(server, nts) => self.hosts[server].server.config.nts = nts,
            Action::Route(server, link) => {
                self.hosts[server].outbound.model = link.outbound;
                self.hosts[server].inbound.model = link.inbound;
            }
            Action::Name(name, result) => {
                self.names.insert(name, result);
            }
            Action::Network { v4, v6 } => self.nodes[0].routes = Routes { v4, v6 },
            Action::AddressesChanged => {
                self.nodes[0].checker.allow_fast_polls(self.now);
                self.nodes[0].handle(self.now, Input::LocalAddresses(&[OUR_ADDRESS]));
            }
            Action::ForeignStep(by) => {
                self.nodes[0].checker.clock_disturbed();
                self.nodes[0].clock.step(NtpDuration::from_seconds_f64(by));
                // The kernel wakes the daemon when the clock is set.
                self.nodes[0].handle(self.now, Input::Tick);
            }
            Action::FrequencyJump(by) => self.nodes[0].clock.jump_frequency(by),
            Action::Suspend { seconds, error } => {
                self.nodes[0].checker.clock_disturbed();
                let until = self.now + seconds;
                self.asleep = Some(until);
                self.schedule(
                    until,
                    0,
                    ScheduledEvent::WakeUp {
                        slept: seconds,
                        error,
                    },
                );
            }
            Action::Pause(seconds) => self.nodes[0].clock.pause(seconds),
            Action::Migration {
                pause,
                frequency,
                noticed_after,
            } => {
                self.nodes[0].checker.clock_disturbed();
                self.nodes[0].clock.pause(pause);
                self.nodes[0].clock.jump_frequency(frequency);
                self.migrations += 1;
                self.nodes[0].disrupted = Some(self.migrations);
                self.schedule(self.now + noticed_after, 0, ScheduledEvent::Disrupted);
            }
            Action::Command(command) => {
                let steps = matches!(command, Command::Step { .. } | Command::SetTime { .. });
                self.nodes[0].checker.operator_command(self.now, steps);
                self.nodes[0].handle(self.now, Input::Command(CommandId(0), &command));
            }
            Action::Reconfigure(config) => {
                self.nodes[0].checker.operator_command(self.now, false);
                self.nodes[0].handle(self.now, Input::Reconfigure(CommandId(0), &config));
            }
            Action::LeapList(table) => {
                self.nodes[0].handle(self.now, Input::LeapList(table.as_ref()));
            }
            Action::ShutDown => self.nodes[0].shut_down(self.now),
        }
    }
}
