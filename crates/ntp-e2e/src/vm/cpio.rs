//! Writer of initramfs archives: cpio in the "newc" format.
//!
//! A member is a header of fourteen hexadecimal fields (the first is the magic number), the name
//! with a terminating zero, and the contents, each padded to four octets; a member named
//! `TRAILER!!!` ends the archive (Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). Archives may be concatenated, and
//! later members replace earlier ones of the same name: one large archive is built once, and the
//! files of a scenario are appended.

use std::collections::BTreeSet;

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// Builder of an archive.
#[derive(Debug, Default)]
pub(super) struct Archive {
    octets: Vec<u8>,
    directories: BTreeSet<String>,
    members: u32,
}

impl Archive {
    /// Adds a file at an absolute path, with its parent directories.
    pub(super) fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        let path = path.trim_start_matches('/');
        self.parents(path);
        self.member(path, REGULAR | permissions, contents);
    }

    /// Adds an empty directory.
    pub(super) fn directory(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        self.parents(path);
        if self.directories.insert(path.to_owned()) {
            self.member(path, DIRECTORY | 0o755, &[]);
        }
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.member("TRAILER!!!", 0, &[]);
        self.octets
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let directory = &path[..at];
            if self.directories.insert(directory.to_owned()) {
                self.member(directory, DIRECTORY | 0o755, &[]);
            }
        }
    }

    fn member(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.members += 1;
        let links = if mode & DIRECTORY == 0 { 1 } else { 2 };
        let length = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX - 1) + 1;
        // Inode, mode, owner, group, links, time, length, two device numbers of two parts each,
        // length of the name, checksum.
        let fields = [
            self.members,
            mode,
            0,
            0,
            links,
            0,
            length,
            0,
            0,
            0,
            0,
            name_length,
            0,
        ];
        self.octets.extend_from_slice(b"070701");
        for field in fields {
            self.octets
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.octets.extend_from_slice(name.as_bytes());
        self.octets.push(0);
        self.pad();
        self.octets.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.octets.len().is_multiple_of(4) {
            self.octets.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_padded_and_directories_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("/etc/one", 0o644, b"12345");
        archive.file("/etc/two", 0o755, b"");
        let octets = archive.finish();
        assert_eq!(octets.len() % 4, 0);
        let text = String::from_utf8_lossy(&octets);
        let places: Vec<_> = ["etc\0", "etc/one\0", "12345\0", "etc/two\0", "TRAILER!!!\0"]
            .iter()
            .map(|needle| text.find(needle).expect("a member"))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("000081a4"), "mode of a regular file");
    }
}
