//! `/metrics`: what `prometheus/memcached_exporter` tells of a memcached, in its words, so that dashboards and alerts
//! made for that work; then what only nuthatch knows.

use crate::administer::VERSION;
use crate::nuthatch_metrics;
use crate::process_stats::ProcessStats;
use crate::shared::Shared;
use crate::stats_text::{Sources, Value, general, usage};
use crate::{stats_items, stats_settings};
use nix::sys::time::TimeVal;
use std::collections::HashMap;

/// Of Prometheus' text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The page as it is sent, but for each value where it comes from: which list of statistics, which name in it, and
/// which to subtract. (A word is misspelt there as the exporter has it.)
const TEMPLATE: &str = include_str!("memcached_metrics.txt");

/// Stands for the version in it.
const VERSION_PLACE: &str = "VERSION";

/// Makes the page.
pub(crate) fn render(shared: &Shared) -> String {
    let sources = Sources::read(shared, shared.clock.now());
    let process = ProcessStats::read();
    let mut page = memcached_series(&sources, &process);
    page.push_str(&nuthatch_metrics::render(&sources, &process));
    page
}

fn memcached_series(sources: &Sources<'_>, process: &ProcessStats) -> String {
    let values = Values::read(sources, process);
    let mut page = String::with_capacity(TEMPLATE.len());
    // HELP and TYPE of a family, until its first series turns out to be there.
    let mut heading = Vec::new();
    for line in TEMPLATE.lines() {
        if line.starts_with('#') {
            if line.starts_with("# HELP") {
                heading.clear();
            }
            heading.push(line);
            continue;
        }
        let Some((series, value)) = line
            .split_once(' ')
            .and_then(|(series, source)| Some((series, values.get(source)?)))
        else {
            continue;
        };
        let series = series.replace(VERSION_PLACE, VERSION);
        for line in heading.drain(..) {
            page.push_str(line);
            page.push('\n');
        }
        page.extend([series.as_str(), " ", &value, "\n"]);
    }
    page
}

/// The statistics by list and name.
struct Values(HashMap<(&'static str, &'static str), String>);

impl Values {
    fn read(sources: &Sources<'_>, process: &ProcessStats) -> Self {
        let mut values = HashMap::new();
        for (name, value) in general(sources) {
            values.insert(("stats", name), value.to_string());
        }
        for (name, number) in stats_items::items(sources) {
            values.insert(("items", name), number.to_string());
        }
        let malloced = ("total_malloced", sources.store.charged_bytes);
        for (name, number) in stats_items::class(sources).into_iter().chain([malloced]) {
            values.insert(("slabs", name), number.to_string());
        }
        // The exporter tells nothing of a crawler that is off.
        if sources.shared.tuning().crawler {
            stats_settings::each(sources.shared, &mut |name, value| {
                let value = match value.to_string().as_str() {
                    "yes" => "1".to_owned(),
                    "no" => "0".to_owned(),
                    value => value.to_owned(),
                };
                values.insert(("settings", name), value);
            });
        }
        for (name, value) in process_values(sources, process) {
            if let Some(value) = value {
                values.insert(("process", name), value);
            }
        }
        Self(values)
    }

    /// The value of `LIST NAME` or `LIST NAME -NAME -NAME`, or what `const` says.
    fn get(&self, source: &str) -> Option<String> {
        let mut words = source.split(' ');
        let (list, name) = (words.next()?, words.next()?);
        if list == "const" {
            return Some(name.to_owned());
        }
        let mut value = self.0.get(&(list, name))?.clone();
        for name in words {
            let less = self.0.get(&(list, name.strip_prefix('-')?))?;
            let less: u64 = less.parse().ok()?;
            value = (value.parse::<u64>().ok()?.saturating_sub(less)).to_string();
        }
        Some(value)
    }
}

fn process_values(
    sources: &Sources<'_>,
    process: &ProcessStats,
) -> [(&'static str, Option<String>); 6] {
    let (user, system): (TimeVal, TimeVal) = usage();
    let now = sources.now;
    let start_millis = now.unix_millis.saturating_sub(now.time.as_millis());
    let start = format!("{}.{:03}", start_millis / 1000, start_millis % 1000);
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    [
        (
            "cpu_seconds_total",
            Some(Value::Seconds(user + system).to_string()),
        ),
        ("start_time_seconds", Some(start)),
        ("open_fds", number(process.open_descriptors)),
        ("max_fds", number(process.descriptors_max)),
        ("resident_memory_bytes", number(process.resident_bytes)),
        ("virtual_memory_bytes", number(process.virtual_bytes)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::flags::Flags;
    use crate::telemetry::LogLevel;
    use clap::Parser;
    use std::sync::Arc;

    fn shared() -> Arc<Shared> {
        let flags = Flags::try_parse_from(["nuthatch", "-t", "1"]).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        Shared::new(&config, Clock::manual(), LogLevel::default())
    }

    #[test]
    fn every_line_of_the_template_finds_its_value() {
        let shared = shared();
        let sources = Sources::read(&shared, shared.clock.now());
        let page = memcached_series(&sources, &ProcessStats::read());
        assert_eq!(page.lines().count(), TEMPLATE.lines().count());
        for (line, template) in page.lines().zip(TEMPLATE.lines()) {
            if line.starts_with('#') {
                assert_eq!(line, template);
            } else {
                let (_, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn what_there_is_not_has_no_heading_either() {
        let shared = shared();
        shared.lock_tuning().crawler = false;
        let sources = Sources::read(&shared, shared.clock.now());
        let page = memcached_series(&sources, &ProcessStats::default());
        assert!(!page.contains("memcached_lru_crawler_sleep"), "{page}");
        assert!(
            page.contains("memcached_lru_crawler_starts_total 0\n"),
            "{page}"
        );
        assert!(!page.contains("memcached_process_open_fds"), "{page}");
    }

    #[test]
    fn a_difference_is_never_negative() {
        let values = [("a", "3"), ("b", "1"), ("c", "9"), ("d", "1.5")];
        let values = values.map(|(name, value)| (("stats", name), value.to_owned()));
        let values = Values(values.into());
        assert_eq!(values.get("stats a -b -b").as_deref(), Some("1"));
        assert_eq!(values.get("stats a -c").as_deref(), Some("0"));
        assert_eq!(values.get("stats d").as_deref(), Some("1.5"));
        assert_eq!(values.get("const 7").as_deref(), Some("7"));
        for unknown in ["stats e", "items a", "stats a -d", "stats a b", "stats", ""] {
            assert_eq!(values.get(unknown), None, "{unknown}");
        }
    }
}
