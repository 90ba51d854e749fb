//! What the client takes beside others on the same daemons.
//!
//! ```sh
//! cargo build --release && cargo bench -p benches --bench client
//! ```

mod contender;
mod stampede;
mod work;

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use benches::daemon::{Daemon, Program};
use benches::processors::{Others, Processors};
use benches::report::{Options, Report, median};
use bytes::Bytes;
use clap::Parser;
use contender::{Batch, Caller, Contender, NODES, connect};
use memcache::exp::{Rendezvous, Router as _};
use nuthatch_client::{Distribution, NodeAddress, Ring, Ttl};
use nuthatch_load::{Outcome, Window};
use tokio::runtime::{Builder, Runtime};
use work::{Work, time_of};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

const MEMORY_MIB: u64 = 256;
const KEYS: usize = 10_000;
const VALUE_LEN: usize = 100;
const BATCH_LEN: usize = 100;
const TASKS: [usize; 4] = [1, 16, 64, 256];
const TASKS_MANY: [usize; 2] = [1, 16];

/// Requests per second, latency, processor time and allocations of nuthatch-client beside the crates memcache and
/// async-memcached, all in one thread, with nuthatch (`NUTHATCH_BIN`, or what `cargo build --release` made).
#[derive(Debug, Parser)]
struct Arguments {
    /// Ask this program instead: nuthatch or memcached.
    #[arg(long, default_value = "nuthatch")]
    server: String,
    /// How often each client has its turn.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Only workloads whose names have this in them.
    #[arg(long, default_value = "")]
    only: String,
    #[command(flatten)]
    stampede: stampede::Arguments,
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::parse();
    if arguments.stampede.is_process() {
        return stampede::process(&arguments.stampede);
    }
    if arguments.options.quick {
        (arguments.rounds, arguments.seconds) = (1, 0.05);
    }
    let program = Program::all()
        .into_iter()
        .rfind(|program| program.name == arguments.server)
        .ok_or("no such server; `cargo build --release` makes nuthatch")?;
    let mut report = Report::new("client", &arguments.options);
    report.line(format_args!("{}: {}", program.name, program.version()));
    // First, for its processes shall not be bound to one processor.
    stampede::measure(
        &arguments.stampede,
        &arguments.options,
        &program,
        &mut report,
    )?;
    let daemons: Vec<_> = (0..NODES)
        .map(|_| program.start(MEMORY_MIB))
        .collect::<Result<_, _>>()?;
    let others = Others::watch(&daemons);
    let bench = Bench::new(&arguments, &daemons)?;
    bench.fill()?;
    bench.compare(&mut report)?;
    bench.count_allocations(&mut report)?;
    bench.locate(&mut report)?;
    report.line(format_args!(
        "meanwhile others used {:.2} processors",
        others.processors(&daemons)
    ));
    Ok(report.save()?)
}

struct Workload {
    name: String,
    work: Arc<Work>,
    tasks: usize,
    nodes: usize,
}

struct Bench<'a> {
    arguments: &'a Arguments,
    nodes: Vec<SocketAddr>,
    keys: Vec<String>,
    runtime: Runtime,
}

impl<'a> Bench<'a> {
    /// Servers and clients have a processor each.
    fn new(arguments: &'a Arguments, daemons: &[Daemon]) -> Result<Self, Failure> {
        if let Some(processors) = Processors::find() {
            for daemon in daemons {
                processors.assign(daemon)?;
            }
        }
        Ok(Self {
            arguments,
            nodes: daemons.iter().map(Daemon::address).collect(),
            keys: (0..KEYS).map(|number| format!("key:{number:08}")).collect(),
            runtime: Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// All keys on all nodes, so that each client may look where it likes.
    fn fill(&self) -> Result<(), Failure> {
        let value = Bytes::from(vec![b'v'; VALUE_LEN]);
        let entries: Vec<_> = self.keys.iter().map(|key| (key, value.clone())).collect();
        self.runtime.block_on(async {
            for node in &self.nodes {
                let client = connect(&[*node]).await?;
                if let Some((_, error)) = client
                    .set_many(&entries, Ttl::NEVER)
                    .await
                    .into_iter()
                    .next()
                {
                    return Err(error.into());
                }
            }
            Ok(())
        })
    }

    fn ring(&self) -> Result<Ring, Failure> {
        let nodes = self.nodes.iter().map(|node| node.to_string().parse());
        let nodes: Vec<NodeAddress> = nodes.collect::<Result<_, _>>()?;
        Ok(Ring::new(Distribution::Ketama, &nodes)?)
    }

    fn batches(&self) -> Result<Vec<Batch>, Failure> {
        let ring = self.ring()?;
        let batches = self.keys.chunks(BATCH_LEN).map(|keys| {
            let mut by_node = vec![Vec::new(); NODES];
            for key in keys {
                by_node
                    .get_mut(ring.locate(key.as_bytes()))
                    .ok_or("no such node")?
                    .push(key.clone());
            }
            Ok(Batch {
                keys: keys.to_vec(),
                by_node,
            })
        });
        batches.collect()
    }

    fn workloads(&self) -> Result<Vec<Workload>, Failure> {
        let get = Arc::new(Work::Get(self.keys.clone()));
        let get_many = Arc::new(Work::GetMany(self.batches()?));
        let gets = TASKS.map(|tasks| Workload {
            name: format!("get, {tasks} at once"),
            work: Arc::clone(&get),
            tasks,
            nodes: 1,
        });
        let manies = [1, NODES].map(|nodes| {
            TASKS_MANY.map(|tasks| Workload {
                name: format!("get {BATCH_LEN} of {nodes}, {tasks} at once"),
                work: Arc::clone(&get_many),
                tasks,
                nodes,
            })
        });
        let mut all: Vec<_> = gets
            .into_iter()
            .chain(manies.into_iter().flatten())
            .collect();
        all.retain(|workload| workload.name.contains(&self.arguments.only));
        Ok(all)
    }

    fn compare(&self, report: &mut Report) -> Result<(), Failure> {
        report.line(format_args!(
            "{} rounds, in each a turn of {} s for each client; medians, and ratios of the same round",
            self.arguments.rounds, self.arguments.seconds
        ));
        report.line(format_args!(
            "{:<23}{:<20} {:>9} {:>7} {:>8} {:>8}   the first's keys/s by this one's [min..max], its p99 by this one's",
            "", "", "keys/s", "CPU us", "p50 us", "p99 us"
        ));
        for workload in self.workloads()? {
            let outcomes = self.outcomes(&workload, report)?;
            tell(&workload, &outcomes, report)?;
        }
        Ok(())
    }

    /// For each client the outcomes of its turns.
    fn outcomes(
        &self,
        workload: &Workload,
        report: &mut Report,
    ) -> Result<Vec<Vec<Outcome>>, Failure> {
        let seconds = self.arguments.seconds;
        let window = Window {
            warmup: Duration::from_secs_f64(seconds / 4.0),
            measured: Duration::from_secs_f64(seconds),
        };
        let nodes = self.nodes.get(..workload.nodes).unwrap_or_default();
        let mut callers = Vec::new();
        for contender in Contender::ALL {
            callers.push(
                self.runtime
                    .block_on(contender.callers(nodes, workload.tasks))?,
            );
        }
        let mut outcomes = vec![Vec::new(); callers.len()];
        for round in 0..self.arguments.rounds {
            for ((contender, callers), outcomes) in
                Contender::ALL.iter().zip(&mut callers).zip(&mut outcomes)
            {
                let turn = workload.work.turn(std::mem::take(callers), window);
                let (given_back, outcome) = self.runtime.block_on(turn)?;
                *callers = given_back;
                report.keep(format_args!(
                    "{{\"workload\":\"{}\",\"client\":\"{}\",\"round\":{round},\"outcome\":{}}}",
                    workload.name,
                    contender.name(),
                    outcome.json()
                ));
                outcomes.push(outcome);
            }
        }
        Ok(outcomes)
    }

    fn count_allocations(&self, report: &mut Report) -> Result<(), Failure> {
        const HITS: u32 = 1000;
        let get = Work::Get(self.keys.clone());
        let get_many = Work::GetMany(self.batches()?);
        for (name, work, nodes) in [("a hit", &get, 1), ("a key of 100", &get_many, NODES)] {
            let mut line = format!("allocations for {name}:");
            for contender in Contender::ALL {
                let nodes = self.nodes.get(..nodes).unwrap_or_default();
                let mut callers = self.runtime.block_on(contender.callers(nodes, 1))?;
                let caller: &mut Caller = callers.first_mut().ok_or("no caller")?;
                let mut ask = || {
                    let asked = (0..HITS).map(|hit| self.runtime.block_on(work.ask(caller, hit)));
                    asked.collect::<Result<(), _>>()
                };
                ask()?;
                let mut asked = Ok(());
                let counted = allocation_counter::measure(|| asked = ask());
                asked?;
                #[expect(clippy::cast_precision_loss, reason = "for people")]
                let each = counted.count_total as f64 / (f64::from(HITS) * work.keys_each() as f64);
                write!(line, " {} {each:.2}", contender.name())?;
            }
            report.line(line);
        }
        Ok(())
    }

    fn locate(&self, report: &mut Report) -> Result<(), Failure> {
        const RUNS: usize = 1_000_000;
        let runs = if self.arguments.options.quick {
            KEYS
        } else {
            RUNS
        };
        let names: Vec<_> = self.nodes.iter().map(ToString::to_string).collect();
        let (ring, router) = (self.ring()?, Rendezvous::new());
        let keys = self.keys.iter().cycle().take(runs);
        let mut keys = keys.map(String::as_bytes);
        let ketama = time_of(
            |_| {
                black_box(keys.next().map(|key| ring.locate(key)));
            },
            runs,
        );
        let mut keys = self.keys.iter().cycle().map(String::as_bytes);
        let rendezvous = time_of(
            |_| {
                black_box(keys.next().map(|key| router.route(key, &names)));
            },
            runs,
        );
        report.line(format_args!(
            "where a key is, of {NODES} nodes: nuthatch-client (ketama) {} ns, memcache 0.21 (rendezvous) {} ns",
            ketama.as_nanos(),
            rendezvous.as_nanos()
        ));
        Ok(())
    }
}

/// One line for each client.
fn tell(
    workload: &Workload,
    outcomes: &[Vec<Outcome>],
    report: &mut Report,
) -> Result<(), Failure> {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let keys_each = workload.work.keys_each() as f64;
    let Some(first) = outcomes.first() else {
        return Ok(());
    };
    for (contender, outcomes) in Contender::ALL.iter().zip(outcomes) {
        let middle = |of: fn(&Outcome) -> f64| median(outcomes.iter().map(of));
        let mut line = format!(
            "{:<25}{:<20} {:>7.0} {:>7.2} {:>8.0} {:>8.0}",
            workload.name,
            contender.name(),
            middle(Outcome::per_second) * keys_each,
            middle(Outcome::client_micros) / keys_each,
            middle(|outcome| outcome.percentile(50.0)),
            middle(|outcome| outcome.percentile(99.0)),
        );
        if *contender != Contender::Nuthatch {
            let pairs = || first.iter().zip(outcomes);
            let rates: Vec<_> = pairs()
                .map(|(first, this)| first.per_second() / this.per_second())
                .collect();
            let slow = pairs().map(|(first, this)| first.percentile(99.0) / this.percentile(99.0));
            write!(
                line,
                "   {:.2} [{:.2}..{:.2}], {:.2}",
                median(rates.iter().copied()),
                rates.iter().copied().fold(f64::INFINITY, f64::min),
                rates.iter().copied().fold(0.0, f64::max),
                median(slow),
            )?;
        }
        report.line(line);
    }
    Ok(())
}
