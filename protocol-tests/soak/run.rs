//! A whole run: connects, lets all connections play, and compares the server before, during and
//! after.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::player::Player;
use crate::random::Random;
use crate::request::Target;
use crate::server::{Server, Stats};
use crate::session::{self, Session, WrongAnswer};
use crate::shared::{self, SharedNumber};
use crate::slot::Eviction;
use crate::working_set;

const THREAD_COUNT: usize = 4;

/// How often the server's own numbers are read during the run.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// How long the server may take to notice that its clients are gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What happened, for people to read.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) elapsed: Duration,
    pub(crate) operations: usize,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) keys: usize,
    /// `curr_connections` before, at most, and after.
    pub(crate) connections: [u64; 3],
    /// Open files of the process before and after, if its pid is known.
    pub(crate) open_files: Option<[usize; 2]>,
    pub(crate) resident: Option<String>,
    /// The most that `bytes` was.
    pub(crate) bytes_max: u64,
    /// `limit_maxbytes`.
    pub(crate) limit: u64,
    /// `curr_items` after the run.
    pub(crate) items: u64,
    pub(crate) wrong_answers: Vec<WrongAnswer>,
    /// What is wrong with the server's own numbers.
    pub(crate) wrong_numbers: Vec<String>,
}

impl Report {
    fn check(&mut self, right: bool, complaint: impl FnOnce() -> String) {
        if !right {
            self.wrong_numbers.push(complaint());
        }
    }
}

/// Runs the soak.
///
/// # Errors
/// The server cannot be reached or prepared. What goes wrong later is in the report.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Report> {
    let mut server = Server::open(arguments.address, arguments.pid)?;
    let mut report = Report::default();
    let before = server.stats()?;
    // Now that an answer proves that the control connection itself is open at the server.
    let open_files = server.open_files()?;
    let [connections, _, _] = &mut report.connections;
    *connections = before.number("curr_connections")?;
    report.limit = before.number("limit_maxbytes")?;
    server.prepare()?;

    let mut sessions = open_sessions(arguments, report.limit)?;
    report.keys = sessions
        .iter()
        .map(|session| session.player.slots.len())
        .sum();
    let started = now();
    let watched = play(&mut sessions, &mut server, &mut report);
    report.elapsed = now() - started;
    tally(&mut sessions, &mut report);
    // A server that died is reported with the wrong answers that this caused.
    let compared = watched
        .and_then(|()| {
            compare(
                arguments.eviction(),
                &sessions,
                &before,
                &mut server,
                &mut report,
            )
        })
        .and_then(|()| {
            drop(sessions);
            check_closed(&mut server, open_files, &mut report)
        });
    if let Err(error) = compared {
        let complaint = format!("the control connection failed: {error}");
        report.wrong_numbers.push(complaint);
    }
    Ok(report)
}

fn open_sessions(arguments: &Arguments, limit: u64) -> io::Result<Vec<Session>> {
    let limit = arguments.memory_limit_mib.map_or(limit, |mib| mib << 20);
    let limit = usize::try_from(limit).map_err(io::Error::other)?;
    // Values have half of their full length on average, so that this is at most an eighth of the
    // memory, or else about four times of it.
    let full_len = match arguments.eviction() {
        Eviction::Excluded => limit / 4,
        Eviction::Possible => limit.saturating_mul(8),
    };
    let count = arguments.connections;
    let mut random = Random::new(arguments.seed, usize::MAX);
    let hands = working_set::deal(count, full_len, &mut random);
    let open = |(index, slots)| {
        let player = Player::new(index, arguments.seed, slots, arguments.eviction());
        // The first ones take what cannot be divided evenly.
        let share =
            arguments.operations / count + usize::from(index < arguments.operations % count);
        Session::open(arguments.address, player, share)
    };
    hands.into_iter().enumerate().map(open).collect()
}

/// Lets the sessions play, and watches the server meanwhile.
fn play(sessions: &mut [Session], server: &mut Server, report: &mut Report) -> io::Result<()> {
    let [before, _, _] = report.connections;
    let wanted = before + sessions.len() as u64;
    let part_len = sessions.len().div_ceil(THREAD_COUNT);
    // Each thread has an end of it, and nobody ever sends: it is closed when the last of them has finished.
    let (playing, finished) = mpsc::channel::<Infallible>();
    thread::scope(|scope| {
        for part in sessions.chunks_mut(part_len) {
            let playing = playing.clone();
            scope.spawn(move || {
                session::play(part);
                drop(playing);
            });
        }
        drop(playing);
        let mut is_finished = false;
        loop {
            let stats = server.stats()?;
            let [_, most, _] = &mut report.connections;
            *most = stats.number("curr_connections")?.max(*most);
            report.bytes_max = stats.number("bytes")?.max(report.bytes_max);
            if is_finished {
                break;
            }
            let waited = finished.recv_timeout(SAMPLE_INTERVAL);
            is_finished = matches!(waited, Err(RecvTimeoutError::Disconnected));
        }
        io::Result::Ok(())
    })?;
    let [_, most, _] = report.connections;
    let (bytes, limit) = (report.bytes_max, report.limit);
    report.check(most == wanted, || {
        format!("curr_connections is {most}, not {wanted}")
    });
    report.check(bytes <= limit, || {
        format!("bytes {bytes} is above limit_maxbytes {limit}")
    });
    Ok(())
}

fn tally(sessions: &mut [Session], report: &mut Report) {
    for session in sessions {
        report.operations += session.operations;
        report.hits += session.player.hits;
        report.misses += session.player.misses;
        report.wrong_answers.extend(session.wrong.take());
    }
}

/// Compares the server after the run with what it was before and with what was done to it.
fn compare(
    eviction: Eviction,
    sessions: &[Session],
    before: &Stats,
    server: &mut Server,
    report: &mut Report,
) -> io::Result<()> {
    let after = server.stats()?;
    report.resident = server.resident()?;
    report.items = after.number("curr_items")?;
    report.evictions = after
        .number("evictions")?
        .saturating_sub(before.number("evictions")?);
    if !report.wrong_answers.is_empty() {
        // What the broken sessions did is not known.
        return Ok(());
    }
    if eviction == Eviction::Excluded {
        check_sums(sessions, server, report)?;
    }
    let live = sessions.iter().map(|session| session.player.live());
    let live = live.fold((0, 0), |sum, live| (sum.0 + live.0, sum.1 + live.1));
    let flushed = before.number("curr_items")?;
    check_items(live, flushed, after.number("bytes")?, eviction, report);
    Ok(())
}

/// Compares the shared numbers with what all connections together added to them.
fn check_sums(sessions: &[Session], server: &mut Server, report: &mut Report) -> io::Result<()> {
    for target in shared::targets() {
        let added = |session: &Session| match target {
            Target::Counter(index) => session.player.counters.get(index).map(SharedNumber::added),
            Target::Ticket(index) => session.player.tickets.get(index).map(SharedNumber::added),
            Target::Board(_) | Target::Own(_) | Target::Missing(_) => None,
        };
        let Some(sum) = sessions.iter().map(added).sum::<Option<u64>>() else {
            continue;
        };
        let number = server.number(target)?;
        let key = shared::key(target);
        report.check(number == sum, || {
            format!("{} is {number}, but {sum} was added", key.escape_ascii())
        });
    }
    Ok(())
}

/// Compares the numbers of items and bytes with what must be there and what can be there.
fn check_items(
    (live_items, live_bytes): (u64, u64),
    flushed_items: u64,
    bytes: u64,
    eviction: Eviction,
    report: &mut Report,
) {
    let shared = shared::targets().count() as u64;
    // Flushed and expired items may still count.
    let most = report.keys as u64 + shared + flushed_items;
    let (items, evictions) = (report.items, report.evictions);
    report.check(items <= most, || {
        format!("curr_items {items} is above {most}")
    });
    match eviction {
        Eviction::Possible => {
            report.check(evictions > 0, || "nothing was evicted".to_owned());
        }
        Eviction::Excluded => {
            let least = live_items + shared;
            report.check(items >= least, || {
                format!("curr_items {items} is below {least}")
            });
            report.check(bytes >= live_bytes, || {
                format!("bytes {bytes} is below the {live_bytes} of keys and values")
            });
            report.check(evictions == 0, || {
                format!("{evictions} evictions, although the data fits in the memory")
            });
        }
    }
}

/// Waits until the server has closed what its clients closed.
fn check_closed(
    server: &mut Server,
    open_files: Option<usize>,
    report: &mut Report,
) -> io::Result<()> {
    let deadline = now() + CLOSE_TIMEOUT;
    let [before, _, _] = report.connections;
    loop {
        let connections = server.stats()?.number("curr_connections")?;
        let files = server.open_files()?;
        let closed = connections == before && files <= open_files;
        if closed || now() >= deadline {
            let [_, _, after] = &mut report.connections;
            *after = connections;
            report.open_files = open_files.zip(files).map(<[usize; 2]>::from);
            report.check(closed, || {
                format!(
                    "after closing, curr_connections is {connections} and not {before}, \
                     open files are {files:?} and not {open_files:?}"
                )
            });
            return Ok(());
        }
        thread::sleep(SAMPLE_INTERVAL);
    }
}

#[expect(clippy::disallowed_methods, reason = "the soak measures its own time")]
fn now() -> Instant {
    Instant::now()
}
