//! What threads cost each other in the store: the same work by one thread and by more, and what that says of
//! machines with more processors than this one.
//!
//! With N threads a store does N / (1 + s(N - 1)) times the work of one (Amdahl's law), where s is the share of the
//! work that only one can do at a time: waiting for locks and for cache lines that others have written. It is
//! told from the runs with one thread and with all processors.

use std::error::Error;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use benches::report::{Options, Report, median};
use clap::Parser;
use nuthatch_store::{Config, Expiry, NewItem, NewValue, Store, Time};

const NOW: Time = Time::from_millis(0);

/// Operations between two looks at whether time is up.
const OPERATIONS: u64 = 1000;

/// Machines that are asked about.
const PROCESSORS: [u32; 3] = [8, 32, 64];

#[derive(Debug, Parser)]
struct Arguments {
    /// Items in the store.
    #[arg(long, default_value_t = 1_000_000)]
    items: u64,
    /// Megabytes of the store: it has a shard for each four.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 4096])]
    memory: Vec<u64>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each measurement is, in milliseconds.
    #[arg(long, default_value_t = 300)]
    millis: u64,
    #[command(flatten)]
    options: Options,
}

/// What each thread does all the time.
#[derive(Clone, Copy, Debug)]
enum Work {
    Get,
    GetOne,
    Set,
}

impl Work {
    const ALL: [(&'static str, Self); 3] = [
        ("get, any key", Self::Get),
        ("get, one key", Self::GetOne),
        ("set, any key", Self::Set),
    ];

    fn run(self, store: &Store, number: u64) {
        match self {
            Self::Get => get(store, number),
            Self::GetOne => get(store, 0),
            Self::Set => set(store, number),
        }
    }
}

fn get(store: &Store, number: u64) {
    let _ = black_box(store.get(&number.to_be_bytes(), NOW, |hit| hit.value.as_slice().len()));
}

fn set(store: &Store, number: u64) {
    let item = NewItem {
        client_flags: 0,
        expiry: Expiry::Never,
        value: NewValue::Copied(&[b'v'; 40]),
    };
    let _ = black_box(store.set(&number.to_be_bytes(), item, NOW));
}

/// Operations in a second by so many threads.
#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn rate(store: &Store, work: Work, threads: u32, items: u64, duration: Duration) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Barrier::new(threads as usize + 1);
    let (stop, start) = (&stop, &start);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|seed| {
                scope.spawn(move || {
                    let mut state = u64::from(seed);
                    let mut done = 0;
                    start.wait();
                    while !stop.load(Ordering::Relaxed) {
                        for _ in 0..OPERATIONS {
                            state = state
                                .wrapping_mul(6_364_136_223_846_793_005)
                                .wrapping_add(1_442_695_040_888_963_407);
                            work.run(store, (state >> 33) % items);
                        }
                        done += OPERATIONS;
                    }
                    done
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let done: u64 = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_default())
            .sum();
        float(done) / begin.elapsed().as_secs_f64()
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn float(count: u64) -> f64 {
    count as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = Arguments::parse();
    if arguments.options.quick {
        (arguments.items, arguments.rounds, arguments.millis) = (1000, 1, 5);
    }
    let threads = u32::try_from(thread::available_parallelism()?.get())?;
    let mut report = Report::new("scaling", &arguments.options);
    let duration = Duration::from_millis(arguments.millis);
    for memory in arguments.memory {
        let store = Store::new(&Config {
            memory_limit_bytes: memory << 20,
            ..Config::default()
        });
        for number in 0..arguments.items {
            set(&store, number);
        }
        report.line(format_args!(
            "-m {memory}: {} shards, medians of {} rounds of {duration:?}",
            store.snapshot().shard_count,
            arguments.rounds
        ));
        for (name, work) in Work::ALL {
            let measure = |threads| {
                let rates = (0..arguments.rounds)
                    .map(|_| rate(&store, work, threads, arguments.items, duration));
                median(rates)
            };
            let (one, all) = (measure(1), measure(threads));
            let speedup = all / one;
            let n = f64::from(threads);
            let serial = ((n / speedup - 1.0) / (n - 1.0)).max(0.0);
            let expected = PROCESSORS.map(|n| {
                let n = f64::from(n);
                format!("{:.1}x with {n}", n / (1.0 + serial * (n - 1.0)))
            });
            report.line(format_args!(
                "  {name}: {:.2} M/s with 1 thread, {speedup:.2}x with {threads}, serial share {serial:.3}: {}",
                one / 1e6,
                expected.join(", ")
            ));
        }
    }
    Ok(report.save()?)
}
