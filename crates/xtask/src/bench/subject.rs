//! Who is measured, and how each is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::arena::{Arena, End, SERVER};
use super::{Plan, build};

/// One server under test.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) version: String,
    program: PathBuf,
    arguments: Vec<String>,
}

/// What a subject is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ours,
    Peer,
    /// One of the two ways to echo.
    Echo,
}

/// A server that runs; it ends when dropped.
#[derive(Debug)]
pub(super) struct Running(Child);

/// Builds what is ours, and finds what is not. `files` is for configurations.
pub(super) fn subjects(plan: &Plan, files: &Path) -> Result<Vec<Subject>, String> {
    let daemon = build::binary("ntpd", "ntp-daemon")?;
    let echo = build::example("ntp-udp", "echo-floor")?;
    let mut subjects = Vec::new();
    let own = version(Command::new(&daemon).arg("--version"))?;
    for (name, rests) in [("ntp-daemon", true), ("ntp-daemon, no rests", false)] {
        let config = write(
            files,
            &format!("ntp-{rests}.toml"),
            &format!(
                "[synchronization]\nlocal-stratum = 1\n[clock]\nkind = \"none\"\n\
                 [[server]]\nlisten = \"{SERVER}:123\"\nworkers = 1\nrest-under-load = {rests}\n"
            ),
        )?;
        subjects.push(Subject {
            name,
            role: Role::Ours,
            version: own.clone(),
            program: daemon.clone(),
            arguments: vec!["--config".into(), config],
        });
    }
    let chronyd = chronyd(plan);
    match version(Command::new(&chronyd).arg("--version")) {
        Ok(version) => {
            let config = write(
                files,
                "chrony.conf",
                &format!(
                    "allow\nlocal stratum 1\nnoclientlog\ncmdport 0\nbindcmdaddress /\n\
                     pidfile {}/chronyd.pid\n",
                    files.display()
                ),
            )?;
            let options = ["-d", "-x", "-u", "root", "-f"].map(String::from);
            subjects.push(Subject {
                name: "chronyd",
                role: Role::Peer,
                version,
                program: chronyd,
                arguments: options.into_iter().chain([config]).collect(),
            });
        }
        Err(problem) => eprintln!("measuring without chronyd: {problem}"),
    }
    for (name, mode) in [("echo, batched", "batched"), ("echo, one by one", "single")] {
        subjects.push(Subject {
            name,
            role: Role::Echo,
            version: String::new(),
            program: echo.clone(),
            arguments: vec![format!("{SERVER}:123"), mode.into()],
        });
    }
    Ok(subjects)
}

impl Subject {
    pub(super) fn start(&self, arena: &Arena, plan: &Plan) -> Result<Running, String> {
        let mut command = arena.command(End::Server, plan.server_processor, &self.program);
        command
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        child
            .map(Running)
            .map_err(|error| format!("{} cannot be started: {error}", self.name))
    }
}

impl Running {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn chronyd(plan: &Plan) -> PathBuf {
    let unpacked = build::root().join("target/arena/chrony/usr/sbin/chronyd");
    let installed = PathBuf::from("/usr/sbin/chronyd");
    let found = [unpacked, installed].into_iter().find(|path| path.exists());
    plan.chronyd
        .clone()
        .or(found)
        .unwrap_or_else(|| "chronyd".into())
}

fn version(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", command.get_program().display()))?;
    // Some print it to one stream, some to the other.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    number
        .map(str::to_owned)
        .ok_or_else(|| format!("{} tells no version", command.get_program().display()))
}

fn write(directory: &Path, name: &str, content: &str) -> Result<String, String> {
    let path = directory.join(name);
    fs::write(&path, content)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path.display().to_string())
}
