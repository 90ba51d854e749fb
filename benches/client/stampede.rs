//! What callers wait when an entry that all of them want is no longer fresh: `get_or_refresh` of several processes,
//! beside a plain `get` of as many, which is what the machine can do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use benches::daemon::Program;
use benches::report::{Options, Report};
use nuthatch_client::{Client, Policy, Source};
use nuthatch_load::Outcome;
use tokio::runtime::Builder;

use crate::Failure;
use crate::contender::connect;

/// How long after the last time an entry is asked for again: it was fresh for one second, which servers round.
const ROUND: Duration = Duration::from_millis(2200);

/// The time between two entries.
const TICK: Duration = Duration::from_millis(50);

/// Until all processes are there.
const START: Duration = Duration::from_secs(1);

const LOAD: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Processes that want the same entry, and as many with plain gets.
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Callers in each of them.
    #[arg(long, default_value_t = 50)]
    callers: usize,
    /// How often they do.
    #[arg(long, default_value_t = 200)]
    expiries: u32,
    /// Be one of these processes, with this daemon.
    #[arg(long, hide = true)]
    join: Option<SocketAddr>,
    /// When it begins, in milliseconds since 1970.
    #[arg(long, hide = true, default_value_t = 0)]
    begin: u64,
    /// Plain gets.
    #[arg(long, hide = true)]
    plain: bool,
}

impl Arguments {
    pub(crate) fn is_process(&self) -> bool {
        self.join.is_some()
    }

    /// Entries that have their turns.
    fn keys() -> u32 {
        u32::try_from(ROUND.as_millis() / TICK.as_millis()).unwrap_or(1)
    }
}

pub(crate) fn measure(
    arguments: &Arguments,
    options: &Options,
    program: &Program,
    report: &mut Report,
) -> Result<(), Failure> {
    let expiries = if options.quick { 2 } else { arguments.expiries };
    let daemon = program.start(64)?;
    report.line(format_args!(
        "{} processes with {} callers each want the same entry, {expiries} times one that is no longer fresh; loads take {LOAD:?}",
        arguments.processes, arguments.callers
    ));
    for plain in [false, true] {
        let (outcome, loads) = together(arguments, daemon.address(), expiries, plain)?;
        let name = if plain {
            "get"
        } else {
            "get_or_refresh, stale"
        };
        let mut line = format!("{name:<23}{} calls", outcome.operations);
        for percent in [50.0, 99.0, 99.9, 100.0] {
            write!(line, ", p{percent} {:.0} us", outcome.percentile(percent))?;
        }
        if !plain {
            write!(line, ", {loads} loads")?;
        }
        report.line(line);
    }
    Ok(())
}

/// What the processes tell: the latencies of calls that count, and how many loads there were in the rounds that count.
#[expect(clippy::disallowed_methods, reason = "this measures time")]
fn together(
    arguments: &Arguments,
    daemon: SocketAddr,
    expiries: u32,
    plain: bool,
) -> Result<(Outcome, usize), Failure> {
    let begin = SystemTime::now() + START;
    let begin = begin.duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let spawn = || {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--join", &daemon.to_string()])
            .args(["--begin", &begin.to_string()])
            .args(["--callers", &arguments.callers.to_string()])
            .args(["--expiries", &expiries.to_string()])
            .stdout(Stdio::piped());
        if plain {
            command.arg("--plain");
        }
        command.spawn()
    };
    let processes: Vec<_> = (0..arguments.processes)
        .map(|_| spawn())
        .collect::<Result<_, _>>()?;
    let (mut outcome, mut loads) = (Outcome::new()?, 0);
    for process in processes {
        let output = process.wait_with_output()?;
        if !output.status.success() {
            return Err("a process failed".into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            match line.split_once(' ') {
                Some(("nanos", nanos)) => outcome.record(Duration::from_nanos(nanos.parse()?)),
                Some(("loads", count)) => loads += count.parse::<usize>()?,
                _ => return Err(format!("a process said {line}").into()),
            }
        }
    }
    Ok((outcome, loads))
}

/// One of the processes.
#[expect(clippy::disallowed_methods, reason = "this measures time")]
pub(crate) fn process(arguments: &Arguments) -> Result<(), Failure> {
    let daemon = arguments.join.ok_or("no daemon")?;
    let begin = SystemTime::UNIX_EPOCH + Duration::from_millis(arguments.begin);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (latencies, loads) = runtime.block_on(async {
        let client = connect(&[daemon]).await?;
        let wait = begin.duration_since(SystemTime::now()).unwrap_or_default();
        bursts(arguments, &client, Instant::now() + wait).await
    })?;
    let mut text = format!("loads {loads}\n");
    for latency in latencies {
        writeln!(text, "nanos {}", latency.as_nanos())?;
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// All callers at once, again and again: first a round that loads every entry, then those that count.
async fn bursts(
    arguments: &Arguments,
    client: &Client,
    begin: Instant,
) -> Result<(Vec<Duration>, usize), Failure> {
    let loads = Arc::new(AtomicUsize::new(0));
    let (mut latencies, mut loads_before) = (Vec::new(), 0);
    for tick in 0..Arguments::keys() + arguments.expiries {
        let counts = tick >= Arguments::keys();
        if tick == Arguments::keys() {
            loads_before = loads.load(Ordering::Relaxed);
        }
        tokio::time::sleep_until((begin + TICK * tick).into()).await;
        let key: Arc<str> = format!("entry:{}", tick % Arguments::keys()).into();
        let calls: Vec<_> = (0..arguments.callers)
            .map(|_| {
                let (client, key, loads) = (client.clone(), Arc::clone(&key), Arc::clone(&loads));
                tokio::spawn(call(client, key, arguments.plain, loads))
            })
            .collect();
        for call in calls {
            latencies.extend(call.await??.filter(|_| counts));
        }
    }
    // Those of the last entries may still be under way.
    tokio::time::sleep(TICK + LOAD).await;
    Ok((latencies, loads.load(Ordering::Relaxed) - loads_before))
}

/// How long it took, unless it had to wait for a load.
#[expect(clippy::disallowed_methods, reason = "this measures time")]
async fn call(
    client: Client,
    key: Arc<str>,
    plain: bool,
    loads: Arc<AtomicUsize>,
) -> Result<Option<Duration>, Failure> {
    let asked = Instant::now();
    if plain {
        client.get::<String>(&*key).await?;
        return Ok(Some(asked.elapsed()));
    }
    let policy = Policy::fresh_for(Duration::from_secs(1)).grace(Duration::from_mins(10));
    let load = async move |_| {
        loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(LOAD).await;
        Ok::<_, Failure>(Some("value".to_owned()))
    };
    let fetched = client.get_or_refresh(&*key, &policy, load).await?;
    Ok((fetched.source == Source::Stale).then(|| asked.elapsed()))
}
