//! `ntp-ctl nts check --pool`: tests as many members of an NTS pool as a client would use.
//!
//! Each member needs a key exchange of its own, in which the members so far are denied. The pool has
//! no further members once it names one again.

use std::fmt::Write as _;

use ntp_config::Address;
use serde::Serialize;

use super::report::CheckReport;
use super::{Check, perform};
use crate::console::{Console, Failure};
use crate::format::{duration, signed};

/// The check of a pool.
#[derive(Debug, Serialize)]
struct PoolReport {
    /// Number of members requested.
    wanted: usize,
    /// The check of each member, and of the exchange that named none.
    members: Vec<CheckReport>,
    /// The member that the pool named twice.
    repeated: Option<String>,
}

/// Checks `wanted` members of a pool.
pub(super) fn run(
    address: &Address,
    check: &Check<'_>,
    wanted: usize,
    json: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut report = PoolReport {
        wanted,
        members: Vec::new(),
        repeated: None,
    };
    let mut denied = Vec::new();
    while report.members.len() < wanted {
        let member = perform(address, check, Some(&denied))?;
        let name = member.name();
        let Some(name) = name else {
            report.members.push(member);
            break;
        };
        if denied.contains(&name) {
            report.repeated = Some(name);
            break;
        }
        denied.push(name);
        report.members.push(member);
    }
    if json {
        console.print_json(&report)?;
    } else {
        console.print(&report.text(address))?;
    }
    report.result(address)
}

impl PoolReport {
    fn text(&self, address: &Address) -> String {
        let mut text = format!(
            "NTS pool {address}: {} of {} members\n\n",
            self.named(),
            self.wanted
        );
        let names = self
            .members
            .iter()
            .map(|member| member.shown().chars().count());
        let width = names.max().unwrap_or(0).max(6);
        let _ = writeln!(
            text,
            "{:<width$}  {:>12}  {:>10}  {:>2}  Result",
            "Member", "Offset", "Round trip", "St"
        );
        for member in &self.members {
            let time = member.time.as_ref();
            let offset = time.map_or_else(|| "-".into(), |it| signed(it.offset));
            let delay = time.map_or_else(|| "-".into(), |it| duration(it.delay));
            let stratum = time.map_or_else(|| "-".into(), |it| it.stratum.to_string());
            let result = member.problem.as_ref().map_or("NTS works", |it| it.class);
            let _ = writeln!(
                text,
                "{:<width$}  {offset:>12}  {delay:>10}  {stratum:>2}  {result}",
                member.shown()
            );
        }
        if let Some(name) = &self.repeated {
            let _ = writeln!(
                text,
                "\nThe pool names {name} again: it has no further members."
            );
        }
        text
    }

    /// Number of servers that the pool named.
    fn named(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.name().is_some())
            .count()
    }

    /// The first problem, if there is one.
    fn result(&self, address: &Address) -> Result<(), Failure> {
        let mut failed = self.members.iter();
        let failed = failed.find_map(|member| Some((member, member.problem.as_ref()?)));
        let Some((member, problem)) = failed else {
            return Ok(());
        };
        Err(Failure::Reported {
            exit_code: problem.exit_code,
            text: format!(
                "{address}, {}: {}\n\n{}",
                member.shown(),
                problem.text,
                problem.advice
            ),
        })
    }
}
