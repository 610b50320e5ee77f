//! The commands that change something: each is one call, and one sentence about what it did.

use std::path::Path;

use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{
    AddServer, AddSource, BurstSource, Dump, Error, LevelInput, MaybeNamed, Method, Named, Names,
    New, Nothing, OfflineSource, OnlineSource, Other, Rekey, Reload, RemoveServer, RemoveSource,
    SetLogLevel, SetServer, SetSource, Settings, Step, StepInput,
};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{ServerAction, SourceAction};
use crate::connect::{Socket, call, told};
use crate::console::{Console, Failure};
use crate::figures::{age, moment, signed};

/// A connection, and where to say what was done.
pub(crate) struct Change<'c, 'o> {
    client: Client,
    /// Whether what was done is told to programs.
    json: bool,
    console: &'c mut Console<'o>,
}

impl<'c, 'o> Change<'c, 'o> {
    pub(crate) fn begin(
        config: Option<&Path>,
        json: bool,
        console: &'c mut Console<'o>,
    ) -> Result<Self, Failure> {
        let client = Socket::find(config)?.connect()?;
        Ok(Self {
            client,
            json,
            console,
        })
    }

    /// Says what was done: `text`, or for programs the daemon's reply.
    fn done(&mut self, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
        if !self.json {
            return self.console.text(text);
        }
        let mut told = serde_json::to_value(reply).unwrap_or_default();
        if let Value::Object(members) = &mut told {
            members.insert("done".into(), true.into());
        }
        self.console.json(&told)
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
                let text = match (reply.started, reply.spared) {
                    (started, 0) => format!("Being measured: {}\n", addresses(started)),
                    (started, spared) => format!(
                        "Being measured: {}; spared: {} (offline, measured within the last minute, or asked for fewer requests)\n",
                        addresses(started),
                        addresses(spared)
                    ),
                };
                self.done(&reply, &text)
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

    /// A step past the thresholds is made in two calls, so that both times are seen whatever becomes of it.
    pub(crate) fn step(&mut self, forced: bool) -> Result<(), Failure> {
        let once = StepInput {
            forced: Some(false),
        };
        let mut outcome = self.client.call::<Step>(&once);
        let too_large = matches!(outcome, Err(CallError::Refused(Error::StepTooLarge { .. })));
        if forced && too_large {
            if let Err(error) = &outcome
                && !self.json
            {
                let seen = both_times(error).unwrap_or_default();
                self.console.text(&seen)?;
            }
            outcome = self.client.call::<Step>(&StepInput { forced: Some(true) });
        }
        match outcome {
            Ok(reply) => {
                let text = format!(
                    "The clock was stepped by {}, from {}\n",
                    signed(reply.correction),
                    moment(reply.clock)
                );
                self.done(&reply, &text)
            }
            Err(error) => match both_times(&error) {
                Some(times) => {
                    let CallError::Refused(refusal) = &error else {
                        return Err(told(&error));
                    };
                    Err(Failure::Refused(
                        format!(
                            "The clock was not touched.\n{times}If the sources are right, use `ntp-ctl step --force`"
                        ),
                        refusal.name(),
                        refusal.parameters(),
                    ))
                }
                None => Err(told(&error)),
            },
        }
    }

    pub(crate) fn log_level(&mut self, level: &str) -> Result<(), Failure> {
        let input = LevelInput {
            level: level.to_owned(),
        };
        let reply = call::<SetLogLevel>(&mut self.client, &input)?;
        self.done(
            &reply,
            &format!("Logging at level {level} until the daemon ends or reloads another\n"),
        )
    }

    pub(crate) fn reload(&mut self) -> Result<(), Failure> {
        let reply = call::<Reload>(&mut self.client, &Nothing {})?;
        for warning in &reply.warnings {
            self.console.complain(format_args!("{warning}\n"));
        }
        let mut text = String::new();
        for (what, names) in [
            ("Source added", &reply.added),
            ("Source removed", &reply.removed),
            ("Source changed", &reply.changed),
            ("Applied", &reply.applied),
            ("NOT applied", &reply.not_applied),
        ] {
            for name in names {
                text += &format!("{what:<15}: {name}\n");
            }
        }
        if text.is_empty() {
            text += "The configuration says nothing new\n";
        }
        self.done(&reply, &text)
    }

    pub(crate) fn rekey(&mut self) -> Result<(), Failure> {
        let reply = call::<Rekey>(&mut self.client, &Nothing {})?;
        let key = reply.key;
        let good = if reply.good_for > 0.0 {
            let time = age(reply.good_for);
            format!(
                "Those that clients have stay good for {time}; each answer brings a new one, so nobody notices"
            )
        } else {
            "Those that clients have are worthless (stale-key-count = 0); they exchange keys again by themselves"
                .into()
        };
        let stored = match &reply.stored {
            Some(path) => format!("Written: {path}"),
            None => "Not written: after a restart clients exchange keys again (key-storage-path in [keyset])"
                .into(),
        };
        let text = format!(
            "NTS cookies are made with a new key from now on (number {key})\n{good}\n{stored}\n"
        );
        self.done(&reply, &text)
    }

    pub(crate) fn dump(&mut self) -> Result<(), Failure> {
        let reply = call::<Dump>(&mut self.client, &Nothing {})?;
        let written = reply.paths.iter().map(|path| format!("Written: {path}\n"));
        let text: String = written.collect();
        self.done(&reply, &text)
    }

    /// Calls a method that answers with names, and says what became of them.
    fn named<M: Method<Output = Names>>(
        &mut self,
        input: &M::Input,
        what: &str,
    ) -> Result<(), Failure> {
        let reply = call::<M>(&mut self.client, input)?;
        let lines = reply.names.iter().map(|name| format!("{name}: {what}\n"));
        let mut text: String = lines.collect();
        if text.is_empty() {
            text += "there is nothing that this is about\n";
        }
        self.done(&reply, &text)
    }
}

/// What the clock says and what the sources say, of a step that is too large.
fn both_times(error: &CallError) -> Option<String> {
    let CallError::Refused(Error::StepTooLarge {
        clock,
        correction,
        threshold,
        limit,
    }) = error
    else {
        return None;
    };
    Some(format!(
        "The clock says   {}\nThe sources say  {}\nThat is a correction of {}, and `{threshold}` in [synchronization] allows {limit} s\n",
        moment(*clock),
        moment(clock + correction),
        signed(*correction)
    ))
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

fn addresses(count: u64) -> String {
    format!("{count} address{}", if count == 1 { "" } else { "es" })
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
