//! Finds the files of a daemon: the main file of a directory, systemd's drop-ins, and the file with
//! the options of the service.

use std::path::{Path, PathBuf};

use super::Dialect;
use super::input::{Input, Reader, Root, in_directories};

/// Main files, as paths below a directory that may be given: that of the daemon, or `/etc`.
const MAIN: &[(Dialect, &str)] = &[
    (Dialect::Chrony, "chrony.conf"),
    (Dialect::Chrony, "chrony/chrony.conf"),
    (Dialect::Ntpd, "ntp.conf"),
    (Dialect::Ntpd, "ntpsec/ntp.conf"),
    (Dialect::Openntpd, "ntpd.conf"),
    (Dialect::Openntpd, "openntpd/ntpd.conf"),
    (Dialect::Timesyncd, "timesyncd.conf"),
    (Dialect::Timesyncd, "systemd/timesyncd.conf"),
];

/// Files with the options of the service, below `/etc`. The first one that exists counts.
const SERVICE: &[(Dialect, &[&str])] = &[
    (
        Dialect::Chrony,
        &["default/chrony", "sysconfig/chronyd", "conf.d/chronyd"],
    ),
    (
        Dialect::Ntpd,
        &[
            "default/ntpsec",
            "default/ntp",
            "sysconfig/ntpd",
            "sysconfig/ntp",
            "conf.d/ntpd",
        ],
    ),
    (
        Dialect::Openntpd,
        &["default/openntpd", "sysconfig/openntpd"],
    ),
];

/// Where distributions put the file that is used if `/etc` has none of its name.
const VENDOR: &str = "/usr/etc";

/// Directories of systemd's configuration, those of the administrator first.
const SYSTEMD: &[&str] = &["etc", "run", "usr/local/lib", "usr/lib"];

/// Reads the configuration at a path, a file or a directory, with all that belongs to it.
///
/// # Errors
/// A message.
pub(super) fn read(
    root: &Root,
    path: &Path,
    dialect: Option<Dialect>,
) -> Result<(Dialect, Input), String> {
    let unreadable = |path: &Path, error| format!("Could not read {}: {error}", path.display());
    if !root.find(path).is_dir() {
        let octets = ntp_files::read_input(&root.find(path), ntp_files::MAX_TEXT)
            .map_err(|error| unreadable(path, error))?;
        let text = String::from_utf8_lossy(&octets);
        let Some(dialect) = dialect.or_else(|| Dialect::detect(path, &text)) else {
            return Err(format!(
                "Unknown format of {}; use --from chrony, ntpd, openntpd or timesyncd",
                path.display()
            ));
        };
        if is_descriptor(path) {
            return Ok((dialect, Input::single(&path.display().to_string(), &text)));
        }
        return Ok((dialect, read_set(root, dialect, path)?));
    }
    let (dialect, main) = main_file(root, path, dialect)?;
    Ok((dialect, read_set(root, dialect, &main)?))
}

/// Whether a path is a descriptor, whose content can be read once.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/", "/proc/"].iter().any(|it| path.starts_with(it))
}

/// The main file of a directory. That of a drop-in directory `NAME.d` or `NAME.conf.d`, and of
/// `/etc/ntp`, is `NAME.conf` beside it.
fn main_file(
    root: &Root,
    directory: &Path,
    dialect: Option<Dialect>,
) -> Result<(Dialect, PathBuf), String> {
    let wanted = |found: &Dialect| dialect.is_none_or(|wanted| wanted == *found);
    let mut found: Vec<(Dialect, PathBuf)> = MAIN
        .iter()
        .filter(|(of, _)| wanted(of))
        .map(|(of, name)| (*of, directory.join(name)))
        .collect();
    if let (Some(name), Some(parent)) = (directory.file_name(), directory.parent()) {
        let name = name.to_string_lossy();
        let name = name.strip_suffix(".d").unwrap_or(&name);
        let name = name.strip_suffix(".conf").unwrap_or(name);
        let beside = format!("{name}.conf");
        let of = MAIN
            .iter()
            .filter(|(of, main)| *main == beside && wanted(of));
        found.extend(of.map(|(of, _)| (*of, parent.join(&beside))));
    }
    for (_, path) in &mut found {
        let of_vendor = path
            .strip_prefix("/etc")
            .map(|it| Path::new(VENDOR).join(it));
        if let Ok(of_vendor) = of_vendor
            && !root.find(path).exists()
            && root.find(&of_vendor).is_file()
        {
            *path = of_vendor;
        }
    }
    // The drop-ins of timesyncd need no main file.
    let exists = |(of, path): &(Dialect, PathBuf)| {
        let drop_ins = path.with_extension("conf.d");
        root.find(path).is_file() || (*of == Dialect::Timesyncd && root.find(&drop_ins).is_dir())
    };
    found.retain(exists);
    match found.as_slice() {
        [] => Err(format!(
            "No configuration of a time daemon in {}; name its main file",
            directory.display()
        )),
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|(_, it)| it.display().to_string())
                .collect();
            Err(format!(
                "Several configurations; name one of {}",
                names.join(", ")
            ))
        }
    }
}

/// Reads a main file, its drop-ins and the options of its service.
fn read_set(root: &Root, dialect: Dialect, main: &Path) -> Result<Input, String> {
    let mut reader = Reader::new(root, dialect);
    let files = match dialect {
        Dialect::Timesyncd => systemd_files(root, main),
        // ntpsec reads this directory without being asked to.
        Dialect::Ntpd => {
            let drop_ins = in_directories(root, [main.with_file_name("ntp.d")], ".conf");
            [Ok(main.to_owned())].into_iter().chain(drop_ins).collect()
        }
        Dialect::Chrony | Dialect::Openntpd => vec![Ok(main.to_owned())],
    };
    for found in files {
        let added = match found {
            Ok(path) => reader.add(&path).map_err(|error| (path, error)),
            Err(problem) => Err(problem),
        };
        added.map_err(|(path, error)| format!("Could not read {}: {error}", path.display()))?;
    }
    let mut input = reader.finish();
    let services = SERVICE.iter().filter(|(of, _)| *of == dialect);
    let mut names = services.flat_map(|(_, names)| *names);
    let read = names.find_map(|name| {
        let path = Path::new("/etc").join(name);
        let text = ntp_files::read_text(&root.find(&path), ntp_files::MAX_TEXT).ok()?;
        Some((path, text))
    });
    if let Some((path, text)) =
        read.filter(|_| ["/etc", VENDOR].iter().any(|it| main.starts_with(it)))
    {
        input.add_settings(&path.display().to_string(), &text);
    }
    Ok(input)
}

/// The main file of timesyncd, and its drop-ins in the order of their names: those in `/etc` hide
/// those of the same name in other directories (systemd-system.conf(5)).
fn systemd_files(root: &Root, main: &Path) -> Vec<Result<PathBuf, (PathBuf, std::io::Error)>> {
    let of_systemd = main.starts_with("/etc/systemd");
    let in_each = |name: &str| -> Vec<PathBuf> {
        let name = Path::new("systemd").join(name);
        let all = SYSTEMD.iter().map(|it| Path::new("/").join(it).join(&name));
        all.collect()
    };
    let mut files = Vec::new();
    let drop_ins = if of_systemd {
        let mains = in_each("timesyncd.conf").into_iter();
        files.extend(mains.filter(|it| root.find(it).exists()).take(1).map(Ok));
        in_each("timesyncd.conf.d")
    } else {
        files.push(Ok(main.to_owned()));
        vec![main.with_extension("conf.d")]
    };
    files.extend(in_directories(root, drop_ins, ".conf"));
    files
}
