//! The configuration in force, with the origin of each value.

use ntp_time::SystemTime;

use crate::record;

record! {
    /// A section of the active configuration with the keys that are set explicitly.
    Section {
        /// Name, for example source.
        name: String,
        /// Whether the section can be repeated.
        repeated: bool,
        /// Where the section was defined or last changed.
        origin: Origin,
        /// Keys.
        settings: Vec<Setting>,
    }

    /// A configuration key and its value.
    Setting {
        /// Key, with the names of enclosing tables, joined by dots.
        key: String,
        /// Value in TOML syntax.
        value: String,
        /// Where the value was set.
        origin: Origin,
    }

    /// Where a section or value was set.
    Origin {
        /// file, runtime (changed by a command) or command-line.
        kind: String,
        /// File.
        file: Option<String>,
        /// Line in the file.
        line: Option<u64>,
        /// User or process that made the change at run time.
        by: Option<String>,
        /// Time of the change at run time.
        at: Option<SystemTime>,
    }

    /// A source or server of a configuration file that is removed, replaced or disabled.
    Disabled {
        /// source or server.
        section: String,
        /// Address.
        name: String,
        /// Where it is defined; absent if only the `[disabled]` entry is known.
        defined_at: Option<Origin>,
        /// What disabled it: a change at run time, or `[disabled]` in a later file.
        origin: Origin,
    }
}
