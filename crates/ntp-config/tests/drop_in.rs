//! Drop-in directories: the merging of several files, and the diagnostics of conflicts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ntp_config::{LoadError, Loaded, LogLevel, load};

/// A directory of its own for each test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ntp-config-drop-in-{}-{number}", std::process::id());
        let directory = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&directory.0).unwrap();
        for (name, content) in files {
            directory.write(name, content);
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        load(Some(&self.path("ntp.toml")))
    }

    fn problems(&self) -> Vec<String> {
        let error = self.load().unwrap_err();
        let format_place = |place: &ntp_config::Place| {
            let file = place
                .file()
                .map(|file| Path::new(file).strip_prefix(&self.0));
            let file = file
                .and_then(Result::ok)
                .map(|file| file.display().to_string());
            format!("{}:{}", file.unwrap_or_default(), place.line().unwrap_or(0))
        };
        let problems = error.problems().iter();
        problems
            .map(|it| format!("{} {}", format_place(&it.place), it.message))
            .collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn source(address: &str) -> String {
    format!("[[source]]\nmode = \"server\"\naddress = \"{address}\"\n")
}

fn names(loaded: &Loaded) -> Vec<String> {
    let sources = loaded.config.sources.iter();
    sources.filter_map(ntp_config::SourceConfig::name).collect()
}

fn warnings(loaded: &Loaded) -> Vec<&str> {
    let warnings = loaded.warnings.iter();
    warnings.map(|warning| warning.message.as_str()).collect()
}

#[test]
fn files_are_merged_in_their_order() {
    let directory = Directory::new(&[
        (
            "ntp.toml",
            "[observability]\nlog-level = \"warn\"\nlog-path = \"/a\"\n[synchronization]\nsingle-step-panic-threshold = 5\n",
        ),
        (
            "ntp.toml.d/20-b.toml",
            "[observability]\nlog-level = \"debug\"\n",
        ),
        (
            "ntp.toml.d/10-a.toml",
            "[observability]\nlog-level = \"trace\"\n",
        ),
        ("ntp.toml.d/.hidden.toml", "nonsense"),
        ("ntp.toml.d/README", "nonsense"),
        ("sources.d/x.toml", &source("x")),
    ]);
    directory.write("ntp.toml.d/10-a.toml", &source("a"));
    let loaded = directory.load().unwrap();
    let observability = &loaded.config.observability;
    assert_eq!(observability.log_level, Some(LogLevel::Debug));
    assert_eq!(observability.log_path.as_deref(), Some(Path::new("/a")));
    assert_eq!(names(&loaded), ["x:123", "a:123"]);
    let files: Vec<_> = loaded
        .files
        .iter()
        .map(|it| it.strip_prefix(&directory.0).unwrap())
        .collect();
    let expected = [
        "ntp.toml",
        "sources.d/x.toml",
        "ntp.toml.d/10-a.toml",
        "ntp.toml.d/20-b.toml",
    ];
    assert_eq!(files, expected.map(Path::new));
    assert!(loaded.warnings.is_empty());
    let place = &loaded.config.sources[1].place;
    assert!(place.file().unwrap().ends_with("10-a.toml"));
    assert_eq!(place.line(), Some(2));
}

#[test]
fn every_problem_of_every_file_is_reported_with_its_place() {
    let directory = Directory::new(&[
        ("ntp.toml", "[observability]\nlog-level = \"wran\"\n"),
        (
            "ntp.toml.d/10.toml",
            "\n[observability]\nlog-level = \"info\"\nlog-pth = \"/x\"\n",
        ),
        (
            "ntp.toml.d/20.toml",
            "x y z\n[[source]]\nmode = \"server\"\n",
        ),
        (
            "sources.d/dhcp.toml",
            "[[source]]\nmode = \"server\"\nadress = \"a\"\n[clock]\nkind = \"none\"\n",
        ),
    ]);
    assert_eq!(
        directory.problems(),
        [
            "ntp.toml:2 unknown variant `wran`, expected one of `trace`, `debug`, `info`, `warn`, `error`",
            "sources.d/dhcp.toml:3 unknown field `adress` in `[[source]]` of mode `server`",
            "sources.d/dhcp.toml:4 `[clock]` is not allowed in a file of `sources.d`",
            "ntp.toml.d/10.toml:4 unknown field `log-pth` in `[observability]`",
            "ntp.toml.d/20.toml:1 invalid TOML: key with no value",
        ]
    );
    let report = directory.load().unwrap_err().to_string();
    assert!(
        report.starts_with("config toml parsing error: 5 problems in 4 files"),
        "{report}"
    );
}

#[test]
fn a_problem_in_a_drop_in_names_only_that_file() {
    let main = source("a");
    let directory = Directory::new(&[("ntp.toml", &main), ("ntp.toml.d/x.toml", "[clok]\n")]);
    let report = directory.load().unwrap_err().to_string();
    let file = directory.path("ntp.toml.d/x.toml");
    let head = format!(
        "config toml parsing error: 1 problem in `{}`",
        file.display()
    );
    assert!(report.starts_with(&head), "{report}");
    assert!(report.contains("x.toml:1:2"), "{report}");
}

#[test]
fn a_source_in_two_files_is_used_once_and_reported() {
    let directory = Directory::new(&[
        ("ntp.toml", &format!("{}prefer = true\n", source("a"))),
        ("sources.d/dhcp.toml", &(source("a:123") + &source("b"))),
    ]);
    let loaded = directory.load().unwrap();
    assert_eq!(names(&loaded), ["a:123", "b:123"]);
    assert!(
        loaded.config.sources[0]
            .kind
            .ntp()
            .unwrap()
            .selection
            .prefer
    );
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings);
    };
    assert!(
        warning.place.file().unwrap().ends_with("dhcp.toml"),
        "{warning}"
    );
    assert!(
        warning
            .related
            .as_ref()
            .unwrap()
            .0
            .file()
            .unwrap()
            .ends_with("ntp.toml")
    );
}

#[test]
fn sources_and_servers_of_earlier_files_can_be_disabled_and_replaced() {
    let server = "[[server]]\nlisten = \"127.0.0.1:1230\"\n";
    let directory = Directory::new(&[
        (
            "ntp.toml",
            &format!("{}{}{server}", source("a"), source("b")),
        ),
        ("sources.d/dhcp.toml", &source("c")),
        (
            "ntp.toml.d/90.toml",
            &format!(
                "[disabled]\nsources = [\"a\", \"c:123\", \"dd\"]\nservers = [\"127.0.0.1:1230\"]\n{}prefer = true\n{server}workers = 1\n",
                source("a")
            ),
        ),
    ]);
    let loaded = directory.load().unwrap();
    assert_eq!(names(&loaded), ["b:123", "a:123"]);
    assert!(
        loaded.config.sources[1]
            .kind
            .ntp()
            .unwrap()
            .selection
            .prefer
    );
    assert_eq!(loaded.config.servers.len(), 1);
    assert_eq!(loaded.config.servers[0].workers, Some(1));
    assert_eq!(
        warnings(&loaded),
        ["no file before this one has a source `dd`"]
    );
}

#[test]
fn two_files_cannot_serve_at_one_address() {
    let server = "[[server]]\nlisten = \"127.0.0.1:1230\"\n";
    let directory = Directory::new(&[("ntp.toml", server), ("ntp.toml.d/a.toml", server)]);
    assert_eq!(
        directory.problems(),
        ["ntp.toml.d/a.toml:1 two files serve time at `127.0.0.1:1230`"]
    );
}

#[test]
fn required_keys_may_be_in_another_file() {
    let directory = Directory::new(&[
        (
            "ntp.toml",
            "[source-defaults.poll-interval-limits]\nmin = 5\n",
        ),
        (
            "ntp.toml.d/a.toml",
            "[source-defaults.poll-interval-limits]\nmax = 6\n",
        ),
    ]);
    directory.load().unwrap();
    fs::remove_file(directory.path("ntp.toml.d/a.toml")).unwrap();
    assert_eq!(directory.problems().len(), 1);
}

#[test]
fn unreadable_drop_ins_are_errors_and_other_extensions_a_warning() {
    let directory = Directory::new(&[("ntp.toml", ""), ("ntp.toml.d/50-x.conf", "")]);
    assert!(
        warnings(&directory.load().unwrap())[0].ends_with("the names of drop-ins end in `.toml`")
    );
    symlink("/dev/null", directory.path("ntp.toml.d/masked.toml")).unwrap();
    directory.load().unwrap();
    symlink(
        "/nowhere/at/all",
        directory.path("ntp.toml.d/dangling.toml"),
    )
    .unwrap();
    let [problem] = &directory.problems()[..] else {
        panic!("one problem");
    };
    assert!(
        problem.contains("cannot read the drop-in") && problem.contains("dangling"),
        "{problem}"
    );
}

#[test]
fn drop_ins_in_a_world_writable_directory_are_not_read() {
    let directory = Directory::new(&[("ntp.toml", ""), ("sources.d/a.toml", &source("a"))]);
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o1777)).unwrap();
    let loaded = directory.load().unwrap();
    assert!(loaded.config.sources.is_empty());
    assert!(warnings(&loaded)[0].contains("is not read, because"));
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(directory.load().unwrap().config.sources.len(), 1);
}

#[test]
fn a_drop_in_directory_may_be_a_symbolic_link() {
    let directory = Directory::new(&[("ntp.toml", ""), ("run/a.toml", &source("a"))]);
    symlink(directory.path("run"), directory.path("sources.d")).unwrap();
    assert_eq!(names(&directory.load().unwrap()), ["a:123"]);
}

/// Writes a main file that reads the servers of DHCP from the directory `run`.
fn with_dhcp(directory: &Directory, more: &str) {
    let run = directory.path("run");
    let text = format!(
        "{}[synchronization]\ndhcp-sources-directory = \"{}\"\n{more}",
        source("a"),
        run.display()
    );
    directory.write("ntp.toml", &text);
}

#[test]
fn servers_of_dhcp_are_sources_once_unless_they_are_ignored() {
    let directory = Directory::new(&[
        ("run/dhcp-eth0.toml", &(source("b") + &source("a"))),
        ("run/dhcp-wlan0.toml", &(source("c") + &source("b"))),
    ]);
    with_dhcp(&directory, "");
    let loaded = directory.load().unwrap();
    assert_eq!(warnings(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["a:123", "b:123", "c:123"]);
    let fallback = |loaded: &Loaded| -> Vec<_> {
        let sources = loaded.config.sources.iter();
        let options = sources.filter_map(|it| it.kind.ntp());
        options.map(|it| it.selection.fallback).collect()
    };
    assert_eq!(fallback(&loaded), [false, true, true]);
    with_dhcp(&directory, "dhcp-sources = \"use\"\n");
    assert_eq!(fallback(&directory.load().unwrap()), [false; 3]);
    with_dhcp(&directory, "dhcp-sources = \"ignore\"\n");
    assert_eq!(names(&directory.load().unwrap()), ["a:123"]);
    with_dhcp(&directory, "dhcp-sources = \"prefer\"\n");
    assert!(directory.problems()[0].contains("unknown variant `prefer`"));
    directory.write("ntp.toml", "");
    assert_eq!(names(&directory.load().unwrap()), [""; 0]);
}

/// Strangers write them, in effect.
#[test]
fn files_of_dhcp_cannot_make_a_configuration_invalid_nor_set_anything_else() {
    let many: String = (0..100).map(|it| source(&format!("h{it}"))).collect();
    for (content, remain) in [
        ("nonsense", 1),
        ("[clock]\nkind = \"none\"\n", 1),
        ("[[server]]\nlisten = \"[::]:123\"\n", 1),
        ("[[source]]\nmode = \"platform\"\n", 1),
        ("[[source]]\nmode = \"sock\"\npath = \"/etc/passwd\"\n", 1),
        (
            "[[source]]\nmode = \"server\"\naddress = \"b\"\nkey = 1\n",
            1,
        ),
        (&*many, 33),
    ] {
        let directory = Directory::new(&[("run/dhcp-eth0.toml", content)]);
        with_dhcp(&directory, "");
        let loaded = directory.load().unwrap();
        assert_eq!(loaded.config.sources.len(), remain, "{content}");
        assert_eq!(warnings(&loaded).len(), 1, "{content}");
        assert!(warnings(&loaded)[0].contains("dhcp-eth0.toml` is not used"));
    }
    let directory = Directory::new(&[("run/dhcp-eth0.toml/x", "")]);
    with_dhcp(&directory, "");
    assert_eq!(warnings(&directory.load().unwrap()).len(), 1);
}

/// Otherwise a network that blocks NTS could choose the clock by DHCP.
#[test]
fn the_policy_for_sources_without_authentication_applies_to_those_of_dhcp() {
    for (policy, noselect) in [("only", true), ("prefer", false)] {
        let directory = Directory::new(&[("run/dhcp-eth0.toml", &source("b"))]);
        with_dhcp(
            &directory,
            &format!("dhcp-sources = \"use\"\n[nts]\npolicy = \"{policy}\"\n"),
        );
        let config = directory.load().unwrap().config;
        let options = config.sources[1].kind.ntp().unwrap().selection;
        assert_eq!((options.noselect, options.fallback), (noselect, !noselect));
    }
}

/// As after a change of the network: the lists are read without the configuration.
#[test]
fn a_new_list_of_dhcp_replaces_the_old_one_only() {
    let directory = Directory::new(&[("run/dhcp-eth0.toml", &source("b"))]);
    with_dhcp(&directory, "");
    let mut config = directory.load().unwrap().config;
    directory.write("run/dhcp-eth0.toml", &source("c"));
    let read = || ntp_config::DhcpFiles::read(&directory.path("run"));
    config.set_dhcp_sources(read());
    let names = |config: &ntp_config::Config| -> Vec<_> {
        let sources = config.sources.iter();
        sources.filter_map(ntp_config::SourceConfig::name).collect()
    };
    assert_eq!(names(&config), ["a:123", "c:123"]);
    fs::remove_file(directory.path("run/dhcp-eth0.toml")).unwrap();
    config.set_dhcp_sources(read());
    assert_eq!(names(&config), ["a:123"]);
}
