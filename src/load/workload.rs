//! [`Workload`]: which requests are sent, and how.

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use std::fmt;
use std::str::FromStr;

/// Most connections, requests in a row, and keys in one of them.
const CONNECTIONS_MAX: u64 = 10_000;
const PIPELINE_MAX: u64 = 10_000;
const MULTIGET_MAX: u64 = 1000;

/// Longest value: the largest item that a server can be told to take.
const VALUE_LEN_MAX: usize = 1 << 30;

fn up_to(max: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=max)
}

/// Lengths of values: all the same, or evenly spread from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    min: usize,
    max: usize,
}

impl Lengths {
    /// All values are so long.
    pub const fn all(len: usize) -> Self {
        Self { min: len, max: len }
    }

    /// The longest.
    pub const fn max(self) -> usize {
        self.max
    }

    /// That of the value of a key: always the same.
    pub(crate) fn of(self, number: u32) -> usize {
        const KNUTH: u32 = 2_654_435_761;
        let count = self.max.saturating_sub(self.min).saturating_add(1);
        let mixed = usize::try_from(number.wrapping_mul(KNUTH) >> 7).unwrap_or_default();
        self.min.saturating_add(mixed % count)
    }
}

impl FromStr for Lengths {
    type Err = &'static str;

    /// `LEN` or `MIN-MAX`.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        match (min.parse(), max.parse()) {
            (Ok(min), Ok(max)) if min <= max && max <= VALUE_LEN_MAX => Ok(Self { min, max }),
            _ => Err("LEN or MIN-MAX, up to 1073741824 bytes"),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}-{}", self.min, self.max)
        }
    }
}

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
    #[arg(long, default_value_t = 50, value_parser = up_to(CONNECTIONS_MAX))]
    pub connections: usize,
    /// Connections that send nothing.
    #[arg(long, default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(..=CONNECTIONS_MAX))]
    pub idle: usize,
    /// Requests that a connection sends before it waits for their answers.
    #[arg(long, default_value_t = 1, value_parser = up_to(PIPELINE_MAX))]
    pub pipeline: usize,
    /// Keys of each get.
    #[arg(long, default_value_t = 1, value_parser = up_to(MULTIGET_MAX))]
    pub multiget: usize,
    /// Different keys.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// Bytes of a key.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(10..=250))]
    pub key_len: u16,
    /// Bytes of a value: LEN, or MIN-MAX for values of all lengths between these.
    #[arg(long, value_name = "LEN", default_value_t = Lengths::all(100))]
    pub value_len: Lengths,
    /// How often each key is used.
    #[arg(long, value_enum, default_value_t = Popularity::Uniform)]
    pub popularity: Popularity,
    /// Requests that are due each second, all connections together, whether or not those before them are answered;
    /// without, as many as there are answers.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
}

/// Requests per second.
fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok();
    rate.filter(|rate| (1.0..=1e9).contains(rate))
        .ok_or("a number from 1 to 1000000000")
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
            value_len: Lengths::all(100),
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
            value_len: Lengths::all(1024),
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
                    value_len: Lengths::all(10 * 1024),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_one_or_a_range() {
        let of = |text: &str| text.parse::<Lengths>().ok();
        assert_eq!(of("100"), Some(Lengths::all(100)));
        assert_eq!(of("1-3"), Some(Lengths { min: 1, max: 3 }));
        assert_eq!(of("0-1073741824").map(Lengths::max), Some(1 << 30));
        for wrong in ["", "3-1", "-1", "x", "1-", "0-1073741825"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
        let range = Lengths { min: 1, max: 3 };
        let mut found: Vec<_> = (0..100).map(|number| range.of(number)).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(Lengths::all(7).of(u32::MAX), 7);
    }
}
