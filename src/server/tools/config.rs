//! `nuthatch config`: whether the daemon would start, with which values, and what another package's file means.

use super::{SCHEMA, convert, print};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::given::{Given, Origin, Setting, environment};
use crate::setting::quoted;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Where the origin of a value begins, if the value leaves room.
const ORIGIN_COLUMN: usize = 40;

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Check flags, environment and configuration file as the daemon would, without listening anywhere
    Check(DaemonLine),
    /// Print each value as it is for the daemon, and where it comes from; the output is a configuration file
    Show(Show),
    /// Print memcached.conf (Debian) or sysconfig/memcached (Red Hat) as a configuration file
    Convert {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct DaemonLine {
    /// The daemon's flags, as you would give them to it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    line: DaemonLine,
}

impl Config {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(line) => check(&line.given()?),
            Self::Show(show) => show.run(),
            Self::Convert { file } => print(convert::run(&file)?),
        }
    }
}

impl DaemonLine {
    fn given(self) -> Result<Given, Failure> {
        let line = std::iter::once("nuthatch".into()).chain(self.flags);
        Ok(Given::read(line, environment)?)
    }
}

fn check(given: &Given) -> Result<(), Failure> {
    let config = given.config()?;
    crate::check(&config, &Clock::machine())?;
    for note in config.notes {
        // Nobody is left to tell if the terminal is gone.
        drop(writeln!(io::stderr(), "{note}"));
    }
    Ok(())
}

impl Show {
    fn run(mut self) -> Result<(), Failure> {
        // Among the daemon's flags, which are not looked at before, it may stand too.
        let count = self.line.flags.len();
        self.line.flags.retain(|flag| flag != "--json");
        let json = self.json || self.line.flags.len() < count;
        let given = self.line.given()?;
        print(if json {
            as_json(&given)
        } else {
            as_toml(&given)
        })
    }
}

fn shown(given: &Given) -> impl Iterator<Item = &Setting> {
    given.settings.iter().filter(|setting| setting.is_shown())
}

fn as_toml(given: &Given) -> String {
    let mut text = String::new();
    for setting in shown(given) {
        let name = &setting.name;
        let (line, default) = match setting.kind.literal(&setting.values) {
            Some(literal) => (format!("{name} = {literal}"), None),
            None => (format!("# {name}"), setting.default.as_deref()),
        };
        let origin = &setting.origin;
        let default = default.map_or_else(String::new, |default| format!(": {default}"));
        // Cannot fail.
        let _ = writeln!(text, "{line:ORIGIN_COLUMN$} # {origin}{default}");
    }
    text
}

fn as_json(given: &Given) -> String {
    let settings: Vec<String> = shown(given)
        .map(|setting| {
            let name = quoted(&setting.name);
            let value = setting.kind.literal(&setting.values);
            let value = value.unwrap_or_else(|| "null".to_owned());
            let origin = match &setting.origin {
                Origin::Flag => r#""flag""#.to_owned(),
                Origin::Environment(name) => {
                    format!(r#""environment", "variable": {}"#, quoted(name))
                }
                Origin::File(path) => {
                    format!(r#""file", "file": {}"#, quoted(&path.to_string_lossy()))
                }
                Origin::Default => r#""default""#.to_owned(),
            };
            format!(r#"    {name}: {{ "value": {value}, "origin": {origin} }}"#)
        })
        .collect();
    let settings = settings.join(",\n");
    format!("{{\n  \"schema\": {SCHEMA},\n  \"settings\": {{\n{settings}\n  }}\n}}\n")
}
