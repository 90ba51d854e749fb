//! The columns of servers: what they show and how they are sorted.

use super::sample::{Rates, Row};
use crate::tools::shown::{self, float};
use std::cmp::Ordering;
use std::time::Duration;

/// The columns of servers; what they are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Server,
    HitRatio,
    Gets,
    Sets,
    Evictions,
    Items,
    Memory,
    Connections,
    Latency,
}

/// Each with its head and width, in order. The name of the server has what is left.
pub(super) const COLUMNS: [(Column, &str, usize); 9] = [
    (Column::Server, "server", 0),
    (Column::HitRatio, "hits", 7),
    (Column::Gets, "get/s", 7),
    (Column::Sets, "set/s", 7),
    (Column::Evictions, "evict/s", 8),
    (Column::Items, "items", 7),
    (Column::Memory, "memory", 12),
    (Column::Connections, "conns", 6),
    (Column::Latency, "p99", 7),
];

/// The highest first; but the lowest share of hits, and servers as they were named.
pub(super) fn compared(column: Column, a: &Row, b: &Row) -> Ordering {
    let rate = |rate: fn(&Rates) -> f64| {
        let [a, b] = [a, b].map(|row| row.rates.as_ref().map_or(0.0, rate));
        b.total_cmp(&a)
    };
    match column {
        Column::Server => Ordering::Equal,
        Column::HitRatio => {
            let [a, b] =
                [a, b].map(|row| row.rates.and_then(|rates| rates.hit_ratio).unwrap_or(1.0));
            a.total_cmp(&b)
        }
        Column::Gets => rate(|rates| rates.gets),
        Column::Sets => rate(|rates| rates.sets),
        Column::Evictions => rate(|rates| rates.evictions),
        Column::Items => b.items.cmp(&a.items),
        Column::Memory => b.bytes.cmp(&a.bytes),
        Column::Connections => b.connections.cmp(&a.connections),
        Column::Latency => p99(b).cmp(&p99(a)),
    }
}

/// That of gets, in microseconds.
fn p99(row: &Row) -> Option<u64> {
    let mut latencies = row.latencies.iter();
    let of_get = latencies.find(|latency| latency.command == "get" && latency.count > 0);
    of_get.map(|latency| latency.p99_us)
}

/// The numbers of a server, in the order of the columns.
pub(super) fn cells(row: &Row) -> String {
    let rate = |rate: fn(&Rates) -> f64| {
        let rates = row.rates.as_ref();
        rates.map_or_else(|| "-".to_owned(), |rates| shown::count(rate(rates)))
    };
    let memory = format!(
        "{}/{}",
        shown::bytes(float(row.bytes)),
        shown::bytes(float(row.limit_bytes))
    );
    let cells = COLUMNS.iter().map(|(column, _, width)| {
        let cell = match column {
            Column::Server => String::new(),
            Column::HitRatio => percent(row.rates.and_then(|rates| rates.hit_ratio)),
            Column::Gets => rate(|rates| rates.gets),
            Column::Sets => rate(|rates| rates.sets),
            Column::Evictions => rate(|rates| rates.evictions),
            Column::Items => shown::count(float(row.items)),
            Column::Memory => memory.clone(),
            Column::Connections => shown::count(float(row.connections)),
            Column::Latency => p99(row).map_or_else(|| "-".to_owned(), micros),
        };
        format!("{cell:>width$}")
    });
    cells.collect()
}

pub(super) fn micros(micros: u64) -> String {
    shown::duration(Duration::from_micros(micros))
}

pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}%", ratio * 100.0))
}
