//! How many instructions the steps of a request take, and how many they may: `cargo bench` fails beyond that.
//!
//! The limits leave a sixth of room, for other compilers, processors and seeds of hashes. Whoever makes a step
//! cheaper lowers its limit.
//!
//! ```sh
//! apt-get install valgrind && cargo install gungraun-runner --version 0.20.0
//! cargo bench -p benches --bench instructions
//! ```
#![expect(
    missing_docs,
    unused_qualifications,
    clippy::exit,
    reason = "the macros of gungraun"
)]
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use nuthatch::clock::Clock;
use nuthatch::config::Config;
use nuthatch::flags::Flags;
use nuthatch::insight::Advisor;
use nuthatch::telemetry::LogLevel;
use nuthatch::{Shared, Worker, connection};
use nuthatch_protocol::{Decoded, RequestDecoder};
use nuthatch_store::{
    Access, Arithmetic, Config as StoreConfig, Expiry, Lookup, NamespaceId, NewItem, NewValue,
    Sampler, Store, StoreOutcome, Time, Use,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};

const NOW: Time = Time::from_millis(0);
const KEYS: [&[u8]; 3] = [b"a-key-of-usual-length", b"another", b"counter"];

/// At most so many instructions.
fn limit(instructions: u64) -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config
        .tool(Callgrind::with_args(["cache-sim=no"]).hard_limits([(EventKind::Ir, instructions)]));
    config
}

fn item(value: &[u8]) -> NewItem<'_> {
    NewItem {
        client_flags: 0,
        expiry: Expiry::Never,
        value: NewValue::Copied(value),
    }
}

fn store() -> Store {
    let store = Store::new(&StoreConfig::default());
    for key in KEYS {
        let _ = store.set(key, item(&[b'v'; 100]), NOW);
    }
    let _ = store.set(b"counter", item(b"12345"), NOW);
    store
}

/// Nothing is counted of what is only done once.
fn decoded_before(line: &'static [u8]) -> &'static [u8] {
    black_box(RequestDecoder::new().decode(line));
    line
}

#[library_benchmark(setup = decoded_before)]
#[bench::get(args = (b"get a-key-of-usual-length\r\n"), config = limit(280))]
#[bench::set(args = (b"set a-key-of-usual-length 0 300 100\r\n"), config = limit(790))]
#[bench::incr(args = (b"incr a-key-of-usual-length 1\r\n"), config = limit(505))]
fn decode(line: &[u8]) -> bool {
    let decoded = RequestDecoder::new().decode(black_box(line));
    matches!(black_box(decoded), Decoded::Request { .. })
}

#[library_benchmark(config = limit(430))]
#[bench::hit(setup = store)]
fn store_get(store: Store) -> (Store, bool) {
    let hit = store.get(black_box(b"another"), NOW, |hit| hit.value.as_slice().len());
    (store, matches!(hit, Lookup::Hit(100)))
}

/// Tells an advisor what it is told, and which key was one that may be followed.
#[derive(Debug)]
struct Watched {
    advisor: Advisor,
    followed: AtomicU64,
}

impl Sampler for Watched {
    fn follows(&self, hash: u64, used: Use) -> bool {
        self.followed.fetch_add(1, Ordering::Relaxed);
        self.advisor.follows(hash, used)
    }

    fn note(&self, access: Access) {
        self.advisor.note(access);
    }

    fn flushed(&self, namespace: Option<NamespaceId>) {
        self.advisor.flushed(namespace);
    }
}

/// A store with an advisor, and keys in it that are sampled, or none that is.
fn advised(is_sampled: bool) -> (Store, Vec<[u8; 4]>) {
    let watched = Arc::new(Watched {
        advisor: Advisor::new(64 << 20),
        followed: AtomicU64::new(0),
    });
    let sampler: Arc<dyn Sampler> = Arc::<Watched>::clone(&watched);
    let store = Store::new(&StoreConfig {
        sampler: Some(sampler),
        ..StoreConfig::default()
    });
    let followed = || watched.followed.load(Ordering::Relaxed);
    let keys = (0..u32::MAX).map(u32::to_be_bytes).filter(|key| {
        let before = followed();
        let _ = store.set(key, item(&[b'v'; 100]), NOW);
        (followed() > before) == is_sampled
    });
    let keys: Vec<_> = keys.take(ADVISED_KEYS).collect();
    // Told of what there is.
    watched.advisor.reset();
    (store, keys)
}

/// As many as two batches for each list of what is told.
const ADVISED_KEYS: usize = 2_048;

#[library_benchmark(setup = advised)]
#[bench::unsampled(args = (false), config = limit(710_000))]
#[bench::sampled(args = (true), config = limit(910_000))]
fn advised_get((store, keys): (Store, Vec<[u8; 4]>)) -> (Store, usize) {
    let hits = keys.iter().filter(|key| {
        let hit = store.get(key.as_slice(), NOW, |hit| hit.value.as_slice().len());
        matches!(hit, Lookup::Hit(100))
    });
    let count = hits.count();
    (store, count)
}

#[library_benchmark(setup = advised)]
#[bench::unsampled(args = (false), config = limit(2_590_000))]
#[bench::sampled(args = (true), config = limit(3_760_000))]
fn advised_set((store, keys): (Store, Vec<[u8; 4]>)) -> Store {
    for key in &keys {
        let _ = store.set(key, item(&[b'w'; 100]), NOW);
    }
    store
}

#[library_benchmark(config = limit(1_300))]
#[bench::overwrite(setup = store)]
fn store_set(store: Store) -> (Store, bool) {
    let stored = store.set(black_box(b"another"), item(&[b'w'; 100]), NOW);
    (store, matches!(stored, StoreOutcome::Stored { .. }))
}

#[library_benchmark(config = limit(910))]
#[bench::incr(setup = store)]
fn store_incr(store: Store) -> (Store, bool) {
    let changed = store.incr(black_box(b"counter"), 1, NOW);
    (
        store,
        matches!(changed, Arithmetic::Number { value: 12_346, .. }),
    )
}

/// A worker whose store holds the keys, and requests that a client will have sent.
struct Served {
    worker: Worker,
    runtime: Runtime,
    requests: Vec<u8>,
}

/// Requests in one batch. Gets name a key each: that some of them are sampled costs little, that the only one is costs a
/// third.
const PIPELINE: usize = 50;

/// What is sent: words before a key, what follows it, and how many keys there are.
type Pipeline<'a> = (&'a str, &'a str, usize);

fn pipeline((words, rest, keys): Pipeline<'_>) -> Vec<u8> {
    let lines = (0..PIPELINE).map(|line| format!("{words}{}{rest}\r\n", 10 + line % keys));
    lines.collect::<String>().into()
}

fn served(sent: Pipeline<'_>) -> Served {
    let flags = Flags::try_parse_from(["nuthatch", "-m", "64"]).expect("these are flags");
    let config = Config::from_flags(&flags).expect("these values are good");
    let shared = Shared::new(&config, Clock::manual(), LogLevel::default());
    let served = Served {
        worker: Worker::new(shared),
        runtime: Builder::new_current_thread().build().expect("threads"),
        requests: [
            pipeline((
                "set item",
                &format!(" 0 0 100\r\n{}", "v".repeat(100)),
                PIPELINE,
            )),
            pipeline(("set counter", " 0 0 5\r\n12345", PIPELINE)),
        ]
        .concat(),
    };
    answer(&served);
    Served {
        requests: pipeline(sent),
        ..served
    }
}

/// Lets a connection answer what the client has sent.
fn answer(served: &Served) -> Vec<u8> {
    served.runtime.block_on(async {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(&served.requests).await.expect("a pipe");
        client.shutdown().await.expect("a pipe");
        connection::serve(server, &served.worker).await;
        let mut answers = Vec::with_capacity(1 << 16);
        client.read_to_end(&mut answers).await.expect("a pipe");
        answers
    })
}

#[library_benchmark]
#[bench::get(args = (("get item", "", PIPELINE)), setup = served, config = limit(110_000))]
#[bench::incr(args = (("incr counter", " 1", PIPELINE)), setup = served, config = limit(120_000))]
#[bench::incr_one(args = (("incr counter", " 1", 1)), setup = served, config = limit(53_000))]
fn answer_50(served: Served) -> (Served, Vec<u8>) {
    let answers = answer(&served);
    (served, answers)
}

library_benchmark_group!(
    name = steps,
    benchmarks = [
        decode,
        store_get,
        store_set,
        store_incr,
        advised_get,
        advised_set,
        answer_50
    ]
);
main!(library_benchmark_groups = steps);
