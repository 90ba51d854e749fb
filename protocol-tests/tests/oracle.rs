//! The transcripts, held against the installed memcached.

use protocol_tests::{
    memcached::{Memcached, unix_time},
    pattern::Captures,
    replay::run,
    transcript::{Dialect, Test, load},
};
use std::{
    io::{BufRead, BufReader, Write},
    thread,
};

/// Each file has a memcached of its own, so that its flushes concern nobody else.
#[test]
fn memcached_answers_as_written() {
    let files = load().unwrap();
    let failures: Vec<String> = thread::scope(|scope| {
        let replays: Vec<_> = files
            .iter()
            .map(|tests| scope.spawn(|| replay(tests)))
            .collect();
        replays
            .into_iter()
            .filter_map(|file| file.join().unwrap().err())
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn replay(tests: &[Test]) -> Result<(), String> {
    let memcached = Memcached::start()?;
    let version = version(&memcached)?;
    let dialect = Dialect::of_version(&version).ok_or_else(|| {
        format!("the transcripts do not know memcached {version}: install Debian 12's, 1.6.18")
    })?;
    let replay = |test| {
        run(
            test,
            &mut memcached.connect()?,
            dialect,
            Captures::new(unix_time()?, &version),
        )
    };
    let failures: Vec<String> = tests.iter().filter_map(|test| replay(test).err()).collect();
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n"))
    }
}

fn version(memcached: &Memcached) -> Result<String, String> {
    let mut stream = memcached.connect()?;
    let mut line = String::new();
    stream
        .write_all(b"version\r\n")
        .and_then(|()| BufReader::new(stream).read_line(&mut line))
        .map_err(|error| format!("cannot ask for the version: {error}"))?;
    let version = line
        .strip_prefix("VERSION ")
        .ok_or_else(|| format!("no version: {line}"))?;
    Ok(version.trim_end().to_owned())
}
