//! How long answers take: histograms that one worker fills, from one turn in about [`SAMPLED_TURNS`], and that are told
//! as their sum over the workers.

use crate::chance::Chance;
use crate::counters::add;
use crate::distribution::Distribution;
use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One turn of a worker's connections in so many is measured: that reads the clock twice more.
const SAMPLED_TURNS: u32 = 16;

const NAME: &str = "nuthatch_command_duration_seconds";

const HELP: &str = "How long answers took inside the daemon: from when requests had been read until their answers \
    were handed to the system. Of the reads of a worker, a sample is measured, each with all requests that it \
    brought, under the command of the first; not those whose rest had to be waited for.";

/// The buckets' upper ends, in nanoseconds and as they are told. What takes longer is in a last one without an end.
const BUCKETS: [(u64, &str); 14] = [
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
];

/// What a client asked for. Meta commands count as what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Get,
    Set,
    Delete,
    Arithmetic,
    Touch,
    Other,
}

/// Their names, in the same order.
const COMMANDS: [&str; Command::Other as usize + 1] =
    ["get", "set", "delete", "arithmetic", "touch", "other"];

impl Command {
    /// That of the first of these requests.
    pub(crate) fn of(requests: &[u8]) -> Self {
        let is_end = |byte: &u8| byte.is_ascii_whitespace();
        match requests.split(is_end).next().unwrap_or_default() {
            b"get" | b"gets" | b"mg" => Self::Get,
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" | b"ms" => Self::Set,
            b"delete" | b"md" => Self::Delete,
            b"incr" | b"decr" | b"ma" => Self::Arithmetic,
            b"touch" | b"gat" | b"gats" => Self::Touch,
            _ => Self::Other,
        }
    }
}

/// Bits of a sample for the command; 0 is none.
const COMMAND_BITS: u32 = 3;

/// A measurement that has begun: command and nanoseconds in eight bytes, since every connection has room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample(NonZeroU64);

impl Sample {
    pub(crate) fn begin(command: Command, now: Duration) -> Self {
        let command = NonZeroU64::MIN.saturating_add(command as u64);
        Self(command | nanos(now) << COMMAND_BITS)
    }

    /// The place of the command, and when it began, in nanoseconds.
    fn parts(self) -> (usize, u64) {
        let command = self.0.get() & ((1 << COMMAND_BITS) - 1);
        let command = usize::try_from(command).unwrap_or_default();
        (command.saturating_sub(1), self.0.get() >> COMMAND_BITS)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long the answers of one thread took.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// Which turns are measured.
    pub(crate) chance: Chance<SAMPLED_TURNS>,
    commands: [Cells; COMMANDS.len()],
}

#[derive(Debug, Default)]
struct Cells {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
}

impl Latencies {
    /// The answers have been sent. To be called by that thread alone.
    pub(crate) fn end(&self, sample: Sample, now: Duration) {
        let (command, begun) = sample.parts();
        let nanos = nanos(now).saturating_sub(begun);
        let bucket = BUCKETS.partition_point(|(end, _)| *end < nanos);
        let Some(cells) = self.commands.get(command) else {
            return;
        };
        if let Some(cell) = cells.buckets.get(bucket) {
            add(cell, 1);
            add(&cells.nanos, nanos);
        }
    }
}

/// Sums over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histograms([Histogram; COMMANDS.len()]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Histogram {
    buckets: [u64; BUCKETS.len() + 1],
    nanos: u64,
}

/// What `stats latency` tells, with how many of a thousand took no longer.
const QUANTILES: [(&str, u64); 3] = [("p50_us", 500), ("p99_us", 990), ("p999_us", 999)];

impl Histogram {
    fn count(&self) -> u64 {
        let counts = self.buckets.iter();
        counts.fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The end, in microseconds, of the bucket that so many of a thousand are in or below; for the bucket without
    /// one, that of the one before. 0 of nothing.
    fn quantile(&self, permille: u64) -> u64 {
        let rank = u128::from(self.count()) * u128::from(permille);
        let rank = rank.div_ceil(1000);
        let mut below = 0u128;
        let is_reached = |count: &u64| {
            below = below.saturating_add((*count).into());
            below >= rank
        };
        if rank == 0 {
            return 0;
        }
        let bucket = self.buckets.iter().position(is_reached).unwrap_or_default();
        let end = BUCKETS.get(bucket).or(BUCKETS.last());
        end.map_or(0, |(nanos, _)| nanos / 1000)
    }
}

impl Histograms {
    pub(crate) fn sum<'a>(threads: impl IntoIterator<Item = &'a Latencies>) -> Self {
        let mut sums = Self::default();
        for latencies in threads {
            for (sum, cells) in sums.0.iter_mut().zip(&latencies.commands) {
                for (total, cell) in sum.buckets.iter_mut().zip(&cells.buckets) {
                    *total = total.wrapping_add(cell.load(Ordering::Relaxed));
                }
                let nanos = cells.nanos.load(Ordering::Relaxed);
                sum.nanos = sum.nanos.wrapping_add(nanos);
            }
        }
        sums
    }

    /// For `stats latency`: of each command how many were measured, and within how many microseconds so many of a
    /// thousand were answered, rounded up to the end of a bucket.
    pub(crate) fn stats(&self) -> Vec<(String, u64)> {
        let commands = COMMANDS.iter().zip(&self.0);
        let stats = commands.flat_map(|(command, histogram)| {
            let quantiles = QUANTILES.iter().map(move |(name, permille)| {
                (format!("{command}:{name}"), histogram.quantile(*permille))
            });
            quantiles.chain([(format!("{command}:count"), histogram.count())])
        });
        stats.collect()
    }

    /// Each command's, in seconds.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&'static str, Distribution)> {
        let ends = BUCKETS.map(|(nanos, _)| Duration::from_nanos(nanos).as_secs_f64());
        (COMMANDS.iter().zip(&self.0)).map(move |(command, histogram)| {
            let sum = Duration::from_nanos(histogram.nanos).as_secs_f64();
            (*command, Distribution::new(&ends, &histogram.buckets, sum))
        })
    }

    /// In Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let mut page = format!("# HELP {NAME} {HELP}\n# TYPE {NAME} histogram\n");
        for (command, histogram) in COMMANDS.iter().zip(&self.0) {
            let ends = BUCKETS.iter().map(|(_, end)| *end).chain(["+Inf"]);
            let mut count = 0u64;
            for (end, number) in ends.zip(histogram.buckets) {
                count = count.wrapping_add(number);
                line(
                    &mut page,
                    format_args!("bucket{{command=\"{command}\",le=\"{end}\"}} {count}"),
                );
            }
            let nanos = histogram.nanos;
            let seconds = format_args!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
            line(
                &mut page,
                format_args!("sum{{command=\"{command}\"}} {seconds}"),
            );
            line(
                &mut page,
                format_args!("count{{command=\"{command}\"}} {count}"),
            );
        }
        page
    }
}

fn line(page: &mut String, series: std::fmt::Arguments<'_>) {
    // A string has room for everything.
    let _ = writeln!(page, "{NAME}_{series}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of answers that took so long.
    fn record(latencies: &Latencies, command: Command, took: Duration) {
        let begun = Duration::from_nanos(987_654_321);
        latencies.end(Sample::begin(command, begun), begun + took);
    }

    #[test]
    fn a_sample_keeps_what_it_is_of() {
        for command in [Command::Get, Command::Other] {
            for begun in [0, 1, (1 << (64 - COMMAND_BITS)) - 1] {
                let sample = Sample::begin(command, Duration::from_nanos(begun));
                assert_eq!(sample.parts(), (command as usize, begun));
            }
        }
        assert_eq!(size_of::<Option<Sample>>(), 8);
    }

    #[test]
    fn a_bucket_includes_its_end() {
        let latencies = Latencies::default();
        for (nanos, bucket) in [
            (0, 0),
            (5_000, 0),
            (5_001, 1),
            (100_000_000, 13),
            (100_000_001, 14),
        ] {
            let before = Histograms::sum([&latencies]);
            record(&latencies, Command::Set, Duration::from_nanos(nanos));
            let mut expected = before;
            expected.0[1].buckets[bucket] += 1;
            expected.0[1].nanos += nanos;
            assert_eq!(Histograms::sum([&latencies]), expected, "{nanos}");
        }
    }

    #[test]
    fn ends_are_told_as_they_are() {
        for (nanos, told) in BUCKETS {
            assert_eq!(
                Duration::from_secs_f64(told.parse().unwrap()).as_nanos(),
                nanos.into()
            );
        }
    }

    #[test]
    fn the_page_has_sums_over_threads_and_buckets() {
        let threads = [Latencies::default(), Latencies::default()];
        record(&threads[0], Command::Get, Duration::from_micros(7));
        record(&threads[1], Command::Get, Duration::from_micros(3));
        record(&threads[1], Command::Get, Duration::from_secs(3));
        let page = Histograms::sum(&threads).render();
        let told = |series: &str| page.contains(&format!("\n{NAME}_{series}\n"));
        assert!(told(r#"bucket{command="get",le="0.000005"} 1"#), "{page}");
        assert!(told(r#"bucket{command="get",le="0.00001"} 2"#), "{page}");
        assert!(told(r#"bucket{command="get",le="0.1"} 2"#), "{page}");
        assert!(told(r#"bucket{command="get",le="+Inf"} 3"#), "{page}");
        assert!(told(r#"sum{command="get"} 3.000010000"#), "{page}");
        assert!(told(r#"count{command="get"} 3"#), "{page}");
        assert!(told(r#"count{command="other"} 0"#), "{page}");
    }

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let latencies = Latencies::default();
        let stat = |name: &str| {
            let stats = Histograms::sum([&latencies]).stats();
            stats
                .into_iter()
                .find(|(found, _)| found == name)
                .unwrap()
                .1
        };
        assert_eq!((stat("get:p50_us"), stat("get:count")), (0, 0));
        for _ in 0..99 {
            record(&latencies, Command::Get, Duration::from_micros(7));
        }
        assert_eq!((stat("get:p50_us"), stat("get:p999_us")), (10, 10));
        record(&latencies, Command::Get, Duration::from_micros(400));
        assert_eq!((stat("get:p99_us"), stat("get:p999_us")), (10, 500));
        // Nobody knows how much longer.
        record(&latencies, Command::Touch, Duration::from_secs(9));
        assert_eq!(stat("touch:p50_us"), 100_000);
        assert_eq!((stat("get:count"), stat("touch:count")), (100, 1));
        assert_eq!(stat("set:count"), 0);
    }

    #[test]
    fn a_command_is_the_first_word() {
        for (requests, command) in [
            (b"get a\r\nset b".as_slice(), Command::Get),
            (b"mg a v\r\n", Command::Get),
            (b"gats 0 a\r\n", Command::Touch),
            (b"cas a 0 0 1 1\r\n", Command::Set),
            (b"md a\r\n", Command::Delete),
            (b"ma a\n", Command::Arithmetic),
            (b"mn\r\n", Command::Other),
            (b"getx a\r\n", Command::Other),
            (b"", Command::Other),
        ] {
            assert_eq!(Command::of(requests), command, "{requests:?}");
        }
    }
}
