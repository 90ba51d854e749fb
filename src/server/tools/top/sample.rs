//! [`Sampler`]: what a server does, as [`Row`]s, from the difference of its statistics at two moments.

use crate::clock::Clock;
use crate::tools::connection::{Address, Connection};
use crate::tools::credentials::Credentials;
use crate::tools::error::ToolError;
use crate::tools::hot::HotKeys;
use crate::tools::polled::Polled;
use crate::tools::shown::float;
use crate::tools::statistics::Statistics;
use std::time::Duration;

/// Asks one server.
pub(super) struct Sampler {
    server: Polled,
    clock: Clock,
    last: Option<Answers>,
}

/// What a server does.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    pub(super) items: u64,
    pub(super) bytes: u64,
    pub(super) limit_bytes: u64,
    pub(super) connections: u64,
    pub(super) is_draining: bool,
    /// It takes two samples to know them.
    pub(super) rates: Option<Rates>,
    /// Of all answers since the server started; a memcached does not tell.
    pub(super) latencies: Vec<Latency>,
    /// `None`: the server knows none.
    pub(super) namespaces: Option<Vec<Namespace>>,
    /// `None`: the server knows none; an error if it will not tell.
    pub(super) hot: Option<Result<HotKeys, String>>,
}

/// What happens in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) gets: f64,
    pub(super) hits: f64,
    pub(super) sets: f64,
    pub(super) evictions: f64,
    /// Of the gets meanwhile, if there were any.
    pub(super) hit_ratio: Option<f64>,
}

/// How long the answers of a command took.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    pub(super) command: String,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) count: u64,
}

/// What is done with the keys of a namespace.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    pub(super) name: String,
    pub(super) rates: Option<Rates>,
    pub(super) items: u64,
    pub(super) bytes: u64,
}

/// All answers of one moment.
struct Answers {
    at: Duration,
    general: Statistics,
    latency: Option<Statistics>,
    namespaces: Option<Statistics>,
    hot: Option<Result<Statistics, String>>,
}

impl Sampler {
    pub(super) const fn new(address: Address, credentials: Credentials, clock: Clock) -> Self {
        Self {
            server: Polled::new(address, credentials),
            clock,
            last: None,
        }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.server.address
    }

    /// Asks the server.
    pub(super) fn sample(&mut self) -> Result<Row, ToolError> {
        let before = self.last.take();
        let clock = &self.clock;
        let knows_more = before
            .as_ref()
            .is_none_or(|before| before.latency.is_some());
        let ask = |connection: &mut Connection| Answers::ask(connection, clock, knows_more);
        let now = self.server.ask(ask)?;
        let row = Row::of(before.as_ref(), &now);
        self.last = Some(now);
        Ok(row)
    }
}

impl Answers {
    /// `knows_more`: a server that has turned out to be a memcached is not asked for what only nuthatch has.
    fn ask(
        connection: &mut Connection,
        clock: &Clock,
        knows_more: bool,
    ) -> Result<Self, ToolError> {
        let general = Statistics::ask(connection, "")?;
        let at = clock.precise();
        let latency = if knows_more {
            known(connection, "latency")?
        } else {
            None
        };
        let (mut namespaces, mut hot) = (None, None);
        if latency.is_some() {
            namespaces = known(connection, "namespaces")?;
            hot = match known(connection, "hotkeys") {
                Ok(hot) => hot.map(Ok),
                Err(ToolError::Answer { answer, .. }) if answer.starts_with("CLIENT_ERROR") => {
                    Some(Err(answer))
                }
                Err(error) => return Err(error),
            };
        }
        Ok(Self {
            at,
            general,
            latency,
            namespaces,
            hot,
        })
    }
}

/// Statistics that a server may not have.
fn known(connection: &mut Connection, name: &str) -> Result<Option<Statistics>, ToolError> {
    match Statistics::ask(connection, name) {
        Ok(statistics) => Ok(Some(statistics)),
        Err(ToolError::Unknown { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Row {
    fn of(before: Option<&Answers>, now: &Answers) -> Self {
        let number = |name: &str| now.general.number(name).unwrap_or_default();
        // A server that was started anew begins to count anew.
        let before = before.filter(|before| {
            before.general.text("pid") == now.general.text("pid")
                && before.general.number("uptime") <= now.general.number("uptime")
        });
        let passed = before.map(|before| now.at.saturating_sub(before.at));
        Self {
            version: now.general.text("version").unwrap_or_default().to_owned(),
            uptime_seconds: number("uptime"),
            items: number("curr_items"),
            bytes: number("bytes"),
            limit_bytes: number("limit_maxbytes"),
            connections: number("curr_connections"),
            is_draining: number("draining") > 0,
            rates: before
                .zip(passed)
                .map(|(before, passed)| Rates::of(&before.general, &now.general, passed, &GENERAL)),
            latencies: now.latency.as_ref().map(latencies).unwrap_or_default(),
            namespaces: now.namespaces.as_ref().map(|all| {
                let before = before.and_then(|before| before.namespaces.as_ref());
                namespaces(before.zip(passed), all)
            }),
            hot: now.hot.as_ref().map(|hot| match hot {
                Ok(hot) => Ok(HotKeys::of(hot)),
                Err(answer) => Err(answer.clone()),
            }),
        }
    }
}

/// The names of what rates are made from.
struct Names {
    gets: &'static str,
    hits: &'static str,
    sets: &'static str,
    evictions: &'static str,
    /// What is a request besides.
    others: &'static [&'static str],
}

const GENERAL: Names = Names {
    gets: "cmd_get",
    hits: "get_hits",
    sets: "cmd_set",
    evictions: "evictions",
    others: &[
        "cmd_touch",
        "delete_hits",
        "delete_misses",
        "incr_hits",
        "incr_misses",
        "decr_hits",
        "decr_misses",
    ],
};

const OF_NAMESPACE: Names = Names {
    gets: "get",
    hits: "hit",
    sets: "set",
    evictions: "evictions",
    others: &["delete", "touch", "arith"],
};

impl Rates {
    fn of(before: &Statistics, now: &Statistics, passed: Duration, names: &Names) -> Self {
        let seconds = passed.as_secs_f64().max(f64::EPSILON);
        let change = |name: &str| {
            let [was, is] = [before, now].map(|stats| stats.number(name).unwrap_or_default());
            float(is.saturating_sub(was))
        };
        let (gets, hits, sets) = (change(names.gets), change(names.hits), change(names.sets));
        let others: f64 = names.others.iter().map(|name| change(name)).sum();
        Self {
            requests: (gets + sets + others) / seconds,
            gets: gets / seconds,
            hits: hits / seconds,
            sets: sets / seconds,
            evictions: change(names.evictions) / seconds,
            hit_ratio: (gets > 0.0).then(|| (hits / gets).min(1.0)),
        }
    }
}

fn latencies(stats: &Statistics) -> Vec<Latency> {
    let groups = stats.groups().into_iter();
    let latencies = groups.map(|(command, stats)| {
        let number = |name: &str| stats.number(name).unwrap_or_default();
        Latency {
            command: command.to_owned(),
            p50_us: number("p50_us"),
            p99_us: number("p99_us"),
            p999_us: number("p999_us"),
            count: number("count"),
        }
    });
    latencies.collect()
}

/// The namespaces, those that are used most first.
fn namespaces(before: Option<(&Statistics, Duration)>, now: &Statistics) -> Vec<Namespace> {
    let (before, passed) = before.unzip();
    let before = before.map(Statistics::groups);
    let none = Statistics::default();
    let groups = now.groups().into_iter().map(|(name, stats)| {
        // One that was not there has begun at 0.
        let last = before.as_ref().map(|before| {
            let found = before.iter().find(|(found, _)| *found == name);
            found.map_or(&none, |(_, stats)| stats)
        });
        let rates = last.zip(passed);
        Namespace {
            name: name.to_owned(),
            rates: rates.map(|(last, passed)| Rates::of(last, &stats, passed, &OF_NAMESPACE)),
            items: stats.number("items").unwrap_or_default(),
            bytes: stats.number("bytes").unwrap_or_default(),
        }
    });
    let mut namespaces: Vec<_> = groups.collect();
    let requests = |namespace: &Namespace| namespace.rates.map_or(0.0, |rates| rates.requests);
    namespaces.sort_by(|a, b| {
        let by_requests = requests(b).total_cmp(&requests(a));
        by_requests
            .then(b.bytes.cmp(&a.bytes))
            .then(a.name.cmp(&b.name))
    });
    namespaces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(at: u64, general: Statistics, namespaces: Statistics) -> Answers {
        Answers {
            at: Duration::from_secs(at),
            general,
            latency: Some([("get:p50_us", "10"), ("get:count", "7")].into()),
            namespaces: Some(namespaces),
            hot: Some(Err("CLIENT_ERROR no".to_owned())),
        }
    }

    fn general(pid: &'static str, gets: &'static str, hits: &'static str) -> Statistics {
        [
            ("pid", pid),
            ("uptime", "9"),
            ("cmd_get", gets),
            ("get_hits", hits),
            ("delete_hits", gets),
            ("draining", "1"),
            ("curr_items", "5"),
        ]
        .into()
    }

    #[test]
    fn rates_are_of_what_has_happened_meanwhile() {
        let before = answers(1, general("1", "10", "10"), [("a:get", "5")].into());
        let after = [
            ("a:get", "9"),
            ("a:items", "1"),
            ("b:get", "20"),
            ("b:hit", "5"),
        ]
        .into();
        let now = answers(3, general("1", "30", "15"), after);
        let row = Row::of(Some(&before), &now);
        let expected = Rates {
            requests: 20.0,
            gets: 10.0,
            hits: 2.5,
            hit_ratio: Some(0.25),
            ..Rates::default()
        };
        assert_eq!(row.rates, Some(expected));
        assert_eq!((row.items, row.is_draining), (5, true));
        assert_eq!(row.latencies[0].command, "get");
        let namespaces = row.namespaces.unwrap();
        assert_eq!([&namespaces[0].name, &namespaces[1].name], ["b", "a"]);
        let rates = namespaces.iter().map(|namespace| namespace.rates.unwrap());
        let rates: Vec<_> = rates.map(|rates| (rates.gets, rates.hit_ratio)).collect();
        assert_eq!(rates, [(10.0, Some(0.25)), (2.0, Some(0.0))]);
    }

    #[test]
    fn a_server_that_was_started_anew_has_no_rates() {
        let before = answers(1, general("1", "10", "10"), Statistics::default());
        let now = answers(3, general("2", "11", "11"), Statistics::default());
        assert_eq!(Row::of(Some(&before), &now).rates, None);
        assert_eq!(Row::of(None, &now).rates, None);
        let idle = answers(3, general("1", "10", "10"), Statistics::default());
        assert_eq!(Row::of(Some(&before), &idle).rates, Some(Rates::default()));
    }
}
