//! A line of JSON for each round, with all servers.

use super::sample::{Row, Sampler};
use crate::failure::Failure;
use crate::tools::SCHEMA;
use crate::tools::connection::Address;
use crate::tools::error::ToolError;
use serde_json::{Map, Value, json};
use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

pub(super) fn run(
    mut samplers: Vec<Sampler>,
    interval: Duration,
    count: Option<u32>,
) -> Result<(), Failure> {
    let mut turn = 0u32;
    loop {
        let rows = round(&mut samplers);
        let failure = rows.iter().find_map(|(_, row)| row.as_ref().err());
        let failure = failure.map(|error| Failure::of_tool(error.exit_code(), error.to_string()));
        let servers = rows.iter().map(|(address, row)| server(address, row));
        let servers: Vec<Value> = servers.collect();
        let line = json!({ "schema": SCHEMA, "servers": servers });
        match writeln!(io::stdout(), "{line}") {
            // Who reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        turn = turn.saturating_add(1);
        if count.is_some_and(|count| turn >= count) {
            return failure.map_or(Ok(()), Err);
        }
        thread::sleep(interval);
    }
}

/// Asks all servers at the same time: none waits for one that is gone.
fn round(samplers: &mut [Sampler]) -> Vec<(Address, Result<Row, ToolError>)> {
    thread::scope(|scope| {
        let asking = samplers.iter_mut().map(|sampler| {
            let address = sampler.address().clone();
            (address, scope.spawn(|| sampler.sample()))
        });
        let asking: Vec<_> = asking.collect();
        let rows = asking.into_iter().map(|(address, asked)| {
            let row = asked.join();
            let row = row.unwrap_or(Err(ToolError::Usage("please report this")));
            (address, row)
        });
        rows.collect()
    })
}

/// What is told of one server. Null is what it does not tell, or what it takes a second sample to know.
fn server(address: &Address, row: &Result<Row, ToolError>) -> Value {
    let row = match row {
        Ok(row) => row,
        Err(error) => return json!({ "server": address.to_string(), "error": error.to_string() }),
    };
    let rates = row.rates.as_ref();
    let latencies = row.latencies.iter().map(|latency| {
        let numbers = json!({
            "p50_us": latency.p50_us,
            "p99_us": latency.p99_us,
            "p999_us": latency.p999_us,
            "count": latency.count,
        });
        (latency.command.clone(), numbers)
    });
    let namespaces = row.namespaces.as_ref().map(|namespaces| {
        let namespaces = namespaces.iter().map(|namespace| {
            let rates = namespace.rates.as_ref();
            json!({
                "name": namespace.name,
                "gets_per_second": rates.map(|rates| rates.gets),
                "sets_per_second": rates.map(|rates| rates.sets),
                "evictions_per_second": rates.map(|rates| rates.evictions),
                "hit_ratio": rates.and_then(|rates| rates.hit_ratio),
                "items": namespace.items,
                "bytes": namespace.bytes,
            })
        });
        namespaces.collect::<Vec<_>>()
    });
    let hot = row.hot.as_ref().and_then(|hot| hot.as_ref().ok());
    let hot = hot.map(|hot| {
        let keys = hot
            .0
            .iter()
            .map(|key| json!({ "key": key.key, "share": key.share }));
        keys.collect::<Vec<_>>()
    });
    json!({
        "server": address.to_string(),
        "version": row.version,
        "uptime_seconds": row.uptime_seconds,
        "requests_per_second": rates.map(|rates| rates.requests),
        "gets_per_second": rates.map(|rates| rates.gets),
        "sets_per_second": rates.map(|rates| rates.sets),
        "evictions_per_second": rates.map(|rates| rates.evictions),
        "hit_ratio": rates.and_then(|rates| rates.hit_ratio),
        "items": row.items,
        "bytes": row.bytes,
        "limit_bytes": row.limit_bytes,
        "connections": row.connections,
        "is_draining": row.is_draining,
        "latency": latencies.collect::<Map<_, _>>(),
        "namespaces": namespaces,
        "hot": hot,
    })
}
