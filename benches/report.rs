//! What a benchmark prints, and where it leaves that as a file.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;

/// The flags of every benchmark that is not one of Criterion's.
#[derive(Debug, Args)]
pub struct Options {
    /// Tiny sizes: to see that it works, not to measure.
    #[arg(long, visible_alias = "test")]
    pub quick: bool,
    /// Leave the results in this directory, as text and as plots.
    #[arg(long, value_parser = directory)]
    pub out: Option<PathBuf>,
    /// The day, to be written into the results.
    #[arg(long, default_value = "no date")]
    pub date: String,
    /// Cargo says that this is a benchmark.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// A directory that is there: a benchmark of an hour should not fail at its last step.
fn directory(path: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(path)?;
    Ok(path.into())
}

/// Lines that are printed and kept.
#[derive(Debug)]
pub struct Report {
    name: &'static str,
    out: Option<PathBuf>,
    text: String,
    raw: String,
}

impl Report {
    /// Begins with what was measured, when and where.
    pub fn new(name: &'static str, options: &Options) -> Self {
        let mut report = Self {
            name,
            out: options.out.clone(),
            text: String::new(),
            raw: String::new(),
        };
        report.line(format_args!("{name}, {}, {}", options.date, machine()));
        report
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl Display) {
        let line = line.to_string();
        println!("{line}");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Keeps a line of raw results, without printing it.
    pub fn keep(&mut self, line: impl Display) {
        self.raw.push_str(&line.to_string());
        self.raw.push('\n');
    }

    /// The file for a plot, if there shall be any.
    pub fn plot_path(&self, suffix: &str) -> Option<PathBuf> {
        let name = format!("{}{suffix}.svg", self.name);
        self.out.as_ref().map(|out| out.join(name))
    }

    /// Writes the lines to a file, if they shall be.
    ///
    /// # Errors
    /// The directory is not there, or cannot be written to.
    pub fn save(self) -> io::Result<()> {
        let Some(out) = self.out else {
            return Ok(());
        };
        if !self.raw.is_empty() {
            fs::write(out.join(format!("{}.jsonl", self.name)), self.raw)?;
        }
        fs::write(out.join(format!("{}.txt", self.name)), self.text)
    }
}

/// The middle one of the values, the upper of two; 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn machine() -> String {
    let file = |name| fs::read_to_string(name).unwrap_or_default();
    let cpus = file("/proc/cpuinfo");
    let models = || cpus.lines().filter(|line| line.starts_with("model name"));
    let model = models().next().and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let kernel = file("/proc/sys/kernel/osrelease");
    format!("{} x {model}, Linux {}", models().count(), kernel.trim())
}
