//! [`Panel`]: the lines about one server.

use super::columns::{micros, percent};
use super::sample::{Latency, Namespace, Row};
use crate::tools::hot::HotKeys;
use crate::tools::shown::{self, float};

/// What is below the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    Latencies,
    Namespaces,
    HotKeys,
    Help,
}

const HELP: [&str; 10] = [
    "up, down   choose a server",
    "s          sort by the next column",
    "n          namespaces of the chosen server",
    "h          its hot keys",
    "l          how long its answers take",
    "?          this",
    "q          quit",
    "",
    "A server with a star drains: it wants no more clients.",
    "Rates are of the last interval, latencies of all answers since the start.",
];

const STOCK: &str = "a memcached: nuthatch also tells latencies, namespaces and hot keys";

impl Panel {
    /// What the keys do.
    pub(super) fn help() -> Vec<String> {
        HELP.iter().map(|line| (*line).to_owned()).collect()
    }

    /// Its lines for a server that has answered, on a terminal of this width.
    pub(super) fn lines(self, address: &str, row: &Row, width: usize) -> Vec<String> {
        let draining = if row.is_draining { ", draining" } else { "" };
        let up = uptime(row.uptime_seconds);
        let mut lines = vec![format!("{address}: {}, up {up}{draining}", row.version)];
        match self {
            _ if row.latencies.is_empty() => lines.push(STOCK.to_owned()),
            Self::Latencies => lines.extend(latencies(&row.latencies)),
            Self::Namespaces => lines.extend(namespaces(row.namespaces.as_deref())),
            Self::HotKeys => lines.extend(hot_keys(row.hot.as_ref(), width)),
            Self::Help => lines.extend(Self::help()),
        }
        lines
    }
}

fn latencies(latencies: &[Latency]) -> Vec<String> {
    let head = format!("{:<12}{:>9}{:>9}{:>9}", "answers to", "p50", "p99", "p99.9");
    let used = latencies.iter().filter(|latency| latency.count > 0);
    let lines = used.map(|latency| {
        let [p50, p99, p999] = [latency.p50_us, latency.p99_us, latency.p999_us].map(micros);
        format!("{:<12}{p50:>9}{p99:>9}{p999:>9}", latency.command)
    });
    [head].into_iter().chain(lines).collect()
}

fn namespaces(namespaces: Option<&[Namespace]>) -> Vec<String> {
    let Some(namespaces) = namespaces else {
        return vec!["this nuthatch tells no namespaces".to_owned()];
    };
    let head = format!(
        "{:<24}{:>7}{:>7}{:>7}{:>8}{:>7}{:>7}",
        "namespace", "hits", "get/s", "set/s", "evict/s", "items", "bytes"
    );
    let lines = namespaces.iter().map(|namespace| {
        let rates = namespace.rates.unwrap_or_default();
        format!(
            "{:<24}{:>7}{:>7}{:>7}{:>8}{:>7}{:>7}",
            shortened(&shown::key(namespace.name.as_bytes()), 23),
            percent(rates.hit_ratio),
            shown::count(rates.gets),
            shown::count(rates.sets),
            shown::count(rates.evictions),
            shown::count(float(namespace.items)),
            shown::bytes(float(namespace.bytes)),
        )
    });
    [head].into_iter().chain(lines).collect()
}

fn hot_keys(hot: Option<&Result<HotKeys, String>>, width: usize) -> Vec<String> {
    match hot {
        None => vec!["this nuthatch tells no hot keys".to_owned()],
        Some(Err(answer)) => vec![answer.clone()],
        Some(Ok(keys)) => {
            let head = format!("{:>6}{:>7}{:>7}  key", "share", "ops", "bytes");
            let lines = keys.0.iter().map(|key| {
                format!(
                    "{:>6}{:>7}{:>7}  {}",
                    percent(Some(key.share)),
                    shown::count(float(key.operations)),
                    shown::bytes(float(key.bytes)),
                    shortened(
                        &shown::key(key.key.as_bytes()),
                        width.saturating_sub(BEFORE_KEY)
                    )
                )
            });
            [head].into_iter().chain(lines).collect()
        }
    }
}

/// Columns before a hot key.
const BEFORE_KEY: usize = 22;

/// `3d 4h`, `4h 5m`, `5m 6s`, `6s`.
fn uptime(seconds: u64) -> String {
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// The text, or its end, which tells ports and keys apart.
pub(super) fn shortened(text: &str, width: usize) -> String {
    let len = text.chars().count();
    if len <= width {
        return text.to_owned();
    }
    let skipped = len.saturating_sub(width).saturating_add(1);
    std::iter::once('…')
        .chain(text.chars().skip(skipped))
        .collect()
}
