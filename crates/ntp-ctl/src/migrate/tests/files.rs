//! Configurations of several files.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Input, Root, locate};
use super::*;

/// Trees of files with the directives that distributions ship.
fn distributions() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/distributions");
    let mut trees: Vec<_> = fs::read_dir(all)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    trees.sort();
    trees
}

fn converted(root: &Path, path: &str) -> (Input, Migrated) {
    let (dialect, input) = locate::read(&Root(root.to_owned()), Path::new(path), None).unwrap();
    let migrated = migrate(dialect, &input);
    let parsed = ntp_config::parse(&migrated.toml, "migrated");
    parsed.unwrap_or_else(|error| panic!("{error}\n{}", migrated.toml));
    (input, migrated)
}

#[test]
fn the_defaults_of_distributions_lose_nothing() {
    for tree in distributions() {
        let (_, migrated) = converted(&tree, "/etc");
        assert_eq!(migrated.unsupported, 0, "{tree:?}\n{}", migrated.toml);
        let sources = migrated.toml.matches("[[source]]").count();
        assert!(sources > 0, "{tree:?}\n{}", migrated.toml);
    }
}

/// As the unit of SLES 16 chooses the file.
#[test]
fn the_file_of_the_vendor_is_used_without_one_of_the_administrator() {
    let vendor = (
        "usr/etc/chrony.conf",
        "server vendor\nconfdir /etc/chrony.d\n",
    );
    let drop_in = ("etc/chrony.d/a.conf", "server drop-in\n");
    let options = ("etc/sysconfig/chronyd", "OPTIONS=\"-x\"\n");
    let tree = Tree::new(&[vendor, drop_in, options]);
    for path in ["/etc", "/etc/chrony.d", "/usr/etc"] {
        let toml = tree.toml(path);
        assert_eq!(addresses(&toml), ["vendor", "drop-in"], "{path}\n{toml}");
        assert!(toml.contains("kind = \"none\""), "{path}\n{toml}");
    }
    let tree = Tree::new(&[vendor, ("etc/chrony.conf", "server mine\n")]);
    assert_eq!(addresses(&tree.toml("/etc")), ["mine"]);
}

/// A tree of files for a test.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = tree.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_text(&path, text);
        }
        tree
    }

    fn read(&self, path: &str) -> Result<(Dialect, Input), String> {
        locate::read(&Root(self.0.path().to_owned()), Path::new(path), None)
    }

    fn toml(&self, path: &str) -> String {
        converted(self.0.path(), path).1.toml
    }
}

fn addresses(toml: &str) -> Vec<&str> {
    let lines = toml
        .lines()
        .filter_map(|it| it.strip_prefix("address = \""));
    lines.map(|it| it.trim_end_matches('"')).collect()
}

/// The order is that of `chronyd -p` with these files.
#[test]
fn included_files_have_the_order_of_chronyd() {
    let tree = Tree::new(&[
        (
            "etc/chrony/chrony.conf",
            "server first\nconfdir /etc/chrony/a /etc/chrony/b /etc/chrony/none\nserver last\n\
             include /etc/chrony/more/?-*.conf\n",
        ),
        ("etc/chrony/a/x.conf", "server a-x\n"),
        ("etc/chrony/b/x.conf", "server b-x\n"),
        ("etc/chrony/b/0.conf", "server b-0\n"),
        ("etc/chrony/b/.hidden.conf", "server hidden\n"),
        ("etc/chrony/b/x.conf.bak", "server backup\n"),
        ("etc/chrony/more/2-b.conf", "server more-2\n"),
        (
            "etc/chrony/more/1-a.conf",
            "include /etc/chrony/nested.conf\n",
        ),
        ("etc/chrony/nested.conf", "server nested\n"),
    ]);
    let toml = tree.toml("/etc/chrony");
    let expected = ["first", "b-0", "a-x", "last", "nested", "more-2"];
    assert_eq!(addresses(&toml), expected, "{toml}");
}

#[test]
fn remarks_name_the_file_and_the_line() {
    let tree = Tree::new(&[
        (
            "etc/chrony.conf",
            "server a\n\ninclude /etc/chrony.d/*.conf\n",
        ),
        ("etc/chrony.d/x.conf", "# comment\nlogchange 1\nserver a\n"),
    ]);
    let toml = tree.toml("/etc/chrony.d");
    for expected in [
        "# /etc/chrony.d/x.conf:2: logchange 1\n",
        "# /etc/chrony.d/x.conf:3: server a\n#     the same as /etc/chrony.conf:1\n",
        "# /etc/chrony.conf:3: include /etc/chrony.d/*.conf\n#     its file is converted, too",
    ] {
        assert!(toml.contains(expected), "{expected}\n{toml}");
    }
}

/// A wrong include costs its own lines only, and is named.
#[test]
fn includes_that_cannot_be_read_are_named() {
    let huge = "#".repeat(17 << 20);
    let tree = Tree::new(&[
        (
            "etc/chrony/chrony.conf",
            "include /etc/chrony/missing.conf\ninclude /etc/chrony/chrony.conf\n\
             include /etc/chrony/huge.conf\ninclude /etc/chrony/deep-0.conf\n\
             include /etc/chrony/dir\nserver a\n",
        ),
        ("etc/chrony/huge.conf", &huge),
        ("etc/chrony/dir/file", ""),
    ]);
    for level in 0..20 {
        let path = tree.0.path().join(format!("etc/chrony/deep-{level}.conf"));
        let next = level + 1;
        write_text(&path, &format!("include /etc/chrony/deep-{next}.conf\n"));
    }
    let (_, migrated) = converted(tree.0.path(), "/etc/chrony");
    for expected in [
        "chrony.conf:1: include /etc/chrony/missing.conf\n#     could not read /etc/chrony/missing.conf: No such file",
        "chrony.conf:2: include /etc/chrony/chrony.conf\n#     could not read /etc/chrony/chrony.conf: it includes itself",
        "chrony.conf:3: include /etc/chrony/huge.conf\n#     could not read /etc/chrony/huge.conf: the file is longer than",
        "deep-8.conf:1: include /etc/chrony/deep-9.conf\n#     could not read /etc/chrony/deep-9.conf: includes are nested too deeply",
        "chrony.conf:5: include /etc/chrony/dir\n#     could not read /etc/chrony/dir: ",
    ] {
        assert!(
            migrated.toml.contains(expected),
            "{expected}\n{}",
            migrated.toml
        );
    }
    assert_eq!(migrated.unsupported, 5, "{}", migrated.toml);
    assert_eq!(addresses(&migrated.toml), ["a"]);
    assert!(tree.read("/etc/nothing").is_err());
    let empty = tree.read("/etc/chrony/dir").unwrap_err();
    assert!(empty.contains("/etc/chrony/dir"), "{empty}");
}

#[test]
fn source_directories_have_sources_only_and_those_of_dhcp_stay() {
    let tree = Tree::new(&[
        (
            "etc/chrony/chrony.conf",
            "sourcedir /run/chrony-dhcp\nsourcedir /etc/chrony/sources.d\n",
        ),
        ("run/chrony-dhcp/eth0.sources", "server 192.0.2.1\n"),
        (
            "etc/chrony/sources.d/a.sources",
            "server a\nallow 192.0.2.0/24\n",
        ),
    ]);
    let toml = tree.toml("/etc/chrony");
    assert_eq!(addresses(&toml), ["a"], "{toml}");
    assert!(!toml.contains("[[server]]"), "{toml}");
    assert!(toml.contains("dhcp-sources = \"use\""), "{toml}");
    // As before, too, where chronyd does not use them.
    let tree = Tree::new(&[("etc/chrony/chrony.conf", "server a\n")]);
    let toml = tree.toml("/etc/chrony");
    assert!(toml.contains("dhcp-sources = \"ignore\""), "{toml}");
}

#[test]
fn options_of_the_service_are_converted() {
    let tree = Tree::new(&[
        ("etc/chrony/chrony.conf", "server a\n"),
        (
            "etc/default/chrony",
            "# comment\nDAEMON_OPTS=\"-F1 -x -4 -um nobody\"\nSYNC_IN_CONTAINER=\"no\"\nOTHER=1\n",
        ),
    ]);
    let (_, migrated) = converted(tree.0.path(), "/etc/chrony/chrony.conf");
    for expected in [
        "[clock]\nkind = \"none\"\n",
        "# /etc/default/chrony:2: DAEMON_OPTS -4\n",
        "# /etc/default/chrony:2: DAEMON_OPTS -F 1\n",
        "# /etc/default/chrony:2: DAEMON_OPTS -u m\n",
        "# /etc/default/chrony:4: OTHER=1\n",
    ] {
        assert!(
            migrated.toml.contains(expected),
            "{expected}\n{}",
            migrated.toml
        );
    }
    let tree = Tree::new(&[
        ("etc/ntp.conf", "server a\nincludefile ntp/more.conf\n"),
        ("etc/ntp/more.conf", "server more\n"),
        ("etc/ntp.d/1.conf", "server drop-in\n"),
        (
            "etc/sysconfig/ntpd",
            "OPTIONS=\"-gx\"\nIGNORE_DHCP=\"yes\"\n",
        ),
    ]);
    let (_, migrated) = converted(tree.0.path(), "/etc/ntp");
    assert_eq!(addresses(&migrated.toml), ["a", "more", "drop-in"]);
    for expected in ["OPTIONS -x\n", "dhcp-sources = \"ignore\"\n"] {
        assert!(migrated.toml.contains(expected), "{}", migrated.toml);
    }
}

/// systemd-system.conf(5): files in /etc hide those of the same name below /usr.
#[test]
fn drop_ins_of_timesyncd_are_those_of_systemd() {
    let tree = Tree::new(&[
        (
            "usr/lib/systemd/timesyncd.conf",
            "[Time]\n#FallbackNTP=built-in\n",
        ),
        (
            "usr/lib/systemd/timesyncd.conf.d/10-a.conf",
            "[Time]\nNTP=hidden\n",
        ),
        ("etc/systemd/timesyncd.conf.d/10-a.conf", "[Time]\nNTP=a\n"),
        ("etc/systemd/timesyncd.conf.d/20-b.conf", "[Time]\nNTP=b\n"),
    ]);
    for path in ["/etc/systemd/timesyncd.conf.d", "/etc/systemd", "/etc"] {
        let toml = tree.toml(path);
        assert_eq!(addresses(&toml), ["a", "b"], "{path}\n{toml}");
    }
}

/// The packaged file of timesyncd states the built-in servers as a comment.
#[test]
fn built_in_servers_of_timesyncd_are_used_without_others() {
    let tree = Tree::new(&[("etc/systemd/timesyncd.conf", "[Time]\n#FallbackNTP=a b\n")]);
    assert_eq!(addresses(&tree.toml("/etc/systemd")), ["a", "b"]);
    let tree = Tree::new(&[(
        "etc/systemd/timesyncd.conf",
        "[Time]\n#FallbackNTP=a\nNTP=c\n",
    )]);
    assert_eq!(addresses(&tree.toml("/etc/systemd")), ["c"]);
}

/// The daemon starts with the keys and the frequency of the other one.
#[test]
fn the_result_is_put_in_place_with_keys_and_frequency() {
    use std::os::unix::fs::PermissionsExt;

    let tree = Tree::new(&[
        (
            "etc/chrony/chrony.conf",
            "server a key 1\nkeyfile /etc/chrony/chrony.keys\ndriftfile /var/lib/chrony/drift\n",
        ),
        ("etc/chrony/chrony.keys", "1 MD5 secret\n"),
        (
            "var/lib/chrony/drift",
            "             -12.500000             0.020000\n",
        ),
        ("etc/ntpd-rs/ntp.toml", "# of the package\n"),
    ]);
    let root = tree.0.path();
    let write = |path: &str| {
        let root = root.to_str().unwrap();
        crate::tests::ntp_ctl(&["migrate", "--root", root, "--write", path])
    };
    let read = |path: &str| ntp_files::read_text(&root.join(path), 4096).unwrap();

    let outcome = write("/etc/chrony");
    assert_eq!(outcome.code, 0, "{}", outcome.err);
    assert_eq!(
        outcome.out,
        "Written: /etc/ntpd-rs/ntp.keys\nWritten: /var/lib/ntpd-rs/clock.toml\n\
         Written: /etc/ntpd-rs/ntp.toml\n"
    );
    let toml = read("etc/ntpd-rs/ntp.toml");
    assert!(toml.contains("path = \"/etc/ntpd-rs/ntp.keys\""), "{toml}");
    assert_eq!(read("etc/ntpd-rs/ntp.keys"), "1 MD5 secret\n");
    let keys = fs::metadata(root.join("etc/ntpd-rs/ntp.keys")).unwrap();
    assert_eq!(keys.permissions().mode() & 0o777, 0o600);
    let state: toml::Table = read("var/lib/ntpd-rs/clock.toml").parse().unwrap();
    assert_eq!(state["version"].as_integer(), Some(1));
    assert_eq!(state["frequency-ppm"].as_float(), Some(-12.5));
    assert_eq!(state["uncertainty-ppm"].as_float(), Some(0.1));
    assert_eq!(read("etc/ntpd-rs/ntp.toml.old"), "# of the package\n");

    // Again: state and the copy of the first file are kept.
    write_text(&root.join("var/lib/chrony/drift"), "1 1\n");
    assert_eq!(write("/etc/chrony").code, 0);
    assert!(read("var/lib/ntpd-rs/clock.toml").contains("-12.5"));
    assert_eq!(read("etc/ntpd-rs/ntp.toml.old"), "# of the package\n");
    // A file of the administrator is never lost.
    write_text(&root.join("etc/ntpd-rs/ntp.toml"), "# mine\n");
    let refused = write("/etc/chrony");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("ntp.toml.old"), "{}", refused.err);
    assert_eq!(read("etc/ntpd-rs/ntp.toml"), "# mine\n");
}

/// ntpd states the correction, not the error.
#[test]
fn the_frequency_of_ntpd_has_the_other_sign() {
    let tree = Tree::new(&[
        ("etc/ntp.conf", "server a\ndriftfile /var/lib/ntp/drift\n"),
        ("var/lib/ntp/drift", "-3.250\n"),
    ]);
    let root = tree.0.path().to_str().unwrap();
    let arguments = ["migrate", "--root", root, "--write", "/etc/ntp.conf"];
    assert_eq!(crate::tests::ntp_ctl(&arguments).code, 0);
    let state = tree.0.path().join("var/lib/ntpd-rs/clock.toml");
    let state = ntp_files::read_text(&state, 4096).unwrap();
    assert!(state.contains("frequency-ppm = 3.250000\n"), "{state}");
}

fn write_text(path: &Path, text: &str) {
    ntp_files::replace(path, text.as_bytes(), 0o644, None).unwrap();
}
