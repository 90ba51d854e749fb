//! What is stored over a restart, and over an end that nobody chose.

use crate::daemon::{Daemon, ask, run, stat, wait_for};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A daemon that keeps what it has in `file`.
fn start(file: &Path, flags: &[&str]) -> Daemon {
    let file = file.to_str().unwrap();
    Daemon::start(&[&["-e", file], flags].concat())
}

/// Waits until the daemon has taken back so many items.
fn wait_for_items(daemon: &Daemon, items: usize) {
    let mut stream = daemon.connect();
    let items = items.to_string();
    wait_for("the items", || {
        (stat(&mut stream, "curr_items") == items).then_some(())
    });
}

/// Sends all of it, with nobody waiting for answers but for that of `mn`.
fn send(stream: &mut TcpStream, requests: &str) {
    let mut writer = stream.try_clone().unwrap();
    let answer = thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(requests.as_bytes()).unwrap();
            writer.write_all(b"mn\r\n").unwrap();
        });
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(1, &mut *stream);
        reader.read_line(&mut line).unwrap();
        line
    });
    assert_eq!(answer, "MN\r\n");
}

fn value(number: usize) -> String {
    format!("value of {number}, which is {}", number * 7919 % 1009)
}

/// ` key-0 key-1 ...`
fn keys(numbers: Range<usize>) -> String {
    numbers.fold(String::new(), |mut keys, number| {
        write!(keys, " key-{number}").unwrap();
        keys
    })
}

const FAR: usize = 86_400;

#[test]
fn a_million_items_come_back_after_sigterm_under_load() {
    const ITEMS: usize = 1_000_000;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let flags = ["-m", "1024", "-t", "2"];
    let mut daemon = start(&file, &flags);
    let mut stream = daemon.connect();
    let mut requests = String::new();
    for number in 0..ITEMS {
        let value = value(number);
        let exptime = if number % 3 == 0 { 0 } else { FAR };
        let flags = number % 5;
        let len = value.len();
        write!(
            requests,
            "set key-{number} {flags} {exptime} {len} noreply\r\n{value}\r\n"
        )
        .unwrap();
    }
    send(&mut stream, &requests);
    let before = ask(&mut stream, "mg key-500000 c f t v\r\n");
    // Load until the end: gets, and sets of other keys.
    let load = daemon.connect();
    let busy = thread::spawn(move || load_until_closed(load));
    daemon.signal("TERM");
    let code = wait_for("the end", || daemon.child.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
    busy.join().unwrap();

    let daemon = start(&file, &flags);
    let mut stream = daemon.connect();
    wait_for("the items", || {
        let items: usize = stat(&mut stream, "curr_items").parse().unwrap();
        (items >= ITEMS).then_some(())
    });
    let after = ask(&mut stream, "mg key-500000 c f t v\r\n");
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (words(&before), words(&after));
    // All the same but the time left, which is less by the seconds that have passed.
    assert_eq!(before[..4], after[..4]);
    let left = |words: &[String]| words[4].trim_end()[1..].parse::<usize>().unwrap();
    assert!((FAR - 100..=left(&before)).contains(&left(&after)));
    // A cas unique from before fits.
    let unique = before[2].strip_prefix('c').unwrap();
    let mut rest = String::new();
    BufReader::with_capacity(1, &mut stream)
        .read_line(&mut rest)
        .unwrap();
    assert_eq!(
        ask(&mut stream, &format!("ms key-500000 1 C{unique}\r\nx\r\n")),
        "HD\r\n"
    );
    assert_eq!(
        ask(&mut stream, &format!("ms key-500000 1 C{unique}\r\nx\r\n")),
        "EX\r\n"
    );
    let missing = missing(&mut stream, ITEMS);
    assert_eq!(missing, Vec::<usize>::new());
}

fn load_until_closed(mut load: TcpStream) {
    let mut buffer = [0; 4096];
    for number in 0_usize.. {
        let request = format!("set other-{number} 0 0 1\r\nx\r\nget key-{number}\r\n");
        let sent = load.write_all(request.as_bytes());
        if sent.is_err() || load.read(&mut buffer).unwrap_or(0) == 0 {
            return;
        }
    }
}

/// The numbers of the items that are not there, or not as they were.
fn missing(stream: &mut TcpStream, items: usize) -> Vec<usize> {
    let mut missing = Vec::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for first in (0..items).step_by(1000) {
        let numbers = first..(first + 1000).min(items);
        let keys = keys(numbers.clone());
        stream
            .write_all(format!("get{keys}\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        while !answer.ends_with("END\r\n") {
            assert_ne!(reader.read_line(&mut answer).unwrap(), 0);
        }
        for number in numbers.filter(|number| *number != 500_000) {
            let value = value(number);
            let item = format!(
                "VALUE key-{number} {} {}\r\n{value}\r\n",
                number % 5,
                value.len()
            );
            if !answer.contains(&item) {
                missing.push(number);
            }
        }
    }
    missing
}

/// Numbers that look random and are the same each time.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Nothing that compresses well, so that writing takes its time.
fn noise(state: &mut u64) -> String {
    (0..60).fold(String::new(), |mut noise, _| {
        write!(noise, "{:07x}", random(state) & 0xfff_ffff).unwrap();
        noise
    })
}

#[test]
fn sigkill_at_any_moment_leaves_one_whole_snapshot() {
    const KILLS: usize = 200;
    const ITEMS: usize = 3000;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let mut state = 1;
    let mut kept = 0;
    let (mut older, mut newer) = (0, 0);
    for generation in 1..=KILLS + 1 {
        let mut daemon = start(&file, &["-t", "1"]);
        if kept > 0 {
            wait_for_items(&daemon, ITEMS);
        }
        let mut stream = daemon.connect();
        let found = generations(&mut stream, ITEMS);
        if kept == 0 {
            assert!(found.is_empty(), "{found:?}");
        } else {
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0] == kept || found[0] == generation - 1, "{found:?}");
            older += usize::from(found[0] == kept && kept != generation - 1);
            newer += usize::from(found[0] == generation - 1);
            kept = found[0];
        }
        let mut requests = String::new();
        for number in 0..ITEMS {
            let noise = noise(&mut state);
            let value = format!("{generation} {noise}");
            write!(
                requests,
                "set key-{number} 0 0 {} noreply\r\n{value}\r\n",
                value.len()
            )
            .unwrap();
        }
        send(&mut stream, &requests);
        drop(stream);
        daemon.signal("TERM");
        if generation == 1 {
            // The first must be whole: there is none before it.
            wait_for("the end", || daemon.child.try_wait().unwrap());
            kept = 1;
        } else {
            // Longer and longer, so that a slow machine too is killed before, while and after it writes.
            let longest = 12_000 + 500 * generation as u64;
            thread::sleep(Duration::from_micros(random(&mut state) % longest));
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
    }
    assert!(
        older > 0 && newer > 0,
        "all {older} older, {newer} newer: nothing was killed while it was written"
    );
}

/// What the values of all items begin with.
fn generations(stream: &mut TcpStream, items: usize) -> Vec<usize> {
    let keys = keys(0..items);
    stream
        .write_all(format!("get{keys}\r\n").as_bytes())
        .unwrap();
    let mut found = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if line == "END" {
            break;
        }
        if !line.starts_with("VALUE") {
            found.push(line.split(' ').next().unwrap().parse().unwrap());
        }
    }
    let count = found.len();
    assert!(count == items || count == 0, "{count} of {items} items");
    found.dedup();
    found
}

#[test]
fn two_signals_end_it_at_once_and_the_snapshot_before_stays() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let mut daemon = start(&file, &[]);
    assert_eq!(
        ask(&mut daemon.connect(), "set a 0 0 1\r\nx\r\n"),
        "STORED\r\n"
    );
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code_within_a_second(), Some(0));
    let whole = fs::read(&file).unwrap();
    assert!(whole.len() > 100);

    let mut daemon = start(&file, &["-m", "1024"]);
    let mut stream = daemon.connect();
    let value = "v".repeat(1_000_000);
    for number in 0..600 {
        let request = format!("set key-{number} 0 0 {}\r\n{value}\r\n", value.len());
        assert_eq!(ask(&mut stream, &request), "STORED\r\n");
    }
    daemon.signal("TERM");
    let temporary = folder.path().join("memory.tmp");
    wait_for("the beginning of the snapshot", || {
        temporary.exists().then_some(())
    });
    daemon.signal("INT");
    assert_eq!(daemon.exit_code_within_a_second(), Some(0));
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[test]
fn a_folder_of_snapshots_is_as_good_as_a_file() {
    let folder = TempDir::new().unwrap();
    let flags = ["--snapshot", folder.path().to_str().unwrap()];
    for (stop, expected) in [
        ("INT", "STORED\r\n"),
        ("USR1", "NOT_STORED\r\n"),
        ("TERM", "NOT_STORED\r\n"),
    ] {
        let mut daemon = Daemon::start(&flags);
        if stop != "INT" {
            wait_for_items(&daemon, 1);
        }
        assert_eq!(ask(&mut daemon.connect(), "add a 0 0 1\r\nx\r\n"), expected);
        daemon.signal(stop);
        assert_eq!(daemon.exit_code_within_a_second(), Some(0));
    }
    let file = folder.path().join("nuthatch.snapshot");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_command_shutdown_keeps_the_items_too() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let mut daemon = start(&file, &["-A"]);
    let mut stream = daemon.connect();
    assert_eq!(ask(&mut stream, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    stream.write_all(b"shutdown\r\n").unwrap();
    assert_eq!(daemon.exit_code_within_a_second(), Some(0));
    wait_for_items(&start(&file, &[]), 1);
}

#[test]
fn a_place_that_cannot_hold_a_snapshot_is_said_at_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path().to_str().unwrap();
    let missing = format!("{folder}/missing/memory");
    for file in [folder, &missing, "/proc/memory"] {
        let (code, output) = run(&["-u", "root", "-l", "127.0.0.1", "-p", "-1", "-e", file]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(code, Some(71), "{text}");
        assert!(text.contains("cannot keep a snapshot in"), "{text}");
    }
    let (code, output) = run(&["-u", "root", "-e", "a", "--snapshot", folder]);
    assert_eq!(code, Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("either -e or --snapshot"), "{text}");
}

#[test]
fn a_damaged_snapshot_loses_what_is_damaged_and_says_so() {
    const ITEMS: usize = 20_000;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("memory");
    let mut daemon = start(&file, &["-m", "64"]);
    let mut requests = String::new();
    for number in 0..ITEMS {
        let value = value(number);
        write!(
            requests,
            "set key-{number} {} 0 {} noreply\r\n{value}\r\n",
            number % 5,
            value.len()
        )
        .unwrap();
    }
    send(&mut daemon.connect(), &requests);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code_within_a_second(), Some(0));
    let whole = fs::read(&file).unwrap();
    let middle = whole.len() / 2;
    let damaged: [(&str, Vec<u8>); 4] = [
        ("a bit", {
            let mut bytes = whole.clone();
            bytes[middle] ^= 1;
            bytes
        }),
        ("cut short", whole[..middle].to_vec()),
        (
            "a gap",
            [&whole[..middle - 5000], &whole[middle..]].concat(),
        ),
        ("foreign", b"this is memcached's".repeat(10_000)),
    ];
    for (what, bytes) in damaged {
        fs::write(&file, bytes).unwrap();
        let (mut daemon, said) = start_and_listen(&file);
        let is_said = said.contains("damaged=") && !said.contains("damaged=0");
        assert!(is_said, "{what}: {said}");
        let mut stream = daemon.connect();
        let items: usize = stat(&mut stream, "curr_items").parse().unwrap();
        assert!(
            items < ITEMS && (items > 0 || what == "foreign"),
            "{what}: {items}"
        );
        // None is wrong: what is not missing is as it was.
        assert_eq!(missing(&mut stream, ITEMS).len(), ITEMS - items, "{what}");
        daemon.child.kill().unwrap();
    }
}

/// The same, and what it says when all is back.
fn start_and_listen(file: &Path) -> (Daemon, String) {
    let file = file.to_str().unwrap();
    let mut daemon = Daemon::start_with(&["-e", file], Stdio::piped());
    let log = BufReader::new(daemon.child.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    let said = lines.find(|line| line.contains("the snapshot is restored"));
    (daemon, said.unwrap_or_default())
}
