//! Ends without warning: the daemon is killed at moments of chance, and whatever it left must do for the next start.
//!
//! | module | who dies | what could go wrong |
//! |---|---|---|
//! | [`restarts`] | the process (SIGKILL) | half-written files, sockets and temporary files left over |
//! | [`power`], [`disk`] | the machine, and what its disk had not been asked to keep | files that were renamed before they were written, lost journals |
//! | [`state`] | | what must be found in the state directory afterwards |

pub mod disk;
pub mod power;
pub mod restarts;
pub mod state;
