//! Tests of the guide: links are valid, also in the installed packages; all commands are mentioned;
//! no merge conflict markers.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace root exists")
}

/// The guide and the documents at the top level.
fn pages() -> Vec<PathBuf> {
    let guide = fs::read_dir(root().join("docs")).expect("the guide exists");
    let guide = guide.map(|entry| entry.expect("entries can be read").path());
    let top = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ]
    .map(|name| root().join(name));
    let pages: Vec<_> = guide
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain(top)
        .collect();
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The targets of links `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
}

/// The anchor of a heading: letters and digits in lower case, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_of_the_guide_are_valid() {
    for page in pages() {
        let text = read(&page);
        for target in links(&text).filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = match file {
                "" => page.clone(),
                file => page.with_file_name("").join(file),
            };
            assert!(linked.exists(), "{}: {target}", page.display());
            let heading_exists = || {
                let text = read(&linked);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                headings.any(|line| anchor(line) == heading)
            };
            assert!(
                heading.is_empty() || heading_exists(),
                "{}: {target} is not a heading",
                page.display()
            );
        }
    }
}

/// Both packages install the documents with their places relative to each other, so a link is valid
/// there if its target is installed.
#[test]
fn packages_contain_what_the_guide_links_to() {
    let manifest = read(&root().join("crates/ntpd/Cargo.toml"));
    let (deb, rpm) = manifest
        .split_once("[package.metadata.generate-rpm]")
        .expect("the manifest describes both packages");
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        for target in links(&text).filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() {
                continue;
            }
            let linked = page.with_file_name("").join(file);
            let linked = linked.canonicalize().expect("the link is valid");
            let path = linked
                .strip_prefix(root())
                .expect("it is in the repository");
            let path = match (path.parent(), path.extension()) {
                // Whole folders are installed with a pattern.
                (Some(folder), Some(_)) if folder.starts_with("docs") => folder,
                _ => path,
            };
            let installed = format!("/usr/share/doc/ntpd-rs/{}", path.display());
            assert!(
                deb.contains(&installed[1..]) && rpm.contains(&installed),
                "{}: {target} is not installed",
                page.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} links were checked");
}

#[test]
fn pages_have_no_merge_conflict_markers() {
    for page in pages() {
        let text = read(&page);
        let marks = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];
        let left = text
            .lines()
            .find(|line| marks.iter().any(|mark| line.starts_with(mark)));
        assert_eq!(left, None, "{}", page.display());
    }
}

#[test]
fn every_command_appears_in_the_guide() {
    let guide: String = pages().iter().map(|page| read(page)).collect();
    let commands = ntp_ctl::command();
    for command in commands
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let name = command.get_name();
        let shown = format!("ntp-ctl {name}");
        assert!(
            name == "help" || guide.contains(&shown),
            "`{shown}` is missing in the guide"
        );
    }
}
