//! Crash tests: the daemon is killed at random times and must start again from what it left.
//!
//! | module | what is killed | possible damage |
//! |---|---|---|
//! | [`restarts`] | the process (SIGKILL) | half-written files, stale sockets |
//! | [`power`], [`disk`] | the machine, losing unflushed writes | incomplete files, lost journals |
//! | [`state`] | | checks of the state directory afterwards |

pub mod disk;
pub mod power;
pub mod restarts;
pub mod state;
