//! [`Kind`]: what sort of value a flag takes, told from its definition, and how that value is written in TOML and
//! JSON and given to a command line.

use clap::{Arg, ArgAction, ArgMatches};
use std::any::TypeId;
use std::ffi::OsString;
use std::fmt::Write as _;

/// Flags that say what to do now, not how to serve.
const NO_SETTINGS: [&str; 2] = ["config", "license"];

/// `-v` may be given so many times where it is a number.
const COUNT_MAX: u8 = 9;

/// What sort of value a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// True or false.
    Switch,
    /// How often it is given.
    Count,
    /// A whole number.
    Number,
    /// Text.
    Text,
    /// Any number of texts.
    List,
}

impl Kind {
    /// That of a flag; none if it says nothing about how to serve.
    pub fn of(flag: &Arg) -> Option<Self> {
        flag.get_long().filter(|long| !NO_SETTINGS.contains(long))?;
        match flag.get_action() {
            ArgAction::SetTrue => Some(Self::Switch),
            ArgAction::Count => Some(Self::Count),
            ArgAction::Append => Some(Self::List),
            ArgAction::Set if is_number(flag) => Some(Self::Number),
            ArgAction::Set => Some(Self::Text),
            // Those that print, and those that no flag has.
            _ => None,
        }
    }

    /// The value of a flag as it was typed, or several in a list; but a number without what else a command line may
    /// have around it.
    pub(crate) fn values(self, flag: &Arg, matches: &ArgMatches) -> Vec<String> {
        let id = flag.get_id().as_str();
        if self == Self::Number {
            let number = NUMBERS.iter().find_map(|(_, find)| find(id, matches));
            return number.into_iter().collect();
        }
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(|value| value.to_string_lossy().into_owned())
            .collect()
    }

    /// A value, or several in a list, as TOML and JSON both write it; none if there is none.
    pub(crate) fn literal(self, values: &[String]) -> Option<String> {
        let last = values.last()?;
        match self {
            Self::Switch | Self::Count | Self::Number => Some(last.clone()),
            Self::Text => Some(quoted(last)),
            Self::List => {
                let quoted: Vec<String> = values.iter().map(|value| quoted(value)).collect();
                Some(format!("[{}]", quoted.join(", ")))
            }
        }
    }

    /// The arguments that mean what is written in an environment variable.
    ///
    /// # Errors
    /// What it must be instead.
    pub(crate) fn arguments(self, long: &str, text: &str) -> Result<Vec<OsString>, String> {
        match self {
            Self::Switch => Ok(repeated(long, switch(text)?.into())),
            Self::Count => {
                let times = text.trim().parse().ok();
                let times = times.filter(|times| *times <= COUNT_MAX);
                let must = || format!("must be a number from 0 to {COUNT_MAX}, not {text:?}");
                times.map(|times| repeated(long, times)).ok_or_else(must)
            }
            Self::Number | Self::Text | Self::List => Ok(vec![valued(long, text)]),
        }
    }
}

/// The types of numbers that flags may have, and how one is found.
const NUMBERS: [(fn() -> TypeId, Find); 6] = [
    (TypeId::of::<i32>, number::<i32>),
    (TypeId::of::<i64>, number::<i64>),
    (TypeId::of::<u16>, number::<u16>),
    (TypeId::of::<u32>, number::<u32>),
    (TypeId::of::<u64>, number::<u64>),
    (TypeId::of::<usize>, number::<usize>),
];

type Find = fn(&str, &ArgMatches) -> Option<String>;

fn number<T: Clone + Send + Sync + ToString + 'static>(
    id: &str,
    matches: &ArgMatches,
) -> Option<String> {
    let number = matches.try_get_one::<T>(id).ok()?;
    number.map(ToString::to_string)
}

fn is_number(flag: &Arg) -> bool {
    let found = flag.get_value_parser().type_id();
    NUMBERS.iter().any(|(number, _)| found == number())
}

/// What an environment variable says that is on or off.
///
/// # Errors
/// What it must be instead.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(format!("must be true or false, not {text:?}")),
    }
}

/// `--long` so many times.
pub(crate) fn repeated(long: &str, times: u8) -> Vec<OsString> {
    vec![format!("--{long}").into(); times.into()]
}

/// `--long=value`.
pub(crate) fn valued(long: &str, value: &str) -> OsString {
    format!("--{long}={value}").into()
}

/// A string as TOML and JSON both write it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // Cannot fail.
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_one_line_and_reads_back_as_it_was() {
        let text = "a \"b\" \\c\n\t\u{7f}\u{85}é";
        let quoted = quoted(text);
        assert!(!quoted.contains(char::is_control), "{quoted}");
        assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        let table = format!("k = {quoted}");
        let table = toml::de::DeTable::parse(&table).unwrap();
        let read = table.get_ref().get("k").and_then(|v| v.get_ref().as_str());
        assert_eq!(read, Some(text));
    }
}
