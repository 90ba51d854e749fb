//! The event loop: sends requests when they are due, reads answers, counts both.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::connection::Connection;
use crate::outcome::Outcome;
use crate::requests::{Dialect, Requests};
use crate::workload::Workload;

/// Requests that may wait on one connection when they have a rate; what is due besides is counted as not sent.
const WAITING_MAX: usize = 1024;

/// The system cannot be trusted to wake anybody on time: what is due so soon is waited for awake.
const SPIN_MAX: Duration = Duration::from_millis(2);

/// A server that says nothing for so long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Requests of a preload that wait on each of its connections.
const PRELOAD_PIPELINE: usize = 16;
const PRELOAD_CONNECTIONS: usize = 4;

/// The server that is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub dialect: Dialect,
    /// Its process, if it is on this machine and its processor time is to be known.
    pub pid: Option<u32>,
}

/// How long a run lasts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Requests are sent and not counted for so long first.
    pub warmup: Duration,
    /// And counted for so long.
    pub measured: Duration,
}

/// Stores every key of the workload once.
///
/// # Errors
/// The server is gone, or refuses to store.
pub fn preload(target: Target, workload: &Workload) -> Result<(), Box<dyn Error>> {
    let workload = Workload {
        connections: PRELOAD_CONNECTIONS,
        pipeline: PRELOAD_PIPELINE,
        rate: None,
        ..workload.clone()
    };
    let requests = Requests::storing_all(target.dialect, &workload);
    let mut driver = Driver::new(target, &workload, requests)?;
    while driver.outcome.operations < u64::from(workload.keys) {
        driver.turn(&workload)?;
    }
    let errors = driver.errors();
    if errors > 0 {
        return Err(format!("{errors} errors while storing").into());
    }
    Ok(())
}

/// Sends requests for a while and counts.
///
/// # Errors
/// The server is gone, or has hung.
pub fn run(
    target: Target,
    workload: &Workload,
    window: Window,
    seed: u64,
) -> Result<Outcome, Box<dyn Error>> {
    let idle: Result<Vec<_>, _> = (0..workload.idle)
        .map(|_| std::net::TcpStream::connect(target.address))
        .collect();
    let idle = idle?;
    let requests = Requests::new(target.dialect, workload, seed);
    let mut driver = Driver::new(target, workload, requests)?;
    driver.run_for(workload, window.warmup)?;
    driver.outcome = Outcome::new()?;
    let [hits, errors] = [driver.hits(), driver.errors()];
    let (server, client) = (cpu_time(target.pid), cpu_time(Some(std::process::id())));
    let begin = driver.start.elapsed();
    driver.run_for(workload, window.measured)?;
    let mut outcome = driver.outcome.clone();
    outcome.elapsed = driver.start.elapsed().saturating_sub(begin);
    outcome.server_cpu = cpu_time(target.pid).saturating_sub(server);
    outcome.client_cpu = cpu_time(Some(std::process::id())).saturating_sub(client);
    outcome.hits = driver.hits() - hits;
    outcome.errors = driver.errors() - errors;
    drop(idle);
    Ok(outcome)
}

struct Driver {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    requests: Requests,
    random: SmallRng,
    start: Instant,
    /// When the next request with a rate is due, and who sends it.
    due: Duration,
    sender: usize,
    outcome: Outcome,
    buffer: Vec<u8>,
}

impl Driver {
    #[expect(clippy::disallowed_methods, reason = "this measures time")]
    fn new(
        target: Target,
        workload: &Workload,
        requests: Requests,
    ) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let connections: io::Result<Vec<_>> = (0..workload.connections.max(1))
            .map(|token| Connection::new(target.address, target.dialect, poll.registry(), token))
            .collect();
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            connections: connections?,
            requests,
            random: SmallRng::seed_from_u64(1),
            start: Instant::now(),
            due: Duration::ZERO,
            sender: 0,
            outcome: Outcome::new()?,
            buffer: Vec::new(),
        })
    }

    fn hits(&self) -> u64 {
        let connections = self.connections.iter();
        connections.map(|connection| connection.replies.hits).sum()
    }

    fn errors(&self) -> u64 {
        let connections = self.connections.iter();
        connections
            .map(|connection| connection.replies.errors)
            .sum()
    }

    fn run_for(&mut self, workload: &Workload, duration: Duration) -> io::Result<()> {
        let end = self.start.elapsed() + duration;
        while self.start.elapsed() < end {
            self.turn(workload)?;
        }
        Ok(())
    }

    /// Sends what is due, waits for something to happen, and reads what has come.
    fn turn(&mut self, workload: &Workload) -> io::Result<()> {
        let timeout = match workload.rate {
            None => {
                self.send_batches(workload.pipeline.max(1))?;
                SILENCE_MAX
            }
            Some(rate) => {
                self.send_due(rate)?;
                let until_due = self.due.saturating_sub(self.start.elapsed());
                until_due.saturating_sub(SPIN_MAX)
            }
        };
        self.poll.poll(&mut self.events, Some(timeout))?;
        if workload.rate.is_none() && self.events.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let now = self.start.elapsed();
        for event in &self.events {
            let Some(connection) = self.connections.get_mut(event.token().0) else {
                continue;
            };
            if event.is_writable() {
                connection.send()?;
            }
            if !event.is_readable() {
                continue;
            }
            let answered = connection.receive(&mut self.buffer)?;
            for since in connection
                .waiting
                .drain(..answered.min(connection.waiting.len()))
            {
                self.outcome.record(now.saturating_sub(since));
            }
        }
        Ok(())
    }

    /// Who waits for nothing sends a batch.
    fn send_batches(&mut self, pipeline: usize) -> io::Result<()> {
        for connection in &mut self.connections {
            if connection.waiting.is_empty() {
                for _ in 0..pipeline {
                    self.requests.write(&mut connection.out);
                }
                let now = self.start.elapsed();
                connection.waiting.extend((0..pipeline).map(|_| now));
                connection.send()?;
            }
        }
        Ok(())
    }

    /// Sends what is due by now, each request over the next connection.
    fn send_due(&mut self, rate: f64) -> io::Result<()> {
        let now = self.start.elapsed();
        while self.due <= now {
            if let Some(connection) = self.connections.get_mut(self.sender) {
                if connection.waiting.len() < WAITING_MAX {
                    self.requests.write(&mut connection.out);
                    connection.waiting.push_back(self.due);
                    connection.send()?;
                } else {
                    self.outcome.unsent += 1;
                }
            }
            self.sender = (self.sender + 1) % self.connections.len();
            // The time between two events of a Poisson process is distributed exponentially.
            let uniform: f64 = self.random.random_range(0.0..1.0);
            self.due += Duration::from_secs_f64(-(1.0 - uniform).ln() / rate);
        }
        Ok(())
    }
}

/// How long the threads of a process have run.
pub fn cpu_time(pid: Option<u32>) -> Duration {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    let clock = pid.and_then(|pid| clock_getcpuclockid(Pid::from_raw(pid)).ok());
    let time = clock.and_then(|clock| clock.now().ok());
    time.map_or(Duration::ZERO, Duration::from)
}
