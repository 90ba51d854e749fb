//! [`Given`]: what an operator has given for each flag, and where: on the command line, in the environment, or in a
//! configuration file, in this order. What it means is [`Config`]'s business.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, FromArgMatches as _};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::argv;
use crate::config::{Config, ConfigError};
use crate::config_file::{ConfigFile, ConfigFileError};
use crate::failure::Failure;
use crate::flags::Flags;
use crate::options;
use crate::process;
use crate::setting::{Kind, quoted, switch};

/// The flag that names the configuration file.
const CONFIG: &str = "config";

/// Says that flags which there are not, of other releases of memcached, are to be skipped.
pub const IGNORE_UNKNOWN: &str = "NUTHATCH_IGNORE_UNKNOWN";

/// What every variable that stands for a flag begins with.
const VARIABLE_PREFIX: &str = "NUTHATCH_";

/// What Kubernetes puts into such a variable for a service of that name: no value of any flag.
const SERVICE_URL_PREFIXES: [&str; 2] = ["tcp://", "udp://"];

/// Why what was given cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GivenError {
    /// Flags that there are not, or whose values cannot be read: exit code 1. Also help and version, which
    /// are to be printed.
    #[error(transparent)]
    Line(#[from] clap::Error),
    /// The same in the environment.
    #[error("{name}: {reason}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration file: exit code 78.
    #[error(transparent)]
    File(#[from] ConfigFileError),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(String),
    /// This configuration file.
    File(PathBuf),
    /// Nobody has given one.
    Default,
}

/// One flag.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its long name.
    pub name: String,
    /// What sort of value it takes.
    pub kind: Kind,
    /// The value, as typed; several in a list; none if it has none.
    pub values: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether help leaves it out.
    pub is_hidden: bool,
    /// What its help says of the default, where that is no value.
    pub default: Option<String>,
}

/// What was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// All flags, as typed.
    pub flags: Flags,
    /// Each of them with its origin.
    pub settings: Vec<Setting>,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// All flags as they would be without that file.
    flags_without_file: Flags,
    /// Flags and suboptions that there are not.
    ignored: Vec<String>,
}

/// What reads one flag after the other.
struct Sources<'a, V> {
    command: &'a Command,
    line: &'a ArgMatches,
    variable: V,
    file: Option<(PathBuf, ConfigFile)>,
}

impl Given {
    /// Reads the arguments, the environment, and the configuration file that either names.
    ///
    /// # Errors
    /// [`GivenError`] says what cannot be read; also for help and version, which are to be printed.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, GivenError> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let command = argv::command(&arguments);
        let mut line = argv::tidy(&arguments);
        let ignores_unknown = ignores_unknown(&variable)?;
        let mut ignored = Vec::new();
        if ignores_unknown {
            ignored.extend(argv::take_unknown(&command, &mut line));
        }
        let matches = command.clone().try_get_matches_from(&line)?;
        let path = matches.get_one::<PathBuf>(CONFIG).cloned();
        let path = path.or_else(|| value_of(CONFIG, &variable).map(|(_, path)| path.into()));
        let file = match &path {
            Some(path) => Some((path.clone(), ConfigFile::read(path, &command)?)),
            None => None,
        };
        let sources = Sources {
            command: &command,
            line: &matches,
            variable,
            file,
        };
        let mut origins = Vec::new();
        let (mut elsewhere, mut without_file) = (Vec::new(), Vec::new());
        for flag in command.get_arguments() {
            let Some(kind) = Kind::of(flag) else { continue };
            let (origin, arguments) = sources.origin(flag, kind)?;
            if !matches!(origin, Origin::File(_)) {
                without_file.extend_from_slice(&arguments);
            }
            elsewhere.extend(arguments);
            origins.push((flag, kind, origin));
        }
        let matches = argv::matches(&command, &line, &elsewhere)?;
        let without_file = argv::matches(&command, &line, &without_file)?;
        let mut flags = Flags::from_arg_matches(&matches)?;
        let mut flags_without_file = Flags::from_arg_matches(&without_file)?;
        let mut settings: Vec<Setting> = origins
            .into_iter()
            .map(|(flag, kind, origin)| Setting::new(flag, kind, origin, &matches))
            .collect();
        if ignores_unknown {
            for setting in settings.iter_mut().filter(|is| is.name == options::FLAG) {
                options::take_unknown(&mut setting.values);
            }
            options::take_unknown(&mut flags_without_file.extended);
            let taken = options::take_unknown(&mut flags.extended).into_iter();
            ignored.extend(taken.map(|suboption| format!("-o {suboption}")));
        }
        Ok(Self {
            flags,
            settings,
            file: path,
            flags_without_file,
            ignored,
        })
    }

    /// Checks the flags, and whom to become.
    ///
    /// # Errors
    /// The [`Failure`] with which the daemon would end.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::from_flags(&self.flags).map_err(|error| self.blame(error))?;
        process::find_user(config.user.as_deref())?;
        let ignored = self.ignored.iter();
        let notes = ignored.map(|flag| format!("{flag} is ignored: there is no such flag"));
        config.notes.extend(notes);
        config.origins.clone_from(&self.settings);
        Ok(config)
    }

    /// What would be right without the configuration file is the file's fault, unless it is that of a name server.
    fn blame(&self, error: ConfigError) -> Failure {
        match &self.file {
            Some(file)
                if !matches!(error, ConfigError::Address(_))
                    && Config::from_flags(&self.flags_without_file).is_ok() =>
            {
                Failure::in_config_file(format!("{}: {error}", file.display()))
            }
            _ => error.into(),
        }
    }
}

impl<V: Fn(&str) -> Option<String>> Sources<'_, V> {
    /// Where the value of a flag comes from, and the arguments that give it unless it is on the command line.
    fn origin(&self, flag: &Arg, kind: Kind) -> Result<(Origin, Vec<OsString>), GivenError> {
        let long = flag.get_long().unwrap_or_default();
        if self.line.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine) {
            return Ok((Origin::Flag, Vec::new()));
        }
        if let Some((name, text)) = value_of(long, &self.variable) {
            let read = kind
                .arguments(long, &text)
                .and_then(|arguments| argv::check(self.command, &arguments).map(|()| arguments));
            return match read {
                Ok(arguments) => Ok((Origin::Environment(name), arguments)),
                Err(reason) => Err(GivenError::Variable { name, reason }),
            };
        }
        let said = self.file.as_ref().and_then(|(path, file)| {
            let arguments = file.arguments(long)?;
            Some((Origin::File(path.clone()), arguments.to_vec()))
        });
        Ok(said.unwrap_or((Origin::Default, Vec::new())))
    }
}

impl Setting {
    fn new(flag: &Arg, kind: Kind, origin: Origin, matches: &ArgMatches) -> Self {
        Self {
            name: flag.get_long().unwrap_or_default().to_owned(),
            kind,
            values: kind.values(flag, matches),
            origin,
            is_hidden: flag.is_hide_set(),
            default: said_default(flag),
        }
    }

    /// Flags that help does not mention are shown if they are given.
    pub(crate) fn is_shown(&self) -> bool {
        !self.is_hidden || self.origin != Origin::Default
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => formatter.write_str("flag"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::File(path) => write!(formatter, "file {}", quoted(&path.to_string_lossy())),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// The environment of this process, as [`Given::read`] wants it.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The environment variable that stands for a flag, if one does.
pub fn variable_of(flag: &Arg) -> Option<String> {
    let long = flag.get_long()?;
    let has_variable = Kind::of(flag).is_some() || long == CONFIG;
    has_variable.then(|| variable_name(long))
}

fn variable_name(long: &str) -> String {
    let upper = long.to_uppercase().replace('-', "_");
    format!("{VARIABLE_PREFIX}{upper}")
}

/// The environment variable for a long name and its value, if there is one.
fn value_of(long: &str, variable: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let name = variable_name(long);
    let is_of_kubernetes = |value: &str| {
        SERVICE_URL_PREFIXES
            .iter()
            .any(|prefix| value.starts_with(prefix))
    };
    variable(&name)
        // Compose files write `${LIMIT:-}`.
        .filter(|value| !value.is_empty() && !is_of_kubernetes(value))
        .map(|value| (name, value))
}

fn ignores_unknown(variable: impl Fn(&str) -> Option<String>) -> Result<bool, GivenError> {
    let value = variable(IGNORE_UNKNOWN).filter(|value| !value.is_empty());
    let switch = value.map_or(Ok(false), |value| switch(&value));
    switch.map_err(|reason| GivenError::Variable {
        name: IGNORE_UNKNOWN.to_owned(),
        reason,
    })
}

/// What help says of a default that is no value: `[default: as many as cores]`.
fn said_default(flag: &Arg) -> Option<String> {
    let help = flag.get_help()?.to_string();
    let (_, default) = help.rsplit_once("[default: ")?;
    Some(default.strip_suffix(']')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Given, GivenError> {
        let arguments = ["nuthatch"].iter().chain(arguments).map(OsString::from);
        Given::read(arguments, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn flags(arguments: &[&str], variables: &[(&str, &str)]) -> Flags {
        read(arguments, variables).unwrap().flags
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
            &["-m", "128m"],
            &["-m 128MB"],
        ] {
            assert_eq!(flags(arguments, &[]).memory_limit, 128, "{arguments:?}");
        }
    }

    #[test]
    fn a_memory_limit_is_in_megabytes() {
        for wrong in ["128k", "1g", "m", "", "mb", "128mm", "128b"] {
            assert!(read(&["-m", wrong], &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verbosity_may_be_a_number() {
        assert_eq!(flags(&["--verbose=3"], &[]).verbose, 3);
        assert_eq!(flags(&["-vv"], &[]).verbose, 2);
        assert_eq!(flags(&["-v", "--verbose"], &[]).verbose, 2);
        assert!(read(&["--verbose=x"], &[]).is_err());
    }

    #[test]
    fn a_variable_stands_for_a_flag_that_is_not_given() {
        let variables = [
            ("NUTHATCH_MEMORY_LIMIT", "256"),
            ("NUTHATCH_LISTEN", "127.0.0.1"),
            ("NUTHATCH_DISABLE_EVICTIONS", "true"),
            ("NUTHATCH_VERBOSE", "2"),
            ("NUTHATCH_PORT", "tcp://10.0.0.1:11211"),
            ("NUTHATCH_USER", ""),
        ];
        let found = flags(&[], &variables);
        assert_eq!(
            (found.memory_limit, found.port, found.verbose),
            (256, 11211, 2)
        );
        assert_eq!((found.listen, found.user), (vec!["127.0.0.1".into()], None));
        assert!(found.disable_evictions);
        let found = flags(&["-m", "64", "-l", "::1"], &variables);
        assert_eq!(
            (found.memory_limit, found.listen),
            (64, vec!["::1".to_owned()])
        );
        // Images tell so which release they hold.
        assert_eq!(flags(&[], &[("NUTHATCH_VERSION", "1")]).port, 11211);
    }

    #[test]
    fn a_switch_in_the_environment_is_on_or_off_and_nothing_else() {
        let evicts = |value| read(&[], &[("NUTHATCH_DISABLE_EVICTIONS", value)]);
        for (value, disabled) in [
            ("1", true),
            ("yes", true),
            (" on ", true),
            ("0", false),
            ("false", false),
            ("no", false),
            ("off", false),
        ] {
            let found = evicts(value).unwrap().flags.disable_evictions;
            assert_eq!(found, disabled, "{value}");
        }
        let error = evicts("maybe").unwrap_err().to_string();
        assert!(error.starts_with("NUTHATCH_DISABLE_EVICTIONS: "), "{error}");
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, value) in [
            ("NUTHATCH_MEMORY_LIMIT", "much"),
            ("NUTHATCH_VERBOSE", "10"),
        ] {
            let error = read(&[], &[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name) && error.contains(value), "{error}");
        }
        assert_eq!(flags(&[], &[("NUTHATCH_VERBOSE", "9")]).verbose, 9);
    }

    #[test]
    fn what_is_unknown_can_be_ignored() {
        let ignore = [(IGNORE_UNKNOWN, "1")];
        let line = [
            "--new-flag=5",
            "-m",
            "128",
            "-x7",
            "--newer",
            "3",
            "-o",
            "new_one=5,track_sizes",
        ];
        let given = read(&line, &ignore).unwrap();
        assert_eq!(given.flags.memory_limit, 128);
        let ignored = ["--new-flag=5", "-x7", "--newer", "-o new_one=5"];
        assert_eq!(given.ignored, ignored);
        let shown = given.settings.iter().find(|is| is.name == "extended");
        assert_eq!(shown.unwrap().values, ["track_sizes"]);
        assert!(Config::from_flags(&given.flags).is_ok());
        // A wrong value is no unknown flag, and one that hides behind others cannot be taken out.
        assert!(read(&["-m", "x"], &ignore).is_err());
        assert!(read(&["-Mx"], &ignore).is_err());
        assert!(read(&line, &[(IGNORE_UNKNOWN, "0")]).is_err());
        assert!(read(&line, &[(IGNORE_UNKNOWN, "")]).is_err());
        assert!(read(&[], &[(IGNORE_UNKNOWN, "maybe")]).is_err());
    }
}
