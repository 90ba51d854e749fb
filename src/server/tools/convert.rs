//! `nuthatch config convert`: reads the configuration files of memcached's packages, which are command lines in
//! disguise: Debian's /etc/memcached.conf and Red Hat's /etc/sysconfig/memcached.

use crate::config::Config;
use crate::config_file;
use crate::failure::Failure;
use crate::given::{Given, Origin};
use crate::setting::quoted;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

/// The variables of Red Hat's unit, `memcached -p ${PORT} -u ${USER} -m ${CACHESIZE} -c ${MAXCONN} $OPTIONS`.
const VARIABLES: [(&str, &str); 4] = [
    ("PORT", "-p"),
    ("USER", "-u"),
    ("CACHESIZE", "-m"),
    ("MAXCONN", "-c"),
];

/// What a package's file says.
#[derive(Debug, Default)]
struct Line {
    arguments: Vec<String>,
    /// What has no place in a configuration file, and why.
    left_out: Vec<String>,
}

/// The file as TOML.
///
/// # Errors
/// A file that cannot be read, or that says what nuthatch refuses.
pub(super) fn run(file: &Path) -> Result<String, Failure> {
    let fault = |reason: String| Failure::in_config_file(format!("{}: {reason}", file.display()));
    let text = config_file::read(file).map_err(fault)?;
    let line = if text.lines().any(is_assignment) {
        red_hat(&text)
    } else {
        debian(&text)
    };
    let line = line.map_err(fault)?;
    let arguments = std::iter::once("nuthatch".to_owned()).chain(line.arguments);
    let arguments = arguments.map(OsString::from);
    let given = Given::read(arguments, |_| None).map_err(|error| fault(error.to_string()))?;
    Config::from_flags(&given.flags).map_err(|error| fault(error.to_string()))?;
    Ok(toml(file, &line.left_out, &given))
}

fn toml(file: &Path, left_out: &[String], given: &Given) -> String {
    // In quotation marks a comment is one line, whatever the name of the file.
    let name = quoted(&file.to_string_lossy());
    let mut toml = format!("# What {name} says.\n");
    for what in left_out {
        let _ = writeln!(toml, "# Left out: {what}");
    }
    for setting in &given.settings {
        if setting.origin == Origin::Flag
            && let Some(literal) = setting.kind.literal(&setting.values)
        {
            let _ = writeln!(toml, "{} = {literal}", setting.name);
        }
    }
    toml
}

/// One flag for each line, as Debian's systemd-memcached-wrapper reads them.
fn debian(text: &str) -> Result<Line, String> {
    let mut line = Line::default();
    for text in text.lines() {
        let text = without_comment(text).trim();
        if text.starts_with("-d") || text.starts_with("-h") {
            // As the wrapper does.
            line.left_out.push(format!(
                "{} (the service manager decides)",
                text.escape_debug()
            ));
        } else if text.starts_with('-') {
            line.arguments.extend(words(text)?);
        } else if text.split_whitespace().next() == Some("logfile") {
            let text = text.escape_debug();
            line.left_out
                .push(format!("{text} (the log goes to standard error)"));
        } else if !text.is_empty() {
            return Err(format!("{text:?} is neither a flag nor logfile"));
        }
    }
    Ok(line)
}

/// What stands before the first `#` that has no backslash in front.
fn without_comment(text: &str) -> &str {
    let escaped = |end: usize| text.as_bytes().get(end.wrapping_sub(1)) == Some(&b'\\');
    let comment = text.match_indices('#').find(|(start, _)| !escaped(*start));
    comment
        .and_then(|(start, _)| text.split_at_checked(start))
        .map_or(text, |(before, _)| before)
}

/// Variables of Red Hat's unit, as systemd reads an `EnvironmentFile=`.
fn red_hat(text: &str) -> Result<Line, String> {
    let mut line = Line::default();
    for text in text.replace("\\\n", " ").lines() {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let Some((name, value)) = text.split_once('=') else {
            return Err(format!("{text:?} gives no variable a value"));
        };
        let (name, value) = (name.trim(), unquoted(value.trim())?);
        if value.is_empty() {
            continue;
        }
        if name == "OPTIONS" {
            line.arguments.extend(words(&value)?);
        } else if let Some((_, flag)) = VARIABLES.iter().find(|(known, _)| *known == name) {
            line.arguments.extend([(*flag).to_owned(), value]);
        } else {
            let text = text.escape_debug();
            line.left_out.push(format!("{text} (no flag)"));
        }
    }
    Ok(line)
}

fn is_assignment(text: &str) -> bool {
    let name = text.trim_start().split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    })
}

/// A value in quotation marks, or up to the end of the line.
fn unquoted(value: &str) -> Result<String, String> {
    if !value.starts_with(['"', '\'']) {
        return Ok(value.to_owned());
    }
    words(value).map(|words| words.concat())
}

fn words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| format!("{text:?} has a quotation mark without its partner"))
}
