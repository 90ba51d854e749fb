//! The transcripts, held against nuthatch: as they are, and with every stream cut at every byte.

use nuthatch::administer::VERSION;
use protocol_tests::{
    nuthatch::{CutPeer, Nuthatch, config},
    pattern::Captures,
    replay::run,
    transcript::{Dialect, Step, Test, load},
};

#[test]
fn nuthatch_answers_as_written() {
    assert_eq!(failures(&[]).unwrap(), "");
}

#[test]
fn clients_see_nothing_of_compression() {
    assert_eq!(failures(&["--compress-min", "64"]).unwrap(), "");
}

/// Replays all transcripts against servers with these flags.
fn failures(flags: &[&str]) -> Result<String, String> {
    let mut failures = Vec::new();
    for tests in load()? {
        let nuthatch = Nuthatch::start(flags)?;
        for test in tests {
            let mut peer = nuthatch.connect().map_err(|error| error.to_string())?;
            let now = nuthatch.clock().now().unix_millis / 1000;
            let captures = Captures::new(now, VERSION);
            failures.extend(run(&test, &mut peer, Dialect::Nuthatch, captures).err());
        }
    }
    Ok(failures.join("\n"))
}

#[test]
fn where_a_stream_is_cut_does_not_matter() {
    let config = config(&[]).unwrap();
    let files = load().unwrap();
    let mut failures = Vec::new();
    for test in files.iter().flatten().filter(|test| test.cuttable) {
        for cut in cuts(test) {
            let mut peer = CutPeer::new(&config, cut).unwrap();
            let captures = Captures::new(peer.unix_time(), VERSION);
            if let Err(failure) = run(test, &mut peer, Dialect::Nuthatch, captures) {
                failures.push(format!("cut after {cut} bytes: {failure}"));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Every position in the stream, but of a long send only those near its ends.
fn cuts(test: &Test) -> Vec<usize> {
    const NEAR: usize = 300;
    let captures = Captures::new(0, VERSION);
    let mut cuts = Vec::new();
    let mut position = 0;
    for (_, step) in &test.steps {
        if let Step::Send(pattern) = step {
            // A name that is bound only later stands for a number of some length; a cut somewhat
            // beyond the end of the stream is no cut.
            let len = pattern.render(&captures).map_or(NEAR, |bytes| bytes.len());
            let near_end = |offset: &usize| *offset < NEAR || offset + NEAR > len;
            cuts.extend((0..len).filter(near_end).map(|offset| position + offset));
            position += len;
        }
    }
    cuts
}
