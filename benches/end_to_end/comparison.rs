//! [`Comparison`]: servers that take turns at the same work, so that the machine's moods hit all of them.

use std::error::Error;

use benches::daemon::Program;
use benches::plot::{Kind, Plot};
use benches::processors::Processors;
use benches::report::{Report, median};
use nuthatch_load::{self as load, Outcome, Target, Window, Workload};

/// Memory of each server.
const MEMORY_MIB: u64 = 4096;

/// What is compared, and how.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    /// The first one is compared with each of the others.
    pub(crate) programs: &'a [Program],
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    pub(crate) window: Window,
}

impl Comparison<'_> {
    pub(crate) fn run(
        &self,
        workloads: &[(&str, Workload)],
        report: &mut Report,
    ) -> Result<(), Box<dyn Error>> {
        report.line(format_args!(
            "{:<17}{:<10} {:>10} {:>8} {:>8} {:>8} {:>8} {:>6}   ratio of the first to this: ops/s [min..max], CPU",
            "workload", "server", "ops/s", "CPU us", "p50 us", "p99 us", "p99.9", "load"
        ));
        // One thread shall have a processor for itself, and so shall the load.
        let processors = (self.threads == 1).then(Processors::find).flatten();
        let mut bars: Vec<(String, Vec<f64>)> = Vec::new();
        for peer in self.programs.iter().skip(1) {
            bars.push((
                format!("operations per second / {}'s", peer.name),
                Vec::new(),
            ));
            bars.push((format!("CPU per operation / {}'s", peer.name), Vec::new()));
        }
        for (name, workload) in workloads {
            let outcomes = self.outcomes(name, workload, processors, report)?;
            let ratios = self.tell(name, &outcomes, report);
            for ((_, values), ratio) in bars.iter_mut().zip(ratios) {
                values.push(ratio);
            }
        }
        let Some(path) = report.plot_path("") else {
            return Ok(());
        };
        let groups: Vec<_> = workloads
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        Plot {
            kind: Kind::Bars,
            title: "nuthatch beside its peers: more operations and less CPU are better",
            unit: "ratio",
            groups: &groups,
            series: &bars,
        }
        .save(&path)
    }

    /// For each program the outcomes of its turns.
    fn outcomes(
        &self,
        name: &str,
        workload: &Workload,
        processors: Option<Processors>,
        report: &mut Report,
    ) -> Result<Vec<Vec<Outcome>>, Box<dyn Error>> {
        let mut servers = Vec::new();
        for program in self.programs {
            let daemon = program.start_with(MEMORY_MIB, self.threads)?;
            let target = Target {
                address: daemon.address(),
                dialect: program.dialect,
                pid: Some(daemon.pid()),
            };
            if let Some(processors) = processors {
                processors.assign(&daemon)?;
            }
            load::preload(target, workload)?;
            servers.push((daemon, target, Vec::new()));
        }
        for round in 0..self.rounds {
            for ((_, target, outcomes), program) in servers.iter_mut().zip(self.programs) {
                let outcome = load::run(*target, workload, self.window, round as u64)?;
                report.keep(format_args!(
                    "{{\"workload\":\"{name}\",\"server\":\"{}\",\"round\":{round},\"outcome\":{}}}",
                    program.name,
                    outcome.json()
                ));
                if outcome.errors > 0 {
                    return Err(format!("{}: {} errors", program.name, outcome.errors).into());
                }
                outcomes.push(outcome);
            }
        }
        Ok(servers
            .into_iter()
            .map(|(_, _, outcomes)| outcomes)
            .collect())
    }

    /// A line for each program; returns the ratios of the first to each other: operations, then CPU.
    fn tell(&self, name: &str, outcomes: &[Vec<Outcome>], report: &mut Report) -> Vec<f64> {
        let mut ratios = Vec::new();
        let Some(first) = outcomes.first() else {
            return ratios;
        };
        for (number, (program, turns)) in self.programs.iter().zip(outcomes).enumerate() {
            let of = |what: fn(&Outcome) -> f64| median(turns.iter().map(what));
            let against = |what: fn(&Outcome) -> f64| -> Vec<f64> {
                let pairs = first.iter().zip(turns);
                let ratio = |(ours, theirs)| what(ours) / what(theirs).max(f64::MIN_POSITIVE);
                pairs.map(ratio).collect()
            };
            let ratio = if number == 0 {
                String::new()
            } else {
                let speeds = against(Outcome::per_second);
                let low = speeds.iter().copied().fold(f64::INFINITY, f64::min);
                let high = speeds.iter().copied().fold(0.0, f64::max);
                let (speed, cpu) = (median(speeds), median(against(Outcome::server_micros)));
                ratios.extend([speed, cpu]);
                format!("{speed:.2} [{low:.2}..{high:.2}], {cpu:.2}")
            };
            report.line(format_args!(
                "{name:<17}{:<10} {:>10.0} {:>8.3} {:>8.0} {:>8.0} {:>8.0} {:>5.0}%   {ratio}",
                program.name,
                of(Outcome::per_second),
                of(Outcome::server_micros),
                of(|outcome| outcome.percentile(50.0)),
                of(|outcome| outcome.percentile(99.0)),
                of(|outcome| outcome.percentile(99.9)),
                of(|outcome| outcome.client_busy() * 100.0),
            ));
        }
        ratios
    }
}
