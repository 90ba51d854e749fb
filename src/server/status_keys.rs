//! [`Keys`]: what is told of the keys that clients use. The keys themselves only where `--show-keys` allows it.

use crate::insight::{Advice, HotKey, Insight, LIMITS, NamespaceRow, Results};
use crate::nuthatch_metrics::float;
use crate::shared::Shared;
use crate::status::Named;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Keys {
    /// All of them, what is in none at the end.
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) advice: AdviceStatus,
    /// None where keys are secret.
    pub(crate) hot: Option<Hot>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) evictions: u64,
    pub(crate) sets: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Hits of get by gets.
    pub(crate) hit_ratio: Option<f64>,
    /// All requests.
    pub(crate) requests: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct AdviceStatus {
    pub(crate) sentence: Option<String>,
    pub(crate) sampled_keys: u64,
    /// The hit ratio of gets with so many times the memory; nothing while too little is known.
    pub(crate) hit_ratios: Named<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hot {
    pub(crate) by_operations: Vec<HotKeyStatus>,
    pub(crate) by_bytes: Vec<HotKeyStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct HotKeyStatus {
    /// What is no text in it is replaced.
    pub(crate) key: String,
    pub(crate) operations: u64,
    pub(crate) bytes: u64,
    pub(crate) share: f64,
}

impl Keys {
    pub(crate) fn read(shared: &Shared) -> Self {
        let insight = Insight::of(shared);
        let hot = shared.config.settings.allowed.show_keys.then(|| {
            let hot = insight.hot_keys();
            Hot {
                by_operations: hot_keys(&hot.by_operations),
                by_bytes: hot_keys(&hot.by_bytes),
            }
        });
        Self {
            namespaces: insight.namespaces().into_iter().map(namespace).collect(),
            advice: advice(insight.advice()),
            hot,
        }
    }
}

fn namespace(row: NamespaceRow) -> Namespace {
    let sum = |results: Results| results.hits.saturating_add(results.misses);
    let gets = sum(row.get);
    let others = [row.delete, row.touch, row.arith].map(sum);
    Namespace {
        name: row.name,
        items: row.items,
        bytes: row.bytes,
        evictions: row.evictions,
        sets: row.sets,
        hits: row.get.hits,
        misses: row.get.misses,
        hit_ratio: (gets > 0).then(|| float(row.get.hits) / float(gets)),
        requests: (others.iter()).fold(gets.saturating_add(row.sets), |all, more| {
            all.saturating_add(*more)
        }),
    }
}

fn advice(advice: Advice) -> AdviceStatus {
    let ratios = advice.hit_ratios.iter().flatten();
    AdviceStatus {
        sentence: Some(advice.sentence).filter(|sentence| !sentence.is_empty()),
        sampled_keys: advice.sampled_keys,
        hit_ratios: (LIMITS.iter().zip(ratios))
            .map(|((limit, _), ratio)| (*limit, *ratio))
            .collect(),
    }
}

fn hot_keys(keys: &[HotKey]) -> Vec<HotKeyStatus> {
    let told = keys.iter().map(|hot| HotKeyStatus {
        key: String::from_utf8_lossy(&hot.key).into_owned(),
        operations: hot.operations,
        bytes: hot.bytes,
        share: hot.share,
    });
    told.collect()
}
