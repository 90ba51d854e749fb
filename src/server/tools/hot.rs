//! `nuthatch hot`: the keys that are used most.

use super::answers::{Form, Tell, tell};
use super::arguments::Servers;
use super::connection::ANSWER_PATIENCE;
use super::shown;
use super::statistics::Statistics;
use crate::failure::Failure;
use clap::Args;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The arguments of `nuthatch hot`.
#[derive(Debug, Args)]
pub(crate) struct Hot {
    #[command(flatten)]
    at: Servers,

    /// Most keys to print of each server
    #[arg(long, value_name = "NUM", default_value_t = 20)]
    limit: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The hottest keys of a server, the hottest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct HotKeys(pub(crate) Vec<HotKey>);

/// One of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct HotKey {
    pub(crate) key: String,
    pub(crate) operations: u64,
    pub(crate) bytes: u64,
    /// Of all operations, from 0 to 1.
    pub(crate) share: f64,
}

impl Hot {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let answers = self.at.ask(ANSWER_PATIENCE, |connection| {
            let stats = Statistics::ask(connection, "hotkeys")?;
            let mut keys = HotKeys::of(&stats);
            keys.0.truncate(self.limit);
            Ok(keys)
        })?;
        tell(&answers, Form::of(self.json))
    }
}

impl HotKeys {
    /// From `stats hotkeys`.
    pub(crate) fn of(stats: &Statistics) -> Self {
        let keys = stats.groups().into_iter().filter_map(|(rank, key)| {
            Some((
                rank.parse::<u64>().ok()?,
                HotKey {
                    key: key.text("key")?.to_owned(),
                    operations: key.number("operations").unwrap_or_default(),
                    bytes: key.number("bytes").unwrap_or_default(),
                    share: key
                        .text("share")
                        .and_then(|share| share.parse().ok())
                        .unwrap_or_default(),
                },
            ))
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort_by_key(|(rank, _)| *rank);
        Self(keys.into_iter().map(|(_, key)| key).collect())
    }
}

impl Tell for HotKeys {
    fn text(&self) -> String {
        if self.0.is_empty() {
            return "no keys have been used yet\n".to_owned();
        }
        let mut text = " share  operations  bytes  key\n".to_owned();
        for key in &self.0 {
            let share = format!("{:.1}%", key.share * 100.0);
            let operations = shown::count(shown::float(key.operations));
            let bytes = shown::bytes(shown::float(key.bytes));
            let name = shown::key(key.key.as_bytes());
            // Writing to memory does not fail.
            let _ = writeln!(text, "{share:>6}  {operations:>10}  {bytes:>5}  {name}");
        }
        text
    }

    fn json(&self) -> Map<String, Value> {
        let keys = self.0.iter().enumerate();
        let keys = keys.map(|(index, key)| {
            json!({
                "rank": index.saturating_add(1),
                "key": key.key,
                "operations": key.operations,
                "bytes": key.bytes,
                "share": key.share,
            })
        });
        Map::from_iter([("keys".to_owned(), keys.collect())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_key_comes_first() {
        let stats: Statistics = [
            ("2:key", "b\u{1b}"),
            ("2:operations", "12"),
            ("2:bytes", "2048"),
            ("2:share", "0.0456"),
            ("1:key", "a:b"),
            ("1:operations", "12345"),
            ("1:bytes", "100"),
            ("1:share", "0.5"),
            ("sampled", "7"),
        ]
        .into();
        let keys = HotKeys::of(&stats);
        let expected = " share  operations  bytes  key\n \
            50.0%         12k   100B  a:b\n  \
            4.6%          12   2.0K  b\\u{1b}\n";
        assert_eq!(keys.text(), expected);
        let json = Value::Object(keys.json());
        assert_eq!(json["keys"][0]["rank"], 1);
        assert_eq!(json["keys"][1]["share"], 0.0456);
    }
}
