//! Replays a trace through a daemon, over a socket.

use std::collections::HashSet;
use std::io;

use benches::daemon::{Connection, Daemon};

use crate::Misses;
use crate::policy::key;
use crate::trace::{Request, Source};

/// Keys of one multiget. They are all different, so that it does not matter that they are asked for
/// before any of them is set.
const BATCH_LEN: usize = 32;

/// The miss ratio of the second half of the trace.
pub(crate) fn replay(trace: &dyn Source, daemon: &Daemon) -> io::Result<f64> {
    let mut connection = daemon.connect()?;
    let mut misses = Misses::new(trace.len());
    let mut batch: Vec<Request> = Vec::new();
    for request in trace.requests() {
        let is_repeated = batch.iter().any(|other| other.id == request.id);
        if is_repeated || batch.len() == BATCH_LEN {
            ask(&mut connection, &batch, &mut misses)?;
            batch.clear();
        }
        batch.push(request);
    }
    ask(&mut connection, &batch, &mut misses)?;
    Ok(misses.ratio())
}

fn ask(connection: &mut Connection, batch: &[Request], misses: &mut Misses) -> io::Result<()> {
    let keys: Vec<String> = batch.iter().map(|request| key(*request)).collect();
    connection.send(format!("get {}\r\n", keys.join(" ")).as_bytes())?;
    let mut hits = HashSet::new();
    connection.hits(|key| {
        hits.insert(key.to_vec());
    })?;
    let mut sets = Vec::new();
    for (request, key) in batch.iter().zip(&keys) {
        let is_hit = hits.contains(key.as_bytes());
        misses.count(is_hit);
        if !is_hit {
            let line = format!("set {key} 0 0 {} noreply\r\n", request.value_len);
            sets.extend_from_slice(line.as_bytes());
            sets.resize(sets.len() + request.value_len, b'v');
            sets.extend_from_slice(b"\r\n");
        }
    }
    connection.send(&sets)
}
