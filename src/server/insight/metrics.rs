//! The series of `/metrics` that are made of [`Insight`].

use crate::insight::{Insight, LIMITS, NamespaceRow, Results};
use crate::shared::Shared;
use metrics::{counter, describe_counter, describe_gauge, gauge};

/// Keys whose share is told; the keys themselves are not.
const RANKS: usize = 5;

/// To be called with a recorder at hand.
pub(crate) fn set(shared: &Shared) {
    let insight = Insight::of(shared);
    let namespaces = insight.namespaces();
    if !namespaces.is_empty() {
        describe_namespaces();
    }
    let census = shared.census.read(shared);
    for row in &namespaces {
        set_namespace(row);
        if let Some(ttl) = census.namespace_ttls.get(&row.id) {
            gauge!("nuthatch_namespace_ttl_seconds", "namespace" => row.name.clone()).set(*ttl);
        }
    }
    let hot_keys = insight.hot_keys();
    describe_gauge!(
        "nuthatch_hot_key_share_ratio",
        "Share of all requests that the keys asked for most had lately, estimated from a sample."
    );
    for (rank, hot) in (1..=RANKS).zip(&hot_keys.by_operations) {
        gauge!("nuthatch_hot_key_share_ratio", "rank" => rank.to_string()).set(hot.share);
    }
    describe_gauge!(
        "nuthatch_memory_advice_hit_ratio",
        "Hit ratio of gets that so much of the present memory limit would have had lately, estimated from a sample \
         of the keys."
    );
    for ((label, _), ratio) in LIMITS
        .iter()
        .zip(insight.advice().hit_ratios.iter().flatten())
    {
        gauge!("nuthatch_memory_advice_hit_ratio", "limit" => *label).set(*ratio);
    }
}

fn describe_namespaces() {
    describe_counter!(
        "nuthatch_namespace_requests_total",
        "Requests by the namespace of their key, and whether it had a live item; what was stored is a hit. Keys of \
         namespaces that are not among the 64 that are told apart are in other."
    );
    describe_gauge!("nuthatch_namespace_items", "Items in memory by namespace.");
    describe_gauge!(
        "nuthatch_namespace_bytes",
        "Bytes that items take by namespace."
    );
    describe_gauge!(
        "nuthatch_namespace_ttl_seconds",
        "Mean of the seconds until items expire, of those that do, by namespace, as a sample of the items tells."
    );
    describe_counter!(
        "nuthatch_namespace_evictions_total",
        "Live items that went to make room, by namespace."
    );
}

fn set_namespace(row: &NamespaceRow) {
    let stored = Results {
        hits: row.sets,
        misses: 0,
    };
    for (command, results) in [
        ("get", row.get),
        ("delete", row.delete),
        ("touch", row.touch),
        ("arith", row.arith),
        ("set", stored),
    ] {
        for (result, count) in [("hit", results.hits), ("miss", results.misses)] {
            if (command, result) == ("set", "miss") {
                continue;
            }
            counter!(
                "nuthatch_namespace_requests_total",
                "namespace" => row.name.clone(), "command" => command, "result" => result
            )
            .absolute(count);
        }
    }
    let of = |name: &'static str, number: u64| {
        gauge!(name, "namespace" => row.name.clone()).set(crate::nuthatch_metrics::float(number));
    };
    of("nuthatch_namespace_items", row.items);
    of("nuthatch_namespace_bytes", row.bytes);
    counter!("nuthatch_namespace_evictions_total", "namespace" => row.name.clone())
        .absolute(row.evictions);
}
