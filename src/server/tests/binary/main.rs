//! The binary as an operator meets it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod command_line;
mod configuration;
mod conversion;
mod daemon;
mod descriptors;
mod flag_table;
mod program;
mod restart;
mod systemd;
