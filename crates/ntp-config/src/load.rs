//! Loads the configuration: finds the file, checks its permissions, and reads the files it names.
//!
//! Without an explicit path, the default file is used if it exists. If it does not exist, the
//! defaults apply; if it is not readable, the defaults apply with a warning, because `ntp-ctl
//! status` must work for ordinary users. An explicit path must be readable.
//!
//! The drop-ins in `ntp.toml.d` and `sources.d` are read too (`drop_in`); these two modules and
//! `files` are the only ones of the crate that access the file system.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ntp_files::{Exposure, MAX_TEXT, RegularFile};
use ntp_os_clock::device::sysfs::Sysfs;
use ntp_proto::keys::KeyRing;

use crate::config::{self, Config};
use crate::dhcp::DhcpFiles;
use crate::diagnostic::{Diagnostic, quote};
use crate::document::{Document, Located, Place};
use crate::drop_in;
use crate::files::read;
use crate::layers::Layer;
use crate::platform;
use crate::reader::Context;
use crate::report::LoadError;
use crate::source::{SourceConfig, SourceKind};
use crate::symmetric;

/// The file that is read without an explicit path.
pub const DEFAULT_PATH: &str = "/etc/ntpd-rs/ntp.toml";

/// A configuration and its files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The symmetric keys of the key file.
    pub keys: KeyRing,
    /// Settings that are accepted but probably not intended.
    pub warnings: Vec<Diagnostic>,
    /// The main file; `None` if no file was read and the defaults apply. With drop-ins it need
    /// not exist.
    pub path: Option<PathBuf>,
    /// All files that were read, in order of precedence, the lowest first; without those of
    /// `dhcp-sources-directory`.
    pub files: Vec<PathBuf>,
}

/// Loads the file `explicit`, or the default file, or the defaults.
pub fn load(explicit: Option<&Path>) -> Result<Loaded, LoadError> {
    load_on(explicit, &Sysfs::default())
}

/// Loads a configuration as on a machine with these attributes.
pub(crate) fn load_on(explicit: Option<&Path>, machine: &Sysfs) -> Result<Loaded, LoadError> {
    load_or_default(explicit, Path::new(DEFAULT_PATH), machine)
}

fn load_or_default(
    explicit: Option<&Path>,
    default: &Path,
    machine: &Sysfs,
) -> Result<Loaded, LoadError> {
    if let Some(path) = explicit {
        let main = read(path).map_err(|error| LoadError::io(path, error))?;
        return finish(path, Some(main), machine);
    }
    match read(default) {
        Ok(main) => finish(default, Some(main), machine),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => finish(default, None, machine),
            ErrorKind::PermissionDenied => {
                let path = quote(&default.to_string_lossy(), '`');
                let message = format!("no permission to read {path}: the defaults are used");
                let warning = Diagnostic::warning(Place::nowhere(), message)
                    .with_help("name another file by `--config`, or run as a user who may read it");
                Ok(Loaded {
                    warnings: vec![warning],
                    ..Loaded::default()
                })
            }
            _ => Err(LoadError::io(default, error)),
        },
    }
}

/// Reads the drop-ins and combines all files.
fn finish(
    path: &Path,
    main: Option<(String, Vec<Diagnostic>)>,
    machine: &Sysfs,
) -> Result<Loaded, LoadError> {
    let name = path.to_string_lossy();
    let mut layers = Vec::new();
    let mut diagnostics = Vec::new();
    if let Some((text, warnings)) = main {
        layers.push(Layer::whole(&Document::new(&name, &text)));
        diagnostics.extend(warnings);
    }
    let (drop_ins, more) = drop_in::read(path, layers.len());
    layers.extend(drop_ins);
    diagnostics.extend(more);
    let files = layers.iter().map(|layer| layer.document.name());
    let files: Vec<_> = files.map(PathBuf::from).collect();
    let (mut config, mut cx) = read_for(machine, layers);
    if let Some(directory) = config.dhcp_directory() {
        let mut found = DhcpFiles::read(directory);
        diagnostics.append(&mut found.warnings);
        config.set_dhcp_sources(found);
    }
    for diagnostic in diagnostics {
        cx.report(diagnostic);
    }
    for diagnostic in config
        .sources
        .iter()
        .flat_map(|source| check_authorities(&source.kind))
    {
        cx.report(diagnostic);
    }
    // A source that could not be read may be the one that is meant.
    if !cx.report.has_errors() {
        config.check_locks().for_each(|found| cx.report(found));
    }
    for diagnostic in check_secrets(&config) {
        cx.report(diagnostic);
    }
    let (keys, diagnostics) = key_file(&config);
    for diagnostic in diagnostics {
        cx.report(diagnostic);
    }
    let warnings = cx.report.finish(&name)?;
    Ok(Loaded {
        config,
        keys,
        warnings,
        path: (!files.is_empty()).then(|| path.to_owned()),
        files,
    })
}

/// Reads the files, and with `mode = "platform"` the sources that the machine offers.
fn read_for(machine: &Sysfs, mut layers: Vec<Layer>) -> (Config, Context) {
    let (config, cx) = config::read(&layers);
    let mut sources = config.sources.iter();
    if !sources.any(|source| matches!(source.kind, SourceKind::Platform)) {
        return (config, cx);
    }
    let mut choice = platform::decide(machine);
    let of_files: BTreeSet<_> = config.sources.iter().map(SourceConfig::name).collect();
    let name = format!("mode = \"platform\": {}", choice.platform);
    layers.push(Layer::whole(&Document::new(&name, &choice.to_toml())));
    let (mut config, cx) = config::read(&layers);
    let all = config.sources.iter().map(SourceConfig::name);
    choice.added = all
        .filter(|name| !of_files.contains(name))
        .flatten()
        .collect();
    config.complete_with(choice);
    (config, cx)
}

/// Reads and checks the key file, if one is configured.
fn key_file(config: &Config) -> (KeyRing, Vec<Diagnostic>) {
    let Some(Located { value: path, place }) = &config.keys.path else {
        return (KeyRing::default(), Vec::new());
    };
    let mut exposed = None;
    let octets = RegularFile::open(path).and_then(|file| {
        exposed = file.exposure();
        file.read(MAX_TEXT)
    });
    let (keys, mut diagnostics) =
        symmetric::check_key_file(&config.keys, &config.sources, &config.servers, octets);
    diagnostics.extend(exposed.map(|exposed| exposure(exposed, "the key file", path, place)));
    (keys, diagnostics)
}

/// Warns of a secret that all users of the machine may read or write.
fn exposure(exposed: Exposure, what: &str, path: &Path, place: &Place) -> Diagnostic {
    let quoted = quote(&path.to_string_lossy(), '`');
    let message = format!("{what} {quoted} is world-{exposed}");
    let help = format!("run `chmod o= {}`", quoted.trim_matches('`'));
    Diagnostic::warning(place.clone(), message).with_help(help)
}

/// Checks the secrets that the daemon reads itself: private keys of certificates, keys of cookies
/// and the secret of a fleet. It reports those that it cannot use when it starts; the user of
/// `ntp-ctl validate` may lack the permission to read them.
fn check_secrets(config: &Config) -> Vec<Diagnostic> {
    let private = config.nts_ke_servers.iter().flat_map(|server| {
        let more = server.additional_certificates.iter();
        let more = more.map(|more| &more.private_key_path);
        let paths = core::iter::once(&server.private_key_path).chain(more);
        paths.map(|path| ("the private key", path.clone(), server.place.clone()))
    });
    let fleet = config.keyset.shared_secret_path.iter();
    let fleet = fleet.map(|it| ("the shared secret", it.value.clone(), it.place.clone()));
    // A fleet has no file of keys.
    let own = config.keyset.shared_secret_path.is_none();
    let keyset = config.keyset_file().filter(|_| own);
    let keyset = keyset
        .into_iter()
        .map(|path| ("the keyset", path, Place::nowhere()));
    let secrets = private.chain(fleet).chain(keyset);
    let checked = secrets.filter_map(|(what, path, place)| {
        match RegularFile::open(&path).map(|file| file.exposure()) {
            Ok(exposed) => Some(exposure(exposed?, what, &path, &place)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            // It is created.
            Err(error) if error.kind() == ErrorKind::NotFound && what == "the keyset" => None,
            Err(error) => {
                let quoted = quote(&path.to_string_lossy(), '`');
                let message = format!("cannot read {what} {quoted}: {error}");
                Some(Diagnostic::warning(place, message))
            }
        }
    });
    checked.collect()
}

/// Checks the files of additional certificate authorities of a source. As in upstream, an
/// unreadable file makes the configuration invalid: without it the source would fail later,
/// with a less clear message. Certificates are decoded where they are used.
fn check_authorities(kind: &SourceKind) -> impl Iterator<Item = Diagnostic> {
    let exchange = kind.key_exchange().into_iter();
    let authorities = exchange.flat_map(|it| &it.certificate_authorities);
    authorities.filter_map(check_authority)
}

fn check_authority(authority: &Located<PathBuf>) -> Option<Diagnostic> {
    let Located { value: path, place } = authority;
    let quoted = quote(&path.to_string_lossy(), '`');
    if path.is_dir() {
        let error = fs::read_dir(path).err()?;
        let problem = format!("cannot read the certificate authorities in {quoted}: {error}");
        return Some(Diagnostic::error(place.clone(), problem));
    }
    let problem = match ntp_files::read_text(path, MAX_TEXT) {
        Err(error) => format!("cannot read the certificate authority {quoted}: {error}"),
        Ok(text) => {
            let begun = text.matches("-----BEGIN ").count();
            if begun == text.matches("-----END ").count() {
                if text.contains("-----BEGIN CERTIFICATE-----") {
                    return None;
                }
                let message = format!("the certificate authority {quoted} contains no certificate");
                return Some(Diagnostic::warning(place.clone(), message));
            }
            format!("the certificate authority {quoted} is not valid PEM: a section does not end")
        }
    };
    Some(Diagnostic::error(place.clone(), problem))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn load_or_default(explicit: Option<&Path>, default: &Path) -> Result<Loaded, LoadError> {
        super::load_or_default(explicit, default, &Sysfs::at("/nonexistent"))
    }

    /// A directory of its own for each test, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("ntp-config-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_missing_default_file_is_ignored_and_a_missing_explicit_file_is_fatal() {
        let directory = Directory::new();
        let absent = directory.0.join("absent.toml");
        let loaded = load_or_default(None, &absent).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.warnings.is_empty() && loaded.path.is_none());

        let error = load_or_default(Some(&absent), &absent).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("io error while reading config: No such file")
        );
    }

    #[test]
    fn a_default_file_with_a_problem_is_fatal_too() {
        let directory = Directory::new();
        let path = directory.file("ntp.toml", b"[bogus]\n");
        let error = load_or_default(None, &path).unwrap_err().to_string();
        assert!(
            error.starts_with("config toml parsing error: 1 problem in "),
            "{error}"
        );
        assert!(error.contains("unknown field `bogus`"), "{error}");
    }

    #[test]
    fn invalid_utf8_is_an_io_error_with_a_line() {
        let directory = Directory::new();
        let path = directory.file("ntp.toml", b"# good\n# \xff\n");
        let error = load_or_default(Some(&path), &path).unwrap_err().to_string();
        assert!(
            error.starts_with("io error while reading config: line 2 is not valid UTF-8"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn world_writable_files_cause_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let directory = Directory::new();
        let path = directory.file("ntp.toml", b"");
        for (mode, warned) in [(0o602, true), (0o666, true), (0o664, false), (0o600, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let loaded = load_or_default(Some(&path), &path).unwrap();
            let text = "Unrestricted config file permissions: Others can write.";
            assert_eq!(
                loaded
                    .warnings
                    .iter()
                    .any(|warning| warning.message == text),
                warned,
                "{mode:o}"
            );
        }
    }

    fn with_keys(directory: &Directory, keys: &Path, rest: &str) -> PathBuf {
        let text = format!("[keys]\npath = \"{}\"\n{rest}", keys.display());
        directory.file("ntp.toml", text.as_bytes())
    }

    #[cfg(unix)]
    fn restrict(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn problems_of_the_key_file_name_its_lines_without_their_content() {
        let directory = Directory::new();
        let keys = directory.file("keys", b"1 AES128 hunter2\n2 SHA1 hunter2hunter2\nx\n");
        let rest = "[[source]]\nmode = \"server\"\naddress = \"a\"\nkey = 2\n";
        let path = with_keys(&directory, &keys, rest);
        let error = load_or_default(Some(&path), &path).unwrap_err();
        let report = error.to_string();
        for expected in [
            "line 1: a secret for AES128",
            "line 3: expected two or three words",
        ] {
            assert!(report.contains(expected), "{report}");
        }
        assert!(!report.contains("hunter"), "{report}");
        assert!(error.problems().iter().all(|it| it.place.line() == Some(2)));

        let absent = with_keys(&directory, &directory.0.join("absent"), "");
        let error = load_or_default(Some(&absent), &absent).unwrap_err();
        assert!(error.to_string().contains("cannot read the key file"));
    }

    #[cfg(unix)]
    #[test]
    fn referenced_keys_must_exist_and_weak_ones_cause_a_warning() {
        let directory = Directory::new();
        let keys = directory.file("keys", b"1 MD5 0123456789abc\n2 SHA1 0123456789abc\n");
        restrict(&keys, 0o640);
        let source =
            |key: u32| format!("[[source]]\nmode = \"server\"\naddress = \"a\"\nkey = {key}\n");
        let server = "[[server]]\nlisten = \"[::]:123\"\n";
        let load = |rest: &str| {
            let path = with_keys(&directory, &keys, rest);
            load_or_default(Some(&path), &path)
        };
        let loaded = load(&source(2)).unwrap();
        assert!(loaded.warnings.is_empty(), "a key that is not used");
        assert_eq!(loaded.keys.iter().count(), 2);
        for uses in [
            source(1),
            server.to_owned(),
            format!("{server}keys = [1]\n"),
        ] {
            let warnings = load(&uses).unwrap().warnings;
            assert_eq!(warnings.len(), 1, "{uses}");
            assert!(warnings[0].message.contains("key 1 uses MD5"));
        }
        for (lacks, line) in [(source(3), 6), (format!("{server}keys = [2, 9]\n"), 5)] {
            let error = load(&lacks).unwrap_err();
            assert!(error.to_string().contains("there is no key"));
            assert_eq!(error.problems()[0].place.line(), Some(line));
        }
        for (mode, what) in [
            (0o644, "readable"),
            (0o606, "writable"),
            (0o602, "writable"),
        ] {
            restrict(&keys, mode);
            let warnings = load(&source(2)).unwrap().warnings;
            let expected = format!("is world-{what}");
            assert!(warnings[0].message.ends_with(&expected), "{mode:o}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn every_secret_that_everybody_can_read_causes_a_warning() {
        let directory = Directory::new();
        let file = |name: &str| directory.file(name, b"");
        let key = file("a.key");
        let secrets = [key.clone(), file("b.key"), file("secret"), file("keyset")];
        let [first, second, secret, keyset] = secrets.each_ref().map(|path| path.display());
        let text = |keyset: &str| {
            format!(
                "[[nts-ke-server]]\nlisten = \"[::]:4460\"\ncertificate-chain-path = \"c\"\n\
                 private-key-path = \"{first}\"\nadditional-certificates = \
                 [{{ certificate-chain-path = \"c\", private-key-path = \"{second}\" }}]\n\
                 [keyset]\n{keyset}\n"
            )
        };
        let path = directory.file("ntp.toml", b"");
        restrict(&path, 0o600);
        let warnings = || load_or_default(Some(&path), &path).unwrap().warnings;
        for (keyset, last) in [
            (format!("shared-secret-path = \"{secret}\""), 2),
            (format!("key-storage-path = \"{keyset}\""), 3),
        ] {
            fs::write(&path, text(&keyset)).unwrap();
            for secret in &secrets {
                restrict(secret, 0o640);
            }
            assert_eq!(warnings(), []);
            for secret in [&secrets[0], &secrets[1], &secrets[last]] {
                restrict(secret, 0o644);
                let found = warnings();
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(found[0].message.ends_with("is world-readable"));
                assert!(found[0].message.contains(&*secret.to_string_lossy()));
                restrict(secret, 0o600);
            }
        }
        fs::remove_file(&key).unwrap();
        assert!(
            warnings()[0]
                .message
                .starts_with("cannot read the private key")
        );
    }

    #[test]
    fn an_unreadable_certificate_authority_is_a_problem_at_its_line() {
        let directory = Directory::new();
        let load = |authority: &Path| {
            let text = format!(
                "[[source]]\nmode = \"nts\"\naddress = \"a\"\ncertificate-authority = \"{}\"\n",
                authority.display()
            );
            let path = directory.file("ntp.toml", text.as_bytes());
            load_or_default(Some(&path), &path)
        };
        let error = load(&directory.0.join("absent.pem")).unwrap_err();
        assert_eq!(error.problems()[0].place.line(), Some(4));
        let cut = directory.file("cut.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(
            load(&cut)
                .unwrap_err()
                .to_string()
                .contains("not valid PEM")
        );
        let empty = directory.file("empty.pem", b"");
        assert_eq!(load(&empty).unwrap().warnings.len(), 1);
        let good = directory.file(
            "good.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        assert!(load(&good).unwrap().warnings.is_empty());
    }
}
