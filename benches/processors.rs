//! Which processor runs what, for how long, and how much of them others have used.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use nuthatch_load::cpu_time;

use crate::daemon::Daemon;

/// What `/proc/stat` counts in; Linux shows it so on every machine.
const TICK_MILLIS: u64 = 10;

/// A processor for the servers and one for the load.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    server: usize,
    load: usize,
}

impl Processors {
    /// Two of those that this process may use, if there are as many.
    pub fn find() -> Option<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        Some(Self {
            server: cpus.next()?,
            load: cpus.next()?,
        })
    }

    /// Binds the daemon's threads to the one and the calling thread to the other.
    ///
    /// # Errors
    /// The daemon is gone.
    pub fn assign(self, daemon: &Daemon) -> io::Result<()> {
        for task in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
            let thread = task?.file_name().to_string_lossy().parse();
            pin(thread.unwrap_or_default(), self.server)?;
        }
        pin(0, self.load)
    }
}

/// Binds a thread, 0 for the calling one, to a processor.
fn pin(thread: i32, cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(thread), &set)?)
}

/// What others use of the processors while a benchmark runs.
#[derive(Debug)]
pub struct Others {
    since: Instant,
    /// All processors, all processes.
    busy: Duration,
    own: Duration,
}

impl Others {
    /// From now on; `daemons` are the benchmark's own.
    #[expect(clippy::disallowed_methods, reason = "this measures time")]
    pub fn watch(daemons: &[Daemon]) -> Self {
        Self {
            since: Instant::now(),
            busy: busy(),
            own: own(daemons),
        }
    }

    /// How many processors they used since then, on average.
    pub fn processors(&self, daemons: &[Daemon]) -> f64 {
        let own = own(daemons).saturating_sub(self.own);
        let others = busy().saturating_sub(self.busy).saturating_sub(own);
        others.as_secs_f64() / self.since.elapsed().as_secs_f64().max(f64::EPSILON)
    }
}

fn own(daemons: &[Daemon]) -> Duration {
    let daemons = daemons.iter().map(|daemon| cpu_time(Some(daemon.pid())));
    cpu_time(Some(std::process::id())) + daemons.sum::<Duration>()
}

/// Time that processors have worked since the machine was started.
fn busy() -> Duration {
    const IDLE: usize = 3;
    const IO_WAIT: usize = 4;
    const STEAL: usize = 7;
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().unwrap_or_default();
    let ticks = ticks.split_whitespace().skip(1).take(STEAL + 1).enumerate();
    let worked = ticks.filter(|(column, _)| *column != IDLE && *column != IO_WAIT);
    let worked = worked.filter_map(|(_, ticks)| ticks.parse::<u64>().ok());
    Duration::from_millis(worked.sum::<u64>() * TICK_MILLIS)
}
