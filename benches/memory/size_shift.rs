//! What becomes of the memory limit when the sizes of items change: each phase stores two and a half
//! times the limit under new keys.

use std::error::Error;
use std::io;

use benches::daemon::{Connection, Daemon, Program};
use benches::plot::{Kind, Plot};
use benches::report::Report;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// A phase's name, and its values' lengths: between the two, each magnitude as often as the next.
const PHASES: [(&str, u64, u64); 8] = [
    ("100 B", 100, 100),
    ("1,000 B", 1000, 1000),
    ("10 B - 10 KB", 10, 10_000),
    ("100 B", 100, 100),
    ("64 KB", 64_000, 64_000),
    ("1 KB - 1 MB", 1000, 1_000_000),
    ("550 B", 550, 550),
    ("700 B", 700, 700),
];

const SEED: u64 = 1;

/// Bytes sent before their answers are read.
const BATCH_LEN: usize = 128 << 10;

/// The newest items of a phase, up to such a part of the memory, should still be there at its end.
const NEWEST_PART: u64 = 5;

/// One in so many of them is asked for: to ask is to use, and what was used is kept longer.
const SAMPLED_PART: u64 = 20;

/// Keys of one multiget, few enough that their values may be large.
const ASKED_LEN: usize = 16;

/// How a phase went.
#[derive(Debug, Default)]
struct Phase {
    resident_max: u64,
    refused: u64,
    /// A sample of the newest keys, and the bytes of their items.
    newest: Vec<(String, u64)>,
}

/// Runs all phases through each daemon.
pub(crate) fn measure(
    programs: &[Program],
    memory_mib: u64,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let bound = memory_mib * 108 / 100 + 32;
    report.line(format_args!(
        "\n-m {memory_mib}, {} MiB stored in each phase; highest RSS in MiB (1.08 x -m + 32 MiB: {bound}), \
         stores refused, part of the newest {} MiB that is there",
        memory_mib * 5 / 2,
        memory_mib / NEWEST_PART,
    ));
    let mut series = Vec::new();
    for program in programs {
        let daemon = program.start(memory_mib)?;
        let mut connection = daemon.connect()?;
        let mut random = SmallRng::seed_from_u64(SEED);
        let mut highest = Vec::new();
        for (number, (name, low, high)) in PHASES.iter().enumerate() {
            let mut next = || length(&mut random, *low, *high);
            let phase = store(&daemon, &mut connection, (number, memory_mib), &mut next)?;
            let alive = alive(&mut connection, &phase)?;
            let resident = phase.resident_max >> 20;
            report.line(format_args!(
                "{:>10}  {name:<13} {resident:>6} {:>4} {alive:>6.1} %",
                program.name, phase.refused
            ));
            highest
                .push(f64::from(u32::try_from(resident)?) / f64::from(u32::try_from(memory_mib)?));
        }
        series.push((program.name.to_owned(), highest));
    }
    if let Some(path) = report.plot_path(&format!("-size-shift-{memory_mib}")) {
        let plot = Plot {
            kind: Kind::Lines,
            title: &format!("Highest RSS while the sizes of items change, -m {memory_mib}"),
            unit: "RSS / -m",
            groups: &PHASES.map(|(name, ..)| name.to_owned()),
            series: &series,
        };
        plot.save(&path)?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths are positive and small"
)]
fn length(random: &mut SmallRng, low: u64, high: u64) -> usize {
    let magnitude = random.random_range((low as f64).ln()..=(high as f64).ln());
    magnitude.exp().round() as usize
}

fn store(
    daemon: &Daemon,
    connection: &mut Connection,
    (number, memory_mib): (usize, u64),
    next_len: &mut dyn FnMut() -> usize,
) -> io::Result<Phase> {
    let mut phase = Phase::default();
    let memory = memory_mib << 20;
    let (total, newest) = (memory / 2 * 5, memory / NEWEST_PART);
    let (mut stored, mut item) = (0, 0u64);
    let mut line = Vec::new();
    while stored < total {
        let (mut batch, mut answers) = (Vec::new(), 0);
        while batch.len() < BATCH_LEN && stored < total {
            let (key, value_len) = (format!("phase-{number}-{item:020}"), next_len());
            item += 1;
            batch.extend_from_slice(format!("set {key} 0 0 {value_len}\r\n").as_bytes());
            batch.resize(batch.len() + value_len, b'v');
            batch.extend_from_slice(b"\r\n");
            answers += 1;
            let bytes = (key.len() + value_len) as u64;
            stored += bytes;
            if stored + newest >= total && item.is_multiple_of(SAMPLED_PART) {
                phase.newest.push((key, bytes));
            }
        }
        connection.send(&batch)?;
        for _ in 0..answers {
            phase.refused += u64::from(connection.line(&mut line)? != b"STORED");
        }
        let [resident, _] = daemon.resident()?;
        phase.resident_max = phase.resident_max.max(resident);
    }
    Ok(phase)
}

/// How many percent of the newest bytes are still there.
fn alive(connection: &mut Connection, phase: &Phase) -> Result<f64, Box<dyn Error>> {
    let (mut alive, mut all) = (0, 0);
    for asked in phase.newest.chunks(ASKED_LEN) {
        let mut request = "get".to_owned();
        for (key, bytes) in asked {
            request.push(' ');
            request.push_str(key);
            all += bytes;
        }
        request.push_str("\r\n");
        connection.send(request.as_bytes())?;
        connection.hits(|hit| {
            let bytes = asked.iter().find(|(key, _)| key.as_bytes() == hit);
            alive += bytes.map_or(0, |(_, bytes)| *bytes);
        })?;
    }
    Ok(f64::from(u32::try_from(alive * 1000 / all.max(1))?) / 10.0)
}
