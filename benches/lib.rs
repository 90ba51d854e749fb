//! What the benchmarks have in common. `cargo bench -p benches` runs them; each is a file or directory
//! of its own, and `benches/README.md` says what each shows.

pub mod daemon;
pub mod plot;
pub mod processors;
pub mod report;
