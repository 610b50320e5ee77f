//! The runtime as the control socket and the signals see it: commands go to the engine in between two waits, and are
//! answered before the next one is given.

use std::net::SocketAddr;
use std::path::PathBuf;

use ntp_proto::engine::{Command, CommandId, Done, EngineConfig, Input, Kept, Refusal};
use ntp_time::Monotonic;

use super::reading::now;
use super::{Failure, Runtime};
use crate::serve::{Servers, Totals};

/// Commands are answered before the next one is given, so that one number does for all.
const COMMAND: CommandId = CommandId(0);

impl Runtime {
    /// Reads the certificates again with which keys are given out.
    pub fn reload_certificates(&mut self) {
        if let Some(giving) = &mut self.giving {
            giving.reload();
        }
    }

    /// Makes clients' cookies with a new key from now on. Returns whether it could: there may be no NTS, and a fleet's keys follow from its secret.
    pub fn rekey(&mut self) -> bool {
        let now = now(&self.clock);
        let done = (self.cookie_keys.as_mut()).is_some_and(|keys| keys.rekey(now));
        self.hand_out_cookie_keys();
        done
    }

    /// Gives the engine an operator's command, and says what became of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn command(&mut self, command: &Command) -> Result<Result<Done, Refusal>, Failure> {
        self.operate(&Input::Command(COMMAND, command))
    }

    /// Gives the engine a new configuration, and says what became of it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub(crate) fn reconfigure(
        &mut self,
        config: &EngineConfig,
    ) -> Result<Result<Done, Refusal>, Failure> {
        self.operate(&Input::Reconfigure(COMMAND, config))
    }

    /// Reads the configuration again, as if an operator had asked for it.
    ///
    /// # Errors
    /// If the clock can't be controlled any more.
    pub fn reload(&mut self) -> Result<(), Failure> {
        let Some((door, mut desk)) = self.control.take() else {
            return Ok(());
        };
        let result = desk.hang_up(self);
        self.control = Some((door, desk));
        result
    }

    fn operate(&mut self, input: &Input<'_>) -> Result<Result<Done, Refusal>, Failure> {
        self.completed = None;
        self.handle(*input)?;
        // A halted engine does nothing more; the loop ends the daemon.
        let nothing = Ok(Done::Sources(Vec::new()));
        Ok(self.completed.take().unwrap_or(nothing))
    }

    /// The configured name of the source that an operator calls `name`.
    pub(crate) fn source_called(&self, name: &str) -> Result<String, Refusal> {
        self.engine.source_called(name).map(ToOwned::to_owned)
    }

    /// Lets the engine notice that the clock was set since the last wake-up.
    pub(crate) fn look_at_clock(&mut self) -> Result<(), Failure> {
        self.handle(Input::Tick)
    }

    /// What became of the datagrams at each address.
    pub(crate) fn served(&self) -> Vec<(SocketAddr, Totals)> {
        self.servers
            .as_ref()
            .map(Servers::totals)
            .unwrap_or_default()
    }

    /// When the daemon began.
    pub(crate) fn started(&self) -> Monotonic {
        self.started
    }

    /// Saves what has been learnt, now. Returns where, or why not.
    pub(crate) fn dump(&mut self) -> Result<Result<PathBuf, String>, Failure> {
        let kept = self.engine.kept(self.now());
        Ok(match (kept, self.store.path()) {
            (_, None) => Err("nothing is kept over a restart ([state] enabled = false)".into()),
            (kept, _) if kept == Kept::default() => {
                Err("nothing has been learnt yet: the clock has no majority of sources".into())
            }
            (kept, Some(path)) => {
                self.store.save(kept);
                Ok(path)
            }
        })
    }
}
