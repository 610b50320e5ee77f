//! Tasks of development that are too long or too special for `cargo test`.
#![forbid(unsafe_code)]

fn main() {}
