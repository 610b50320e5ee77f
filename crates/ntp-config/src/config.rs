//! The whole configuration: its sections, and the way from text to [`Config`].

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::clock::{self, ClockConfig};
use crate::control::{self, ControlConfig};
use crate::diagnostic::Diagnostic;
use crate::disabled::{self, Disabled};
use crate::document::Document;
use crate::keys::SECTIONS;
use crate::keyset::{self, KeysetConfig};
use crate::layers::{self, Files, Layer};
use crate::leap::{self, LeapConfig};
use crate::nts_ke::{self, NtsKeConfig};
use crate::observability::{self, ObservabilityConfig};
use crate::outline::{self, Said};
use crate::poll::{self, SourceDefaults};
use crate::reader::{Context, Section, Value};
use crate::report::LoadError;
use crate::sandbox::{self, SandboxConfig};
use crate::server::{self, ServerConfig};
use crate::service::{self, ServiceConfig};
use crate::source::{self, SourceConfig};
use crate::state::{self, StateConfig};
use crate::symmetric::{self, KeysConfig};
use crate::synchronization::{self, SynchronizationConfig};
use crate::syntax::Explained;

/// A configuration. The default is what holds without a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[[source]]`, in the order of the file.
    pub sources: Vec<SourceConfig>,
    /// `[source-defaults]`.
    pub source_defaults: SourceDefaults,
    /// `[[server]]`, in the order of the file.
    pub servers: Vec<ServerConfig>,
    /// `[[nts-ke-server]]`, in the order of the file.
    pub nts_ke_servers: Vec<NtsKeConfig>,
    /// `[keys]`.
    pub keys: KeysConfig,
    /// `[keyset]`.
    pub keyset: KeysetConfig,
    /// `[synchronization]`.
    pub synchronization: SynchronizationConfig,
    /// `[observability]`.
    pub observability: ObservabilityConfig,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[clock]`.
    pub clock: ClockConfig,
    /// `[leap]`.
    pub leap: LeapConfig,
    /// `[state]`.
    pub state: StateConfig,
    /// `[sandbox]`.
    pub sandbox: SandboxConfig,
    /// `[service]`.
    pub service: ServiceConfig,
    /// What the files say in sections that stand once, by the section's name.
    pub said: BTreeMap<&'static str, Vec<Said>>,
    /// `[disabled]` of all files; what it names is not among the sources and servers any more.
    pub disabled: Disabled,
}

/// Parses the text of a configuration; `name` is what reports call it. The second value are
/// warnings about what is accepted but probably not meant.
///
/// Nothing but the text is looked at: files that it names may or may not exist.
pub fn parse(text: &str, name: &str) -> Result<(Config, Vec<Diagnostic>), LoadError> {
    let (config, cx) = read(&[Layer::whole(&Document::new(name, text))]);
    let warnings = cx.report.conclude(name)?;
    Ok((config, warnings))
}

/// Reads as much of the files as can be read; the context holds all problems.
pub(crate) fn read(layers: &[Layer]) -> (Config, Context) {
    let files = Files::new(layers);
    let mut texts = layers::repair(layers);
    let (trees, explained) = layers::parse(layers, &files, &mut texts);
    let mut cx = Context::new(files.clone(), explained);
    let Some(merged) = layers::merge(&trees) else {
        return (Config::default(), cx);
    };
    let mut disabled = Disabled::default();
    for tree in &trees {
        if let Some(node) = tree.get_ref().get("disabled")
            && let Some(more) = disabled::read(&mut cx, &Value::new(node, "disabled"))
        {
            disabled.sources.extend(more.sources);
            disabled.servers.extend(more.servers);
        }
    }
    let mut config = top_level(&mut cx, &merged);
    config.disabled = disabled;
    disabled::apply(&mut cx, &mut config);
    symmetric::check(&mut cx, &config);
    if trees.len() > 1 {
        for tree in &trees {
            let mut part = Context::new(files.clone(), Explained::default());
            part.expect_part();
            top_level(&mut part, tree);
            cx.complete(part);
        }
    }
    (config, cx)
}

fn top_level<'t>(cx: &mut Context, tree: &'t Spanned<DeTable<'t>>) -> Config {
    let mut top = Section::of_table("", tree.get_ref(), tree.span());
    let mut config = Config {
        sources: top.or(cx, "source", source::read_all, Vec::new()),
        source_defaults: top.or(
            cx,
            "source-defaults",
            poll::read_defaults,
            SourceDefaults::default(),
        ),
        servers: top.or(cx, "server", server::read_all, Vec::new()),
        nts_ke_servers: top.or(cx, "nts-ke-server", nts_ke::read_all, Vec::new()),
        keys: top.or(cx, "keys", symmetric::read, KeysConfig::default()),
        keyset: top.or(cx, "keyset", keyset::read, KeysetConfig::default()),
        synchronization: top.or(
            cx,
            "synchronization",
            synchronization::read,
            SynchronizationConfig::default(),
        ),
        observability: top.or(
            cx,
            "observability",
            observability::read,
            ObservabilityConfig::default(),
        ),
        control: top.or(cx, "control", control::read, ControlConfig::default()),
        clock: top.or(cx, "clock", clock::read, ClockConfig::default()),
        leap: top.or(cx, "leap", leap::read, LeapConfig::default()),
        state: top.or(cx, "state", state::read, StateConfig::default()),
        sandbox: top.or(cx, "sandbox", sandbox::read, SandboxConfig::default()),
        service: top.or(cx, "service", service::read, ServiceConfig::default()),
        said: BTreeMap::new(),
        disabled: Disabled::default(),
    };
    let once = SECTIONS.iter().filter(|doc| !doc.heading.starts_with("[["));
    for doc in once {
        if let Some(DeValue::Table(table)) = tree.get_ref().get(doc.name).map(Spanned::get_ref) {
            let said = outline::of_table(cx, table);
            config.said.insert(doc.name, said);
        }
    }
    // Each file's is read for itself.
    top.value(cx, "disabled");
    top.finish(cx);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default_configuration() {
        for text in ["", "\u{feff}", "\r\n\t\n", "# nothing\n"] {
            let (config, warnings) = parse(text, "empty").unwrap();
            assert_eq!(config, Config::default());
            assert!(warnings.is_empty());
        }
    }

    /// A huge or hostile file is refused in bounded space: the report stays short, and depth
    /// does not exhaust the stack.
    #[test]
    fn a_megabyte_of_nonsense_is_refused_with_a_short_report() {
        let megabyte = 1 << 20;
        let repeated = |unit: &str| unit.repeat(megabyte / unit.len());
        for text in [
            repeated("x = 1\n"),
            repeated("[[source]]\n"),
            repeated("nonsense\n"),
            repeated("[a."),
            repeated("a."),
            format!("a = {}", repeated("[")),
            format!("a = {}", repeated("{a=")),
            format!("[[source]]\nmode = \"{}\"\n", repeated("x")),
            format!("{} = 1\n", repeated("x")),
            format!(
                "[[server]]\nlisten = \"x\"\naccept-ntp-versions = [{}]\n",
                repeated("9,")
            ),
            repeated("\u{0}"),
            repeated("ü"),
            format!("x = {}", repeated("9")),
        ] {
            let report = parse(&text, "huge").unwrap_err().to_string();
            assert!(
                report.len() < 100_000,
                "{} bytes: {:.300}",
                report.len(),
                report
            );
        }
    }
}
