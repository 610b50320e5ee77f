//! What this build can do beyond a client of plain NTP.
//!
//! Each constant is a feature of Cargo. Code that belongs to one is compiled in every build, so
//! that no combination of features can break it, and is linked only where its constant is true:
//! it is reached through branches on these constants alone. Only what brings its own
//! libraries (NTS, excerpts) is left out by the compiler.

/// Diagnostics with the lines of the file and the documentation of missing keys; otherwise they name
/// file and line.
pub const DIAGNOSTICS: bool = cfg!(feature = "diagnostics");
/// Keys of NTS (RFC 8915): `mode = "nts"`, `[[nts-ke-server]]`.
pub const NTS: bool = cfg!(feature = "nts");
/// Serving time: `[[server]]`, `[[nts-ke-server]]`.
pub const SERVER: bool = cfg!(feature = "server");
/// Receivers, hardware clocks and samples of other programs as sources.
pub const REF_CLOCKS: bool = cfg!(feature = "ref-clocks");
/// Interfaces of other programs: chronyc, ClockBound, the observation socket.
pub const INTERFACES: bool = cfg!(feature = "interfaces");
/// The history of the clock's accuracy, and the record of the engine's inputs.
pub const RECORDS: bool = cfg!(feature = "records");
