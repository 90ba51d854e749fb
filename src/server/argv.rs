//! memcached's command-line dialect, where it is not that of clap: what unit files, images and charts
//! pass is turned into what [`Flags`] reads.

use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory};
use std::ffi::OsString;

use crate::flags::Flags;

/// What every variable that stands for a flag begins with.
const VARIABLE_PREFIX: &str = "NUTHATCH_";

/// What Kubernetes puts into such a variable for a service of that name: no value of any flag.
const SERVICE_URL_PREFIXES: [&str; 2] = ["tcp://", "udp://"];

/// Parses the arguments and, for flags that are not among them, the environment. Words that are no flags are
/// skipped, as memcached skips them: images put `memcached` in front.
///
/// # Errors
/// Unknown flags, and values that cannot be read; also for help and version, which are to be printed.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Flags, clap::Error> {
    use clap::FromArgMatches as _;
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_else(|| "nuthatch".into());
    let arguments: Vec<OsString> = arguments.map(untie_count).collect();
    let command = Flags::command();
    let line = |extra: &[OsString]| {
        let all = [std::slice::from_ref(&name), extra, arguments.as_slice()].concat();
        command.clone().try_get_matches_from(all)
    };
    let matches = line(&[])?;
    let mut extra = Vec::new();
    for flag in command.get_arguments() {
        let is_given =
            matches.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
        // What only prints is asked for by people, not by their environment.
        let prints = matches!(flag.get_action(), ArgAction::Help | ArgAction::Version);
        let Some(long) = flag.get_long().filter(|_| !is_given && !prints) else {
            continue;
        };
        let Some(value) = variable(&variable_name(long)).filter(|value| !is_of_kubernetes(value))
        else {
            continue;
        };
        let takes_value = flag.get_action().takes_values();
        if takes_value {
            extra.push(format!("--{long}={value}").into());
        } else if let Ok(times @ 1..) = value.trim().parse::<u8>() {
            extra.extend(std::iter::repeat_n(
                OsString::from(format!("--{long}")),
                times.into(),
            ));
        } else if value.trim() == "true" {
            extra.push(format!("--{long}").into());
        }
    }
    Flags::from_arg_matches(&line(&extra)?)
}

/// The environment variable of a flag.
fn variable_name(long: &str) -> String {
    let upper = long.to_uppercase().replace('-', "_");
    format!("{VARIABLE_PREFIX}{upper}")
}

fn is_of_kubernetes(value: &str) -> bool {
    SERVICE_URL_PREFIXES
        .iter()
        .any(|prefix| value.starts_with(prefix))
}

/// `--verbose=3`, which getopt takes, is `-vvv`.
fn untie_count(argument: OsString) -> OsString {
    let count = argument
        .to_str()
        .and_then(|text| text.strip_prefix("--verbose="));
    match count.and_then(|count| count.parse::<usize>().ok()) {
        Some(count @ 1..=9) => format!("-{}", "v".repeat(count)).into(),
        Some(_) => "-v".into(),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(arguments: &[&str], variables: &[(&str, &str)]) -> Flags {
        let arguments = ["nuthatch"].iter().chain(arguments).map(OsString::from);
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        parse(arguments, variable).unwrap()
    }

    #[test]
    fn words_that_are_no_flags_are_skipped() {
        for arguments in [
            &["memcached", "-m", "128"][..],
            &["-m", "128", "foo"],
            &["memcached", "-m 128", "foo", "-v"],
            &["-m", "64", "-m", " 128"],
            &["--memory-limit=128"],
            &["--memory-l=128"],
        ] {
            assert_eq!(
                parse_with(arguments, &[]).memory_limit,
                128,
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn verbosity_may_be_a_number() {
        assert_eq!(parse_with(&["--verbose=3"], &[]).verbose, 3);
        assert_eq!(parse_with(&["-vv"], &[]).verbose, 2);
        assert_eq!(parse_with(&["-v", "--verbose"], &[]).verbose, 2);
    }

    #[test]
    fn a_variable_stands_for_a_flag_that_is_not_given() {
        let variables = [
            ("NUTHATCH_MEMORY_LIMIT", "256"),
            ("NUTHATCH_LISTEN", "127.0.0.1"),
            ("NUTHATCH_DISABLE_EVICTIONS", "true"),
            ("NUTHATCH_VERBOSE", "2"),
            ("NUTHATCH_PORT", "tcp://10.0.0.1:11211"),
        ];
        let flags = parse_with(&[], &variables);
        assert_eq!(
            (flags.memory_limit, flags.port, flags.verbose),
            (256, 11211, 2)
        );
        assert_eq!(flags.listen, ["127.0.0.1"]);
        assert!(flags.disable_evictions);
        let flags = parse_with(&["-m", "64", "-l", "::1"], &variables);
        assert_eq!(
            (flags.memory_limit, flags.listen),
            (64, vec!["::1".to_owned()])
        );
        assert!(!parse_with(&[], &[("NUTHATCH_DISABLE_EVICTIONS", "false")]).disable_evictions);
        // Images tell so which release they hold.
        assert_eq!(parse_with(&[], &[("NUTHATCH_VERSION", "1")]).port, 11211);
    }
}
