//! Benchmarks: `cargo bench -p benches`. Each file is one; there is nothing here to call.
