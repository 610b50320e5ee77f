//! Commands that change the state of the daemon: each makes one call and reports its result.

use std::path::Path;

use ntp_control_api::control::client::{CallError, Client};
use ntp_control_api::control::methods::{
    AddInput, AddServer, AddSource, BurstSource, Dump, Error, LogLevelInput, Method, NameInput,
    NamesReply, NoInput, OfflineSource, OnlineSource, OptionalNameInput, Rekey, Reload,
    RemoveServer, RemoveSource, SetInput, SetLogLevel, SetServer, SetSource, Settings, Step,
    StepInput,
};
use ntp_time::SystemTime;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{ServerAction, SourceAction};
use crate::connect::{Socket, call, to_failure};
use crate::console::{Console, Failure};
use crate::format::{age, signed, timestamp};

/// A connection to the daemon and the output of the result.
pub(crate) struct Change<'c, 'o> {
    client: Client,
    /// Whether the result is printed as JSON.
    json: bool,
    console: &'c mut Console<'o>,
}

impl<'c, 'o> Change<'c, 'o> {
    pub(crate) fn connect(
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

    /// Prints the result: `text`, or the daemon's reply as JSON.
    fn finish(&mut self, reply: &impl Serialize, text: &str) -> Result<(), Failure> {
        if !self.json {
            return self.console.print(text);
        }
        let mut result = serde_json::to_value(reply).unwrap_or_default();
        if let Value::Object(members) = &mut result {
            members.insert("done".into(), true.into());
        }
        self.console.print_json(&result)
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
                parse_settings(&mut all, settings)?;
                self.named::<AddSource>(&AddInput { settings: all }, "added")
            }
            SourceAction::Remove { name } => {
                let input = NameInput { name: name.clone() };
                self.named::<RemoveSource>(&input, "removed")
            }
            SourceAction::Set { name, settings } => {
                self.named::<SetSource>(&set_input(name, settings)?, "changed")
            }
            SourceAction::Online { name } => {
                let input = OptionalNameInput { name: name.clone() };
                self.named::<OnlineSource>(&input, "online")
            }
            SourceAction::Offline { name } => {
                let input = OptionalNameInput { name: name.clone() };
                self.named::<OfflineSource>(&input, "offline")
            }
            SourceAction::Burst { name } => {
                let input = OptionalNameInput { name: name.clone() };
                let reply = call::<BurstSource>(&mut self.client, &input)?;
                let mut text = format!("Burst started: {}\n", addresses(reply.started));
                if reply.skipped > 0 {
                    text += &format!(
                        "Skipped: {} (offline, measured within the last minute, or rate limited)\n",
                        addresses(reply.skipped)
                    );
                }
                self.finish(&reply, &text)
            }
        }
    }

    pub(crate) fn server(&mut self, action: &ServerAction) -> Result<(), Failure> {
        match action {
            ServerAction::Add { listen, settings } => {
                let mut all = Settings::new();
                all.insert("listen".into(), listen.as_str().into());
                parse_settings(&mut all, settings)?;
                self.named::<AddServer>(&AddInput { settings: all }, "added")
            }
            ServerAction::Remove { listen } => {
                let input = NameInput {
                    name: listen.clone(),
                };
                self.named::<RemoveServer>(&input, "removed")
            }
            ServerAction::Set { listen, settings } => {
                self.named::<SetServer>(&set_input(listen, settings)?, "changed")
            }
        }
    }

    /// Steps the clock. A step over a threshold takes two calls, so that both times are printed
    /// even if the second fails.
    pub(crate) fn step(&mut self, forced: bool) -> Result<(), Failure> {
        let unforced = StepInput {
            forced: Some(false),
        };
        let mut outcome = self.client.call::<Step>(&unforced);
        let too_large = matches!(outcome, Err(CallError::Refused(Error::StepTooLarge { .. })));
        if forced && too_large {
            if let Err(error) = &outcome
                && !self.json
            {
                let times = both_times(error).unwrap_or_default();
                self.console.print(&times)?;
            }
            outcome = self.client.call::<Step>(&StepInput { forced: Some(true) });
        }
        match outcome {
            Ok(reply) => {
                let text = format!(
                    "Clock stepped by {}, from {}\n",
                    signed(reply.correction),
                    timestamp(from_unix(reply.clock))
                );
                self.finish(&reply, &text)
            }
            Err(error) => match both_times(&error) {
                Some(times) => {
                    let CallError::Refused(refusal) = &error else {
                        return Err(to_failure(&error));
                    };
                    Err(Failure::Refused(
                        format!(
                            "Clock not changed\n{times}If the sources are right, use `ntp-ctl step --force`"
                        ),
                        refusal.name(),
                        refusal.parameters(),
                    ))
                }
                None => Err(to_failure(&error)),
            },
        }
    }

    pub(crate) fn log_level(&mut self, level: &str) -> Result<(), Failure> {
        let input = LogLevelInput {
            level: level.to_owned(),
        };
        let reply = call::<SetLogLevel>(&mut self.client, &input)?;
        self.finish(
            &reply,
            &format!("Log level set to {level} until the next start or reload of another level\n"),
        )
    }

    pub(crate) fn reload(&mut self) -> Result<(), Failure> {
        let reply = call::<Reload>(&mut self.client, &NoInput {})?;
        for warning in &reply.warnings {
            self.console.message(format_args!("{warning}\n"));
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
            text += "No changes in the configuration\n";
        }
        self.finish(&reply, &text)
    }

    pub(crate) fn rekey(&mut self) -> Result<(), Failure> {
        let reply = call::<Rekey>(&mut self.client, &NoInput {})?;
        let key = reply.key;
        let old_cookies = if reply.old_cookies_valid_for > 0.0 {
            let time = age(reply.old_cookies_valid_for);
            format!("Existing cookies remain valid for {time}; each reply brings clients a new one")
        } else {
            "Existing cookies are invalid (stale-key-count = 0); clients repeat the key exchange"
                .into()
        };
        let key_file = match &reply.key_file {
            Some(path) => format!("Written: {path}"),
            None => "Not written: after a restart, clients repeat the key exchange\n\
                     (`key-storage-path` in [keyset])"
                .into(),
        };
        let text = format!(
            "NTS cookie key replaced: new cookies use key number {key}\n{old_cookies}\n{key_file}\n"
        );
        self.finish(&reply, &text)
    }

    pub(crate) fn dump(&mut self) -> Result<(), Failure> {
        let reply = call::<Dump>(&mut self.client, &NoInput {})?;
        let written = reply.paths.iter().map(|path| format!("Written: {path}\n"));
        let text: String = written.collect();
        self.finish(&reply, &text)
    }

    /// Calls a method that replies with names, and prints each with `result`.
    fn named<M: Method<Output = NamesReply>>(
        &mut self,
        input: &M::Input,
        result: &str,
    ) -> Result<(), Failure> {
        let reply = call::<M>(&mut self.client, input)?;
        let lines = reply.names.iter().map(|name| format!("{name}: {result}\n"));
        let mut text: String = lines.collect();
        if text.is_empty() {
            text += "Nothing to change\n";
        }
        self.finish(&reply, &text)
    }
}

fn from_unix(seconds: f64) -> SystemTime {
    SystemTime::from_nanos((seconds * 1e9) as i64)
}

/// Formats system time, time of the sources and threshold of a step that is too large.
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
        "System time      : {}\nTime of sources  : {}\nCorrection       : {}\n\
         Limit            : {limit} s (`{threshold}` in [synchronization])\n",
        timestamp(from_unix(*clock)),
        timestamp(from_unix(clock + correction)),
        signed(*correction)
    ))
}

fn set_input(name: &str, settings: &[String]) -> Result<SetInput, Failure> {
    let mut changes = Settings::new();
    parse_settings(&mut changes, settings)?;
    Ok(SetInput {
        name: name.to_owned(),
        settings: changes,
    })
}

/// Parses `key=value` words. A dotted key is a key of a table; a value that is not JSON is a
/// string.
fn parse_settings(settings: &mut Settings, words: &[String]) -> Result<(), Failure> {
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err(Failure::Error(format!(
                "Invalid setting {word:?}: expected KEY=VALUE, for example `prefer=true`\n\
                 or `poll-interval-limits.max=6`"
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
                return Err(Failure::Error(format!(
                    "Invalid setting {word:?}: {part:?} is not a table"
                )));
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
    fn key_value_words_are_parsed_as_settings() {
        let words = [
            "prefer=true",
            "poll-interval-limits.min=4",
            "poll-interval-limits.max=6",
            "address=a=b",
            "ignore=[\"192.0.2.1\"]",
            "count=null",
        ];
        let mut settings = Settings::new();
        parse_settings(&mut settings, &words.map(ToOwned::to_owned)).unwrap();
        let expected = json!({
            "prefer": true, "poll-interval-limits": { "min": 4, "max": 6 }, "address": "a=b",
            "ignore": ["192.0.2.1"], "count": null,
        });
        assert_eq!(Value::Object(settings), expected);
        for wrong in ["prefer", "prefer=1 prefer.x=2"] {
            let words: Vec<_> = wrong.split(' ').map(ToOwned::to_owned).collect();
            assert!(
                parse_settings(&mut Settings::new(), &words).is_err(),
                "{wrong}"
            );
        }
    }
}
