//! There is one table of flags, `Flags`: help, manual page, completions, environment, configuration file and README
//! name each of them, and none besides.

use crate::program::{nuthatch, outcome};
use clap::{Arg, ArgAction, Command, CommandFactory as _};
use nuthatch::flags::Flags;
use nuthatch::given::{IGNORE_UNKNOWN, variable_of};
use nuthatch::setting::Kind;
use nuthatch::telemetry::LOG;
use std::collections::BTreeSet;
use std::fs;

/// `nuthatch` with these arguments and variables must succeed; what it prints.
fn printed<'a>(
    arguments: &[&str],
    variables: impl IntoIterator<Item = (&'a str, String)>,
) -> String {
    let mut program = nuthatch(arguments);
    let (code, text, errors) = outcome(program.envs(variables));
    assert_eq!(code, Some(0), "{arguments:?}: {errors}");
    text
}

/// The page as text.
fn manual_page() -> String {
    let page = printed(&["man"], []);
    page.replace("\\-", "-").replace("\\fB", "")
}

/// The daemon's flags as they are defined, `--help` included.
fn table() -> Command {
    let mut command = Flags::command();
    command.build();
    command
}

/// The long names of flags that operators shall know.
fn known() -> BTreeSet<String> {
    let table = table();
    let flags = table.get_arguments().filter(|flag| !flag.is_hide_set());
    flags
        .map(|flag| format!("--{}", flag.get_long().unwrap()))
        .collect()
}

/// All words of a text that look like long flags.
fn named(text: &str) -> BTreeSet<String> {
    let words =
        text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    words
        .filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| !name.starts_with('-'))
        })
        .map(|word| word.trim_end_matches('-').to_owned())
        .filter(|word| word.len() > 2)
        .collect()
}

#[test]
fn help_and_manual_page_name_each_flag_and_no_other() {
    assert_eq!(named(&printed(&["--help"], [])), known());
    assert_eq!(named(&manual_page()), known());
}

#[test]
fn the_manual_page_names_each_variable_and_each_verb() {
    let page = manual_page();
    let words = page.split(|character: char| !character.is_ascii_uppercase() && character != '_');
    let found: BTreeSet<_> = words
        .filter(|word| word.starts_with("NUTHATCH_"))
        .map(str::to_owned)
        .collect();
    let table = table();
    let flags = table.get_arguments().filter(|flag| !flag.is_hide_set());
    let expected = flags
        .filter_map(variable_of)
        .chain([IGNORE_UNKNOWN.to_owned(), LOG.to_owned()]);
    assert_eq!(found, expected.collect());
    for verb in verbs(&printed(&["help"], [])) {
        assert!(page.contains(&format!("nuthatch {verb}: ")), "{verb}");
    }
}

#[test]
fn help_names_each_verb_and_that_of_memcached_none() {
    let help = |program: &[&str]| {
        let words = printed(&[program, &["--help"]].concat(), []);
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let listed = printed(&["help"], []);
    let listed = verbs(&listed).collect::<Vec<_>>().join(", ");
    assert!(listed.starts_with("ping, get, set, "), "{listed}");
    let sentence = format!("Instead of flags there may be a verb: {listed}.");
    assert!(help(&[]).contains(&sentence));
    assert!(!help(&["memcached"]).contains("there may be a verb"));
}

/// The verbs that a help lists, each on a line of its own.
fn verbs(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().filter_map(|line| line.strip_prefix("  "));
    lines
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
}

/// The flags that the help of a verb names, or of all, and of those below it.
fn flags_of_verbs(verb: &[&str]) -> BTreeSet<String> {
    let help = match verb {
        [] => printed(&["help"], []),
        _ => printed(&[verb, &["--help"]].concat(), []),
    };
    verbs(&help).fold(named(&help), |flags, below| {
        &flags | &flags_of_verbs(&[verb, &[below]].concat())
    })
}

#[test]
fn completions_know_each_flag_and_no_other() {
    let known_or_of_verbs = &known() | &flags_of_verbs(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let text = printed(&["completions", shell], []);
        let found: BTreeSet<String> = match shell {
            // Lines like: complete -c nuthatch -s p -l port
            "fish" => text
                .lines()
                .filter(|line| line.starts_with("complete "))
                .filter_map(|line| line.split_once(" -l "))
                .filter_map(|(_, rest)| rest.split_whitespace().next())
                .map(|long| format!("--{long}"))
                .collect(),
            _ => named(&text),
        };
        assert_eq!(&known() - &found, BTreeSet::new(), "{shell} lacks these");
        assert_eq!(&found - &known_or_of_verbs, BTreeSet::new(), "{shell}");
    }
}

#[test]
fn completions_know_the_flags_of_check_and_show_too() {
    let text = printed(&["completions", "fish"], []);
    let lines = text
        .lines()
        .filter(|line| line.contains(" -l memory-limit "));
    assert_eq!(lines.count(), 3);
}

/// A value that the flag can take, as an environment variable and in a configuration file.
fn sample(flag: &Arg, kind: Kind) -> (String, String) {
    let default = flag.get_default_values().first();
    let possible = flag.get_possible_values();
    let possible = possible.first().map(|value| value.get_name().to_owned());
    let text = default.map(|value| value.to_str().unwrap().to_owned());
    let text = text.or(possible).unwrap_or_else(|| "1".to_owned());
    match kind {
        Kind::Switch => ("true".into(), "true".into()),
        Kind::Count => ("1".into(), "1".into()),
        Kind::Number => (text.clone(), text),
        Kind::List => (text.clone(), format!("[\"{text}\"]")),
        _ => (text.clone(), format!("\"{text}\"")),
    }
}

#[test]
fn each_flag_is_a_variable_and_a_key_of_the_configuration_file() {
    let table = table();
    let (mut variables, mut file, mut names) = (Vec::new(), String::new(), Vec::new());
    for flag in table.get_arguments() {
        let Some(kind) = Kind::of(flag) else {
            let prints = matches!(flag.get_action(), ArgAction::Help | ArgAction::Version);
            let id = flag.get_id().as_str();
            assert!(
                prints || ["config", "license", "words"].contains(&id),
                "{id}"
            );
            continue;
        };
        let long = flag.get_long().unwrap();
        let (variable, toml) = sample(flag, kind);
        variables.push((variable_of(flag).unwrap(), variable));
        file.extend([long, " = ", &toml, "\n"]);
        names.push(long.to_owned());
    }
    let variables = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()));
    let origins = |text: String, origin: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split_once(" = ").unwrap());
        lines
            .inspect(|(name, rest)| assert!(rest.contains(origin), "{name} = {rest}"))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    let shown = printed(&["config", "show"], variables);
    assert_eq!(origins(shown, "# environment NUTHATCH_"), names);
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("toml");
    fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let shown = printed(&["config", "show", "--config", path], []);
    assert_eq!(origins(shown, "# file "), names);
    // The file itself may be a variable's.
    let shown = printed(&["config", "show"], [("NUTHATCH_CONFIG", path.to_owned())]);
    assert_eq!(origins(shown, "# file "), names);
}

/// memcached's tests, and scripts of others, look into `memcached -h` for what it can do.
#[test]
fn help_promises_nothing_that_is_not_there() {
    let help = printed(&["memcached", "-h"], []).to_lowercase();
    let first_line = help.lines().next().unwrap();
    let version = first_line.strip_prefix("memcached 1.6.");
    assert!(version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())));
    assert!(help.contains("unix-socket"));
    for absent in ["sasl", "ext_path", "proxy_config", "drop_privileges"] {
        assert!(!help.contains(absent), "{absent}");
    }
    let has_tls = table()
        .get_arguments()
        .any(|flag| flag.get_long() == Some("enable-ssl"));
    assert_eq!(help.contains("enable-ssl"), has_tls);
}

/// A row of the README's table.
fn row(flag: &Arg) -> String {
    let value = match flag.get_value_names() {
        Some([value, ..]) if flag.get_action().takes_values() => format!(" {value}"),
        _ => String::new(),
    };
    let long = flag.get_long().unwrap();
    let names = match flag.get_short() {
        Some(short) => format!("`-{short}{value}`, `--{long}`"),
        None => format!("`--{long}{value}`"),
    };
    let help = flag.get_help().unwrap().to_string();
    let (meaning, default) = help.split_once(" [default: ").unwrap_or((&help, ""));
    let values = flag.get_default_values().first();
    let default = values
        .filter(|_| flag.get_action().takes_values())
        .and_then(|value| value.to_str())
        .unwrap_or_else(|| default.trim_end_matches(']'));
    format!(
        "| {names} | {} | {default} |\n",
        meaning.replace('|', "\\|")
    )
}

#[test]
fn the_readme_has_the_table_of_flags() {
    let mut table_of_flags = "| flag | meaning | default |\n|---|---|---|\n".to_owned();
    let table = table();
    let flags = table.get_arguments().filter(|flag| !flag.is_hide_set());
    table_of_flags.extend(flags.map(row));
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    assert!(
        readme.contains(&format!("\n\n{table_of_flags}\n")),
        "the README's table of flags must be:\n\n{table_of_flags}"
    );
}
