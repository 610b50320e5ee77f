//! The whole configuration: its sections, and its construction from text.

use std::collections::BTreeMap;

use ntp_time::Stratum;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::build;
use crate::clock::{self, ClockConfig};
use crate::clockbound::ClockBoundConfig;
use crate::compat::CompatConfig;
use crate::control::ControlConfig;
use crate::diagnostic::Diagnostic;
use crate::disabled::{self, Disabled};
use crate::document::{Document, Files};
use crate::documentation::{SECTIONS, heading};
use crate::entry::Entry;
use crate::key_list::DOCUMENTED;
use crate::keyset::KeysetConfig;
use crate::layers::{self, Layer};
use crate::leap::LeapConfig;
use crate::local::LocalConfig;
use crate::nts::NtsConfig;
use crate::nts_ke::NtsKeConfig;
use crate::observability::ObservabilityConfig;
use crate::platform::Choice;
use crate::poll::SourceDefaults;
use crate::reader::{Context, Section, Value};
use crate::report::LoadError;
use crate::sandbox::SandboxConfig;
use crate::schema::{self, Table};
use crate::server::ServerConfig;
use crate::service::ServiceConfig;
use crate::source::{self, SourceConfig};
use crate::state::StateConfig;
use crate::symmetric::{self, KeysConfig};
use crate::synchronization::SynchronizationConfig;
use crate::syntax::SyntaxProblems;

/// A configuration. The default is the configuration without a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[[source]]`, in the order of the file.
    pub sources: Vec<SourceConfig>,
    /// What `mode = "platform"` found, if a source has it.
    pub platform: Option<Choice>,
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
    /// `[nts]`.
    pub nts: NtsConfig,
    /// `[synchronization]`.
    pub synchronization: SynchronizationConfig,
    /// `[observability]`.
    pub observability: ObservabilityConfig,
    /// `[control]`.
    pub control: ControlConfig,
    /// `[compat]`.
    pub compat: CompatConfig,
    /// `[clock]`.
    pub clock: ClockConfig,
    /// `[local]`, if there is such a section.
    pub local: Option<LocalConfig>,
    /// `[clockbound]`.
    pub clockbound: ClockBoundConfig,
    /// `[leap]`.
    pub leap: LeapConfig,
    /// `[state]`.
    pub state: StateConfig,
    /// `[sandbox]`.
    pub sandbox: SandboxConfig,
    /// `[service]`.
    pub service: ServiceConfig,
    /// Values in the files of sections that are not repeatable, by name of the section.
    pub entries: BTreeMap<&'static str, Vec<Entry>>,
    /// `[disabled]` of all files; the sources and servers that it names are already removed.
    pub disabled: Disabled,
}

impl Config {
    /// Whether the clock is served without a source, so that it is ours even then.
    pub fn serves_local_time(&self) -> bool {
        self.local.is_some()
            || self.clock.manual
            || self.synchronization.local_stratum < Stratum::UNSYNCHRONIZED
    }

    /// Completes a configuration that was read with the sources of the platform, which are the last
    /// ones.
    pub(crate) fn complete_with(&mut self, mut choice: Choice) {
        let own = self.sources.len().saturating_sub(choice.sources.len());
        if choice.is_smeared {
            let mut index = 0;
            self.sources.retain(|source| {
                index += 1;
                let stays = index > own || matches!(source.kind, source::SourceKind::Platform);
                if !stays {
                    choice.left_out.extend(source.name());
                }
                stays
            });
        }
        let set = self.entries.get("synchronization").into_iter().flatten();
        if !set
            .into_iter()
            .any(|entry| entry.key == "minimum-agreeing-sources")
        {
            let voters = self
                .regular_sources()
                .map(|it| it.kind.maximum_voters())
                .sum();
            // The addresses of one platform's servers lead to one clock.
            let voters = if choice.is_smeared { 1_usize } else { voters };
            let needed = &mut self.synchronization.minimum_agreeing_sources;
            *needed = voters.clamp(1, (*needed).max(1));
        }
        self.platform = Some(choice);
    }
}

/// Parses the text of a configuration; `name` is its name in reports. The second value are
/// warnings about settings that are accepted but probably not intended.
///
/// Files that the configuration names are not read and need not exist.
pub fn parse(text: &str, name: &str) -> Result<(Config, Vec<Diagnostic>), LoadError> {
    let (config, cx) = read(&[Layer::whole(&Document::new(name, text))]);
    let warnings = cx.report.finish(name)?;
    Ok((config, warnings))
}

/// Reads the files as far as possible; the context holds all problems.
pub(crate) fn read(layers: &[Layer]) -> (Config, Context) {
    let files = Files::new(layers.iter().map(|layer| &layer.document));
    let mut texts = layers::repair(layers);
    let (trees, problems) = layers::parse(layers, &files, &mut texts);
    let mut cx = Context::new(files.clone(), problems, DOCUMENTED);
    let Some(merged) = layers::merge(&trees) else {
        return (Config::default(), cx);
    };
    let mut disabled = Disabled::default();
    for tree in &trees {
        if let Some(node) = tree.get_ref().get("disabled")
            && let Some(more) = schema::table::<Disabled>(&mut cx, &Value::new(node, "disabled"))
        {
            disabled.sources.extend(more.sources);
            disabled.servers.extend(more.servers);
        }
    }
    let mut config = top_level(&mut cx, &merged);
    disabled::apply(&mut cx, &disabled, &mut config.sources, &mut config.servers);
    config.disabled = disabled;
    for source in &mut config.sources {
        source.kind.apply_policy(config.nts);
    }
    symmetric::check(&mut cx, &config.keys, &config.sources, &config.servers);
    if trees.len() > 1 {
        for tree in &trees {
            let mut part = Context::new(files.clone(), SyntaxProblems::default(), DOCUMENTED);
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
        platform: None,
        source_defaults: section(cx, &mut top),
        servers: repeated::<_, { build::SERVER }>(cx, &mut top),
        nts_ke_servers: repeated::<_, { build::SERVER && build::NTS }>(cx, &mut top),
        keys: section(cx, &mut top),
        keyset: part::<_, { build::SERVER }>(cx, &mut top),
        nts: section(cx, &mut top),
        synchronization: section(cx, &mut top),
        observability: section(cx, &mut top),
        control: section(cx, &mut top),
        compat: part::<_, { build::INTERFACES }>(cx, &mut top),
        clock: top.or(cx, "clock", clock::read, ClockConfig::default()),
        local: top.optional(cx, LocalConfig::NAME, schema::table),
        clockbound: part::<_, { build::INTERFACES }>(cx, &mut top),
        leap: section(cx, &mut top),
        state: section(cx, &mut top),
        sandbox: section(cx, &mut top),
        service: section(cx, &mut top),
        entries: BTreeMap::new(),
        disabled: Disabled::default(),
    };
    for doc in SECTIONS.iter().filter(|doc| !doc.is_repeatable()) {
        if let Some(DeValue::Table(table)) = tree.get_ref().get(doc.name).map(Spanned::get_ref) {
            config.entries.insert(doc.name, cx.entries(table));
        }
    }
    // Already read, for each file separately.
    top.value(cx, "disabled");
    top.finish(cx);
    config
}

/// Reads the section of type `T`, which is not repeatable.
fn section<T: Table + Default>(cx: &mut Context, top: &mut Section<'_>) -> T {
    part::<T, true>(cx, top)
}

/// Reads the section of type `T`, which is not repeatable, or refuses it in a build without the
/// part that it configures.
fn part<T: Table + Default, const BUILT: bool>(cx: &mut Context, top: &mut Section<'_>) -> T {
    if BUILT {
        top.or(cx, T::NAME, schema::table, T::default())
    } else {
        top.or(cx, T::NAME, refuse::<T>, T::default())
    }
}

/// Reads all sections of type `T`, or refuses them in a build without what they configure.
fn repeated<T: Table, const BUILT: bool>(cx: &mut Context, top: &mut Section<'_>) -> Vec<T> {
    if BUILT {
        top.or(cx, T::NAME, schema::tables, Vec::new())
    } else {
        top.optional(cx, T::NAME, refuse::<T>);
        Vec::new()
    }
}

fn refuse<T: Table>(cx: &mut Context, value: &Value<'_>) -> Option<T> {
    value.reject_as_lacking(cx, &format!("`{}`", heading(T::NAME)))
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

    /// The report stays short, and nesting does not exhaust the stack.
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
