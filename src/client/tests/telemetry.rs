//! What a client tells: metrics, and spans.
#![cfg(feature = "metrics")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use metrics_exporter_prometheus::PrometheusBuilder;
use nuthatch_client::{Client, OnDown, Ttl};
use protocol_tests::nuthatch::Nuthatch;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::database::{Database, SECOND, fetch, wait_for};
use support::server::{Server, until, unused};
use support::{builder, client, patient};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::fmt::format::FmtSpan;

#[tokio::test]
async fn calls_and_refreshes_are_counted_by_node_command_and_outcome() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let node = nuthatch.address();
    let client = client(node).await;
    client.set("n", &1u8, Ttl::NEVER).await.unwrap();
    for _ in 0..3 {
        client.get::<u8>("n").await.unwrap();
    }
    client.get_many::<_, u8>(&["n", "m"]).await;
    client.set("text", "x", Ttl::NEVER).await.unwrap();
    client.incr("text", 1).await.unwrap_err();
    fetch(&client, &Database::new("old")).await;
    fetch(&client, &Database::new("old")).await;
    nuthatch.clock().advance(11 * SECOND);
    fetch(&client, &Database::new("new")).await;
    wait_for(&client, "new").await;
    let _ = client.invalidate("k").await.unwrap();

    let page = metrics.render();
    let call = |command: &str, outcome: &str| {
        let name = "nuthatch_client_calls_total";
        format!("{name}{{node=\"{node}\",command=\"{command}\",outcome=\"{outcome}\"}}")
    };
    let counted = |name: &str| -> u64 {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value
            .unwrap_or_else(|| panic!("{name} in {page}"))
            .parse()
            .unwrap()
    };
    // Three and two more at least, of many keys at once, and those of refreshes.
    assert!(counted(&call("get", "ok")) >= 6);
    assert_eq!(counted(&call("incr", "refused")), 1);
    let refreshes = |outcome| {
        counted(&format!(
            "nuthatch_client_refreshes_total{{outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(
        [refreshes("loaded"), refreshes("fresh"), refreshes("stale")],
        [1; 3]
    );
    assert_eq!(
        counted(&format!("nuthatch_client_node_up{{node=\"{node}\"}}")),
        1
    );
    let seconds = format!("nuthatch_client_call_seconds_count{{node=\"{node}\",command=\"get\"}}");
    assert_eq!(counted(&seconds), counted(&call("get", "ok")));
    assert_eq!(counted("nuthatch_client_load_seconds_count"), 2);
    let counters = client.counters();
    assert_eq!(counted("nuthatch_client_hits_total"), counters.hits);
    assert_eq!(counted("nuthatch_client_loads_total"), counters.loads);
    assert_eq!(counted("nuthatch_client_invalidations_total"), 1);
}

#[tokio::test]
async fn a_node_that_is_left_alone_is_told_of() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _local = metrics::set_default_local_recorder(&recorder);
    let server = Server::start(unused());
    let timeouts = patient().with_operation(Duration::from_millis(100));
    let strict = builder(server.address)
        .timeouts(timeouts)
        .on_down(OnDown::Error);
    let client: Client = strict.build().await.unwrap();
    let up = format!("nuthatch_client_node_up{{node=\"{}\"}}", server.address);
    let is = |value: u8| metrics.render().contains(&format!("{up} {value}\n"));
    until(async || client.set("k", "v", Ttl::NEVER).await.is_ok() && is(1)).await;
    server.signal("-STOP");
    until(async || client.get::<String>("k").await.is_err() && is(0)).await;
    assert!(metrics.render().contains("outcome=\"timeout\"} 3"));
    server.signal("-CONT");
    until(async || client.get::<String>("k").await.is_ok() && is(1)).await;
}

/// What was written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Spans and events of some calls, at this level.
async fn log_of_calls(level: LevelFilter) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _default = tracing::subscriber::set_default(subscriber);
    // Of several subscribers, all are asked once for which spans they care. Of one, that of the thread which comes to a
    // span first: another test's, which has none.
    let _other = tracing::Dispatch::new(NoSubscriber::new());
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let client = client(nuthatch.address()).await;
    client
        .set("secret-key", "secret-value", Ttl::NEVER)
        .await
        .unwrap();
    client.get::<String>("secret-key").await.unwrap();
    fetch(&client, &Database::new("secret-value")).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    // Other threads have their own.
    assert!(!text.contains("secret"), "{text}");
    text
}

#[tokio::test]
async fn each_call_to_a_node_is_a_span_at_trace_and_each_load_one_at_debug() {
    let trace = log_of_calls(LevelFilter::TRACE).await;
    assert!(
        trace.contains("command=\"set\"") && trace.contains("node=127.0.0.1:"),
        "{trace}"
    );
    let calls = trace
        .lines()
        .filter(|line| line.contains("call{") && line.contains("close"))
        .count();
    // A set, a get, and of a refresh: the look, the lock and the look again, the fill and the release.
    assert_eq!(calls, 5, "{trace}");
    let debug = log_of_calls(LevelFilter::DEBUG).await;
    assert!(!debug.contains("call{"), "{debug}");
    assert!(
        debug
            .lines()
            .any(|line| line.contains("load{") && line.contains("close")),
        "{debug}"
    );
    let info = log_of_calls(LevelFilter::INFO).await;
    assert_eq!(info, "");
}
