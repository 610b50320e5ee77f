//! The commands that change something: each is one call, and one sentence about what it did.

use std::path::Path;

use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{
    AddServer, AddSource, BurstSource, Dump, Error, LevelInput, MaybeNamed, Method, Named, Names,
    New, Nothing, OfflineSource, OnlineSource, Other, Rekey, Reload, RemoveServer, RemoveSource,
    SetLogLevel, SetServer, SetSource, Settings, Step, StepInput,
};
use serde_json::Value;

use crate::cli::{ServerAction, SourceAction};
use crate::connect::{Socket, call, told};
use crate::console::{Console, Failure};
use crate::figures::{age, moment, signed};

/// A connection, and where to say what was done.
pub(crate) struct Change<'c, 'o> {
    client: Client,
    console: &'c mut Console<'o>,
}

impl<'c, 'o> Change<'c, 'o> {
    pub(crate) fn begin(
        config: Option<&Path>,
        console: &'c mut Console<'o>,
    ) -> Result<Self, Failure> {
        let client = Socket::find(config)?.connect()?;
        Ok(Self { client, console })
    }

    pub(crate) fn source(&mut self, action: &SourceAction) -> Result<(), Failure> {
        match action {
            SourceAction::Add {
                address,
                pool,
                settings,
            } => {
                let mode = if *pool { "pool" } else { "server" };
                let mut all = Settings::new();
                all.insert("mode".into(), mode.into());
                all.insert("address".into(), address.as_str().into());
                lay(&mut all, settings)?;
                self.named::<AddSource>(&New { settings: all }, "asked from now on")
            }
            SourceAction::Remove { name } => {
                self.named::<RemoveSource>(&Named { name: name.clone() }, "asked no more")
            }
            SourceAction::Set { name, settings } => {
                let other = other(name, settings)?;
                self.named::<SetSource>(&other, "changed")
            }
            SourceAction::Online { name } => {
                let whom = MaybeNamed { name: name.clone() };
                self.named::<OnlineSource>(&whom, "asked again")
            }
            SourceAction::Offline { name } => {
                let whom = MaybeNamed { name: name.clone() };
                self.named::<OfflineSource>(&whom, "offline")
            }
            SourceAction::Burst { name } => {
                let whom = MaybeNamed { name: name.clone() };
                let reply = call::<BurstSource>(&mut self.client, &whom)?;
                writeln!(
                    self.console.out,
                    "{} addresses are being measured, {} are spared (offline, measured within the last minute, or asked for fewer requests)",
                    reply.started, reply.spared
                )?;
                Ok(())
            }
        }
    }

    pub(crate) fn server(&mut self, action: &ServerAction) -> Result<(), Failure> {
        match action {
            ServerAction::Add { listen, settings } => {
                let mut all = Settings::new();
                all.insert("listen".into(), listen.as_str().into());
                lay(&mut all, settings)?;
                self.named::<AddServer>(&New { settings: all }, "served from now on")
            }
            ServerAction::Remove { listen } => {
                let which = Named {
                    name: listen.clone(),
                };
                self.named::<RemoveServer>(&which, "served no more")
            }
            ServerAction::Set { listen, settings } => {
                self.named::<SetServer>(&other(listen, settings)?, "changed")
            }
        }
    }

    pub(crate) fn step(&mut self, forced: bool) -> Result<(), Failure> {
        let input = StepInput {
            forced: Some(forced),
        };
        match self.client.call::<Step>(&input) {
            Ok(reply) => {
                writeln!(
                    self.console.out,
                    "The clock was stepped by {}, from {}",
                    signed(reply.correction),
                    moment(reply.clock)
                )?;
                Ok(())
            }
            Err(CallError::Refused(Error::StepTooLarge {
                clock,
                correction,
                threshold,
                limit,
            })) => Err(Failure::Told(format!(
                "The clock was not touched. It says   {}\nThe sources say                      {}\n\
                 That is a correction of {}, and `{threshold}` in [synchronization] allows {limit} s. \
                 If the sources are right, use `ntp-ctl step --force`",
                moment(clock),
                moment(clock + correction),
                signed(correction)
            ))),
            Err(error) => Err(told(&error)),
        }
    }

    pub(crate) fn log_level(&mut self, level: &str) -> Result<(), Failure> {
        let input = LevelInput {
            level: level.to_owned(),
        };
        call::<SetLogLevel>(&mut self.client, &input)?;
        writeln!(
            self.console.out,
            "Logging at level {level} until the daemon ends or reloads another"
        )?;
        Ok(())
    }

    pub(crate) fn reload(&mut self) -> Result<(), Failure> {
        let reply = call::<Reload>(&mut self.client, &Nothing {})?;
        for warning in &reply.warnings {
            self.console.complain(format_args!("{warning}\n"));
        }
        let out = &mut self.console.out;
        let mut changes = false;
        for (what, names) in [
            ("Source added", &reply.added),
            ("Source removed", &reply.removed),
            ("Source changed", &reply.changed),
            ("Applied", &reply.applied),
            ("NOT applied", &reply.not_applied),
        ] {
            for name in names {
                changes = true;
                writeln!(out, "{what:<15}: {name}")?;
            }
        }
        if !changes {
            writeln!(out, "The configuration says nothing new")?;
        }
        Ok(())
    }

    pub(crate) fn rekey(&mut self) -> Result<(), Failure> {
        let reply = call::<Rekey>(&mut self.client, &Nothing {})?;
        let out = &mut self.console.out;
        let key = reply.key;
        writeln!(
            out,
            "NTS cookies are made with a new key from now on (number {key})"
        )?;
        if reply.good_for > 0.0 {
            let time = age(reply.good_for);
            writeln!(
                out,
                "Those that clients have stay good for {time}; each answer brings a new one, so nobody notices"
            )?;
        } else {
            writeln!(
                out,
                "Those that clients have are worthless (stale-key-count = 0); they exchange keys again by themselves"
            )?;
        }
        match reply.stored {
            Some(path) => writeln!(out, "Written: {path}")?,
            None => writeln!(
                out,
                "Not written: after a restart clients exchange keys again (key-storage-path in [keyset])"
            )?,
        }
        Ok(())
    }

    pub(crate) fn dump(&mut self) -> Result<(), Failure> {
        let reply = call::<Dump>(&mut self.client, &Nothing {})?;
        for path in reply.paths {
            writeln!(self.console.out, "Written: {path}")?;
        }
        Ok(())
    }

    /// Calls a method that answers with names, and says what became of them.
    fn named<M: Method<Output = Names>>(
        &mut self,
        input: &M::Input,
        what: &str,
    ) -> Result<(), Failure> {
        let reply = call::<M>(&mut self.client, input)?;
        for name in &reply.names {
            writeln!(self.console.out, "{name}: {what}")?;
        }
        if reply.names.is_empty() {
            writeln!(self.console.out, "there is nothing that this is about")?;
        }
        Ok(())
    }
}

fn other(name: &str, settings: &[String]) -> Result<Other, Failure> {
    let mut changes = Settings::new();
    lay(&mut changes, settings)?;
    Ok(Other {
        name: name.to_owned(),
        settings: changes,
    })
}

/// `key=value` words become settings. A key may name a table's key with dots; a value that is no number, boolean or list is a text.
fn lay(settings: &mut Settings, words: &[String]) -> Result<(), Failure> {
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err(Failure::Told(format!(
                "{word:?} is no setting: write KEY=VALUE, for example `prefer=true` or `poll-interval-limits.max=6`"
            )));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let mut table = &mut *settings;
        let mut path: Vec<_> = key.split('.').collect();
        let last = path.pop().unwrap_or(key);
        for part in path {
            let inner = table
                .entry(part)
                .or_insert_with(|| Value::Object(Settings::new()));
            let Value::Object(inner) = inner else {
                return Err(Failure::Told(format!("{part:?} in {word:?} is no table")));
            };
            table = inner;
        }
        table.insert(last.to_owned(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_become_settings() {
        let words = [
            "prefer=true",
            "poll-interval-limits.min=4",
            "poll-interval-limits.max=6",
            "address=a=b",
            "ignore=[\"192.0.2.1\"]",
            "count=null",
        ];
        let mut settings = Settings::new();
        lay(&mut settings, &words.map(ToOwned::to_owned)).unwrap();
        let expected = json!({
            "prefer": true, "poll-interval-limits": { "min": 4, "max": 6 }, "address": "a=b",
            "ignore": ["192.0.2.1"], "count": null,
        });
        assert_eq!(Value::Object(settings), expected);
        for wrong in ["prefer", "prefer=1 prefer.x=2"] {
            let words: Vec<_> = wrong.split(' ').map(ToOwned::to_owned).collect();
            assert!(lay(&mut Settings::new(), &words).is_err(), "{wrong}");
        }
    }
}
