//! [`Workload`]: which requests are sent, and how.

use clap::{Args, ValueEnum};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Asks for one item or several.
    Get,
    /// Stores one.
    Set,
    /// Adds one to a number.
    Incr,
}

/// Which keys are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Popularity {
    /// All the same.
    Uniform,
    /// By Zipf's law with an exponent of 0.99.
    Zipf,
    /// One key alone.
    Hot,
}

/// Requests of one kind.
#[derive(Clone, Debug, Args)]
pub struct Workload {
    /// What a request does.
    #[arg(long, value_enum, default_value_t = Operation::Get)]
    pub operation: Operation,
    /// Of a hundred requests, so many are sets instead.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub set_percent: u32,
    /// Connections that send requests.
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// Connections that send nothing.
    #[arg(long, default_value_t = 0)]
    pub idle: usize,
    /// Requests that a connection sends before it waits for their answers.
    #[arg(long, default_value_t = 1)]
    pub pipeline: usize,
    /// Keys of each get.
    #[arg(long, default_value_t = 1)]
    pub multiget: usize,
    /// Different keys.
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u32,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(10..=250))]
    pub key_len: u16,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    pub value_len: usize,
    /// How often each key is used.
    #[arg(long, value_enum, default_value_t = Popularity::Uniform)]
    pub popularity: Popularity,
    /// Requests that are due each second, all connections together; without, as many as there are answers.
    #[arg(long)]
    pub rate: Option<f64>,
}

impl Default for Workload {
    /// Gets of one item of 100 bytes out of a million, over 50 connections.
    fn default() -> Self {
        Self {
            operation: Operation::Get,
            set_percent: 0,
            connections: 50,
            idle: 0,
            pipeline: 1,
            multiget: 1,
            keys: 1_000_000,
            key_len: 16,
            value_len: 100,
            popularity: Popularity::Uniform,
            rate: None,
        }
    }
}

impl Workload {
    /// The kinds of work that caches are measured by, each with a name.
    pub fn standard() -> Vec<(&'static str, Self)> {
        let gets = Self::default;
        let pipelined = |operation| Self {
            operation,
            connections: 4,
            pipeline: 50,
            ..gets()
        };
        let sets = |operation: Self| Self {
            operation: Operation::Set,
            keys: 100_000,
            value_len: 1024,
            ..operation
        };
        let hot = |operation: Self| Self {
            operation: Operation::Incr,
            keys: 1000,
            popularity: Popularity::Hot,
            ..operation
        };
        vec![
            ("get", gets()),
            (
                "mix",
                Self {
                    set_percent: 10,
                    popularity: Popularity::Zipf,
                    ..gets()
                },
            ),
            ("get_pipelined", pipelined(Operation::Get)),
            (
                "multiget",
                Self {
                    connections: 4,
                    multiget: 100,
                    ..gets()
                },
            ),
            ("set_pipelined", pipelined(Operation::Set)),
            ("set_1k", sets(gets())),
            ("set_1k_pipelined", sets(pipelined(Operation::Set))),
            ("incr", hot(gets())),
            ("incr_pipelined", hot(pipelined(Operation::Incr))),
            (
                "get_10k",
                Self {
                    keys: 20_000,
                    value_len: 10 * 1024,
                    ..gets()
                },
            ),
            (
                "idle",
                Self {
                    idle: 1000,
                    ..gets()
                },
            ),
            (
                "open_loop",
                Self {
                    rate: Some(50_000.0),
                    ..gets()
                },
            ),
        ]
    }
}
