//! [`ConfigFile`]: flags in TOML, by their long names, as arguments of a command line. What they mean is
//! [`Flags`](crate::flags::Flags)' business.

use clap::{Arg, Command};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

use crate::argv;
use crate::guess::guess;
use crate::options;
use crate::setting::{Kind, repeated, valued};

/// The largest configuration file that is read.
pub const CONFIG_FILE_LEN_MAX: u64 = 1 << 20;

/// Why a configuration file cannot be used: exit code 78.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct ConfigFileError {
    path: PathBuf,
    line: Option<usize>,
    reason: String,
}

/// What a configuration file says.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    settings: Vec<(String, Vec<OsString>)>,
}

/// What is wrong, and where in the text.
type Fault = (Range<usize>, String);

impl ConfigFile {
    /// Reads a file for this command line.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, has a key that is no long flag, or a value that the flag cannot take.
    pub fn read(path: &Path, command: &Command) -> Result<Self, ConfigFileError> {
        let error = |line, reason| ConfigFileError {
            path: path.to_owned(),
            line,
            reason,
        };
        let text = read(path).map_err(|reason| error(None, reason))?;
        let settings = settings(&text, command).map_err(|(place, reason)| {
            let before = text.bytes().take(place.start);
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            error(Some(line), reason)
        })?;
        Ok(Self { settings })
    }

    /// The arguments that mean what it says of a flag; none if it says nothing.
    pub fn arguments(&self, long: &str) -> Option<&[OsString]> {
        let found = self.settings.iter().find(|(key, _)| key == long);
        found.map(|(_, arguments)| arguments.as_slice())
    }
}

/// Reads a file of text.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CONFIG_FILE_LEN_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > CONFIG_FILE_LEN_MAX {
        return Err(format!("it is longer than {CONFIG_FILE_LEN_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| format!("it is no text: {error}"))
}

fn settings(text: &str, command: &Command) -> Result<Vec<(String, Vec<OsString>)>, Fault> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().unwrap_or_default();
        (place, error.message().to_owned())
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let (long, place) = (key.get_ref().as_ref(), key.span());
        let (flag, kind) = flag(command, long).map_err(|reason| (place.clone(), reason))?;
        let arguments = arguments(flag, long, kind, value.get_ref())
            .and_then(|arguments| argv::check(command, &arguments).map(|()| arguments))
            .map_err(|reason| (place, reason))?;
        settings.push((long.to_owned(), arguments));
    }
    Ok(settings)
}

fn flag<'a>(command: &'a Command, long: &str) -> Result<(&'a Arg, Kind), String> {
    let flags = || {
        command
            .get_arguments()
            .filter_map(|flag| Some((flag, Kind::of(flag)?)))
    };
    let found = flags().find(|(flag, _)| flag.get_long() == Some(long));
    found.ok_or_else(|| {
        let names = flags().filter_map(|(flag, _)| flag.get_long());
        format!("there is no {long:?}{}", guess(long, names))
    })
}

fn arguments(
    flag: &Arg,
    long: &str,
    kind: Kind,
    value: &DeValue<'_>,
) -> Result<Vec<OsString>, String> {
    let name = flag
        .get_value_names()
        .and_then(|names| names.first())
        .map_or("...", |name| name.as_str());
    match (kind, value) {
        (Kind::Switch, DeValue::Boolean(is_on)) => Ok(repeated(long, u8::from(*is_on))),
        (Kind::Switch, _) => Err(format!("{long} must be true or false")),
        (Kind::Count | Kind::Number, DeValue::Integer(number)) => {
            kind.arguments(long, &decimal(number)?)
        }
        (Kind::Count | Kind::Number, _) => {
            Err(format!("{long} must be a number, without quotation marks"))
        }
        (Kind::Text | Kind::List, DeValue::String(text)) => Ok(vec![valued(long, text)]),
        (Kind::Text, _) => Err(format!(
            "{long} must be text in quotation marks: {long} = \"{name}\""
        )),
        (Kind::List, DeValue::Array(texts)) => list(long, texts),
        (Kind::List, DeValue::Table(table)) if long == options::FLAG => suboptions(table),
        (Kind::List, _) => Err(format!(
            "{long} must be a list of texts: {long} = [\"{name}\"]"
        )),
    }
}

fn list(long: &str, texts: &DeArray<'_>) -> Result<Vec<OsString>, String> {
    texts
        .iter()
        .map(|text| match text.get_ref() {
            DeValue::String(text) => Ok(valued(long, text)),
            other => Err(format!(
                "{long} holds texts in quotation marks, not a value of type {}",
                other.type_str()
            )),
        })
        .collect()
}

fn suboptions(table: &DeTable<'_>) -> Result<Vec<OsString>, String> {
    const FLAG: &str = options::FLAG;
    let mut arguments = Vec::new();
    for (name, value) in table {
        let name = name.get_ref();
        let suboption = match value.get_ref() {
            DeValue::Boolean(false) => continue,
            DeValue::Boolean(true) => name.to_string(),
            DeValue::Integer(number) => format!("{name}={}", decimal(number)?),
            DeValue::Float(number) => format!("{name}={}", number.as_str()),
            DeValue::String(text) => format!("{name}={text}"),
            other => {
                let found = other.type_str();
                return Err(format!(
                    "{FLAG}.{name} must be true, a number or text, not of type {found}"
                ));
            }
        };
        if suboption.contains(',') {
            return Err(format!(
                "{FLAG}.{name} has a comma, which separates suboptions: give each its own line"
            ));
        }
        arguments.push(valued(FLAG, &suboption));
    }
    Ok(arguments)
}

/// TOML also has hexadecimal, octal and binary numbers.
fn decimal(number: &DeInteger<'_>) -> Result<String, String> {
    let digits = number.as_str();
    i64::from_str_radix(digits, number.radix())
        .map(|number| number.to_string())
        .map_err(|error| format!("{digits}: {error}"))
}
