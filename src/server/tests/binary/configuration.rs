//! Where the values of flags come from, and `nuthatch config`.

use crate::program::{File, PROGRAM, nuthatch, outcome, run, shown, shown_from};
use nuthatch::config_file::CONFIG_FILE_LEN_MAX;
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let file = File::new("conn-limit = 1\nthreads = 1\nmemory-limit = 1\nlisten = ['a', 'b']\n");
    let found = shown(
        nuthatch(&["config", "show", "--config", &file.name()])
            .args(["-c", "3", "-l", "c", "--json"])
            .env("NUTHATCH_CONN_LIMIT", "2")
            .env("NUTHATCH_THREADS", "2")
            .env("NUTHATCH_LISTEN", "d"),
    );
    let flag = |value: Value| serde_json::json!({ "value": value, "origin": "flag" });
    assert_eq!(found["conn-limit"], flag(3.into()));
    // A list of one origin, not of several.
    assert_eq!(found["listen"], flag(vec!["c"].into()));
    assert_eq!(
        found["threads"],
        serde_json::json!({ "value": 2, "origin": "environment", "variable": "NUTHATCH_THREADS" })
    );
    assert_eq!(
        found["memory-limit"],
        serde_json::json!({ "value": 1, "origin": "file", "file": file.name() })
    );
    assert_eq!(
        found["port"],
        serde_json::json!({ "value": 11211, "origin": "default" })
    );
    assert_eq!(
        found["user"],
        serde_json::json!({ "value": null, "origin": "default" })
    );
}

#[test]
fn what_show_prints_is_a_configuration_file() {
    let line = ["-m +0128m", "-vv", "-l", "127.0.0.1", "-l", "::1", "-M"];
    let more = ["-f", "1.5", "-o", "modern,idle_timeout=5", "-u", "root"];
    let flags = [&line[..], &more].concat();
    let show = [&["config", "show"], &flags[..]].concat();
    let (code, text, errors) = run(&show);
    assert_eq!(code, Some(0), "{errors}");
    // What help does not mention is not shown unless it is given, as -f is.
    assert!(!text.contains("slab-min-size"), "{text}");
    let expected = "memory-limit = 128                       # flag\n";
    assert!(text.contains(expected), "{text}");
    let expected = "# threads                                # default: as many as cores\n";
    assert!(text.contains(expected), "{text}");
    let file = File::new(text);
    let (code, _, errors) = run(&["config", "check", "--config", &file.name()]);
    assert_eq!(code, Some(0), "{errors}");
    let values = |settings: Value| -> Vec<(String, Value)> {
        let settings = settings.as_object().unwrap().clone();
        let values = settings.into_iter();
        values
            .map(|(name, mut setting)| (name, setting["value"].take()))
            .collect()
    };
    let from_flags = shown(nuthatch(&show).arg("--json"));
    let from_file = shown(nuthatch(&["config", "show", "--json", "--config"]).arg(file.path()));
    assert_eq!(from_file["extended"]["origin"], "file");
    assert_eq!(from_file["slab-growth-factor"]["value"], "1.5");
    assert_eq!(values(from_flags), values(from_file));
}

#[test]
fn a_value_in_a_file_has_a_type() {
    let found = shown_from(
        "port = -1\nunix-mask = \"770\"\nmax-item-size = '2m'\ndisable-cas = true\n\
         disable-dumping = false\nverbose = 2\nlisten = \"::1\"\nmemory-limit = 0x40\n\
         pidfile = \"/run/a \\\"b\\\".pid\"\n",
    );
    for (name, value) in [
        ("port", Value::from(-1)),
        ("unix-mask", "770".into()),
        ("max-item-size", "2m".into()),
        ("disable-cas", true.into()),
        ("disable-dumping", false.into()),
        ("verbose", 2.into()),
        ("listen", vec!["::1"].into()),
        ("memory-limit", 64.into()),
        ("pidfile", "/run/a \"b\".pid".into()),
    ] {
        assert_eq!(found[name]["value"], value, "{name}");
        assert_eq!(found[name]["origin"], "file", "{name}");
    }
}

#[test]
fn suboptions_are_a_list_or_a_table() {
    let list = shown_from("extended = [\"idle_timeout=5\", \"modern,track_sizes\"]");
    let expected = serde_json::json!(["idle_timeout=5", "modern,track_sizes"]);
    assert_eq!(list["extended"]["value"], expected);
    let table = shown_from(
        "[extended]\nidle_timeout = 5\nmodern = true\ntrack_sizes = false\n\
         hash_algorithm = \"murmur3\"\nslab_automove_ratio = 0.8\n",
    );
    let expected = serde_json::json!([
        "hash_algorithm=murmur3",
        "idle_timeout=5",
        "modern",
        "slab_automove_ratio=0.8"
    ]);
    assert_eq!(table["extended"]["value"], expected);
}

#[test]
fn a_bad_file_ends_with_78_and_says_where_and_why() {
    for (content, message) in [
        (
            "port = 1\nmemory_limit = 64",
            "line 2: there is no \"memory_limit\"; did you mean \"memory-limit\"?",
        ),
        ("[namespace.\"x\"]", "there is no \"namespace\""),
        ("memory = 64", "there is no \"memory\""),
        ("config = \"x\"", "there is no \"config\""),
        ("license = true", "there is no \"license\""),
        ("help = true", "there is no \"help\""),
        ("words = [\"x\"]", "there is no \"words\""),
        ("port = 1\n\nport = 2", "line 3: duplicate key"),
        ("port = \n", "line 1: "),
        ("port = \"1\"", "must be a number, without quotation marks"),
        ("port = 1.5", "must be a number"),
        ("port = 99999999999", "number too large"),
        ("port = 99999999999999999999", "number too large"),
        (
            "memory-limit = -1",
            "invalid value '-1' for '--memory-limit",
        ),
        ("verbose = true", "must be a number"),
        ("verbose = 10", "a number from 0 to 9"),
        ("daemon = 1", "must be true or false"),
        ("unix-mask = 0o700", "unix-mask = \"MASK\""),
        ("user = [\"root\"]", "user = \"USER\""),
        ("listen = 1", "listen = [\"ADDR\"]"),
        ("listen = [1]", "not a value of type integer"),
        ("[listen]\na = 1", "listen = [\"ADDR\"]"),
        ("[extended]\nhot_max_factor = []", "not of type array"),
        ("[extended]\next_path = \"/a,b\"", "has a comma"),
        (
            "[extended]\nidle_timout = 5",
            "did you mean \"idle_timeout\"?",
        ),
        ("[extended]\nidle_timeout = \"x\"", "must be a number"),
        ("[extended]\next_path = \"/a\"", "flash"),
        ("conn-limit = 0", "(-c)"),
        (
            "memory-limit = 64\nmax-item-size = \"33m\"",
            "half of the memory",
        ),
    ] {
        let file = File::new(content);
        let arguments = ["--config", &file.name(), "-u", "root", "-p", "0"];
        let (code, _, daemon) = run(&arguments);
        assert_eq!(code, Some(78), "{content}: {daemon}");
        assert!(daemon.contains(message), "{content}: {daemon}");
        assert!(daemon.contains(&file.name()), "{daemon}");
        let (code, _, check) = run(&[&["config", "check"], &arguments[..]].concat());
        assert_eq!(code, Some(78), "{content}: {check}");
        assert!(daemon.contains(check.trim()), "{check}: {daemon}");
    }
}

#[test]
fn a_flag_may_put_right_what_the_file_has_wrong() {
    let file = File::new("conn-limit = 0\nmax-item-size = \"64m\"\nuser = \"root\"\n");
    let check = |more: &[&str]| {
        let (code, _, errors) =
            run(&[&["config", "check", "--config", &file.name()], more].concat());
        (code, errors)
    };
    assert_eq!(check(&["-c", "1", "-m", "128"]), (Some(0), String::new()));
    assert_eq!(check(&["-c", "1"]).0, Some(78));
    // What would be wrong with any file is not its fault.
    assert_eq!(check(&["-c", "1", "-m", "128", "-t", "0"]).0, Some(1));
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let content = |len: u64| {
        let mut content = "port = 12 #".to_owned();
        content.push_str(&"x".repeat(usize::try_from(len).unwrap() - content.len()));
        content
    };
    let found = shown_from(&content(CONFIG_FILE_LEN_MAX));
    assert_eq!(found["port"]["value"], 12);
    let file = File::new(content(CONFIG_FILE_LEN_MAX + 1));
    let (code, _, errors) = run(&["config", "check", "--config", &file.name()]);
    assert_eq!(code, Some(78));
    assert!(errors.contains("longer than 1048576 bytes"), "{errors}");
}

#[test]
fn a_file_that_is_no_text_or_not_there_is_said() {
    let file = File::new(b"port = 1 # \xff\n");
    let nested = File::new("listen = ".to_owned() + &"[".repeat(100_000));
    let folder = file.path().parent().unwrap().to_str().unwrap().to_owned();
    for (path, message) in [
        (file.name(), "no text"),
        (nested.name(), "recursion"),
        (folder, "cannot read it"),
        ("/no/such/file".to_owned(), "cannot read it"),
    ] {
        let (code, _, errors) = run(&["config", "check", "--config", &path]);
        assert_eq!(code, Some(78), "{errors}");
        assert!(errors.contains(message), "{errors}");
    }
}

#[test]
fn check_ends_as_the_daemon_would() {
    for line in [
        &["--no-such-flag"][..],
        &["-m", "x"],
        &["--m", "64"],
        &["-c", "0"],
        &["-U", "1"],
        &["-I", "33m"],
        &["-o", "nonsense"],
        &["-l", "no.such.host.invalid"],
        &["-u", "no-such-user"],
        &["-Y", "/no/such/file"],
        &[
            "-Z",
            "-o",
            "ssl_chain_cert=/no/such/file,ssl_key=/no/such/file",
        ],
        &["-e", "/no/such/folder/snapshot"],
        &["-e", "/proc/version/snapshot"],
        &["-e", "/proc"],
    ] {
        let line = [line, &["-p", "-1"]].concat();
        let line = if line[0] == "-u" {
            line
        } else {
            [&line[..], &["-u", "root"]].concat()
        };
        let (daemon_code, _, daemon) = run(&line);
        let (code, _, errors) = run(&[&["config", "check"], &line[..]].concat());
        assert_eq!(code, daemon_code, "{line:?}");
        assert_ne!(code, Some(0), "{line:?}");
        assert!(daemon.contains(errors.trim()), "{errors}: {daemon}");
    }
    let (code, ..) = run(&["config", "check", "-u", "root", "-V"]);
    assert_eq!(code, Some(0));
    let (code, _, errors) =
        outcome(nuthatch(&["config", "check", "-u", "root"]).env("NUTHATCH_CONN_LIMIT", "few"));
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("NUTHATCH_CONN_LIMIT: "), "{errors}");
}

#[test]
fn check_binds_nothing_and_says_what_has_no_effect() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = TempDir::new().unwrap();
    let pidfile = folder.path().join("pid");
    let (code, _, errors) = outcome(
        nuthatch(&["config", "check", "-u", "root", "-l", "127.0.0.1"])
            .args(["-p", &port, "-d", "-n", "48", "-P"])
            .arg(&pidfile),
    );
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(errors, "-n has no effect: there is nothing to set\n");
    assert!(!pidfile.exists());
}

#[test]
fn the_log_begins_at_the_level_that_the_environment_names() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let log = |level: &str| {
        let line = [
            "-u",
            "root",
            "-l",
            "127.0.0.1",
            "-p",
            &port,
            "-n",
            "48",
            "--newer",
        ];
        let (code, _, errors) = outcome(
            nuthatch(&line)
                .env("NUTHATCH_LOG", level)
                .env("NUTHATCH_IGNORE_UNKNOWN", "1"),
        );
        assert_eq!(code, Some(71), "{errors}");
        let said = |text| errors.contains(text);
        let notes = said("-n has no effect") && said("--newer is ignored");
        (
            notes,
            said("cannot listen"),
            said("NUTHATCH_LOG is no level"),
        )
    };
    assert_eq!(log(""), (true, true, false));
    assert_eq!(log("warn"), (false, true, false));
    assert_eq!(log("off"), (false, false, false));
    assert_eq!(log("loud"), (true, true, true));
}

#[test]
fn verbs_are_for_nuthatch_alone() {
    let folder = TempDir::new().unwrap();
    let memcached: &Path = &folder.path().join("memcached");
    symlink(PROGRAM, memcached).unwrap();
    let mut version = Command::new(memcached);
    let (code, text, _) = outcome(version.args(["config", "-V"]));
    assert_eq!(code, Some(0));
    assert_eq!(text, "memcached 1.6.45-nuthatch-0.1.0\n");
    let (_, text, _) = outcome(Command::new(memcached).arg("-h"));
    assert!(
        text.starts_with("memcached 1.6.45-nuthatch-0.1.0\n"),
        "{text}"
    );
    let (_, text, _) = run(&["memcached", "-h"]);
    assert!(
        text.starts_with("memcached 1.6.45-nuthatch-0.1.0\n"),
        "{text}"
    );
    // A word that is no verb is skipped.
    let (_, text, _) = run(&["configuration", "-V"]);
    assert_eq!(text, "nuthatch 0.1.0 (memcached 1.6.45)\n");
    // Who reads may leave early.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, _, errors) = outcome(nuthatch(&["man"]).stdout(writer));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (code, text, _) = run(&["help"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("completions"), "{text}");
    let (code, _, errors) = run(&["config", "nonsense"]);
    assert_eq!(code, Some(1), "{errors}");
}
