//! What the daemon's advisor says that other memory would do, and what other memory does.

use std::sync::Arc;

use nuthatch::insight::{Advisor, LIMITS, Totals};

use crate::policy::{Engine, Policy};
use crate::replay;
use crate::trace::{Request, Source};

/// How often the advisor is told what has been counted.
const TICK_REQUESTS: u64 = 10_000;

/// A store whose advisor is told of everything, as the daemon does it.
struct Advised {
    engine: Engine,
    advisor: Arc<Advisor>,
    totals: Totals,
    /// Requests until the advisor begins to count.
    uncounted: u64,
}

impl Advised {
    fn new(limit_bytes: u64, uncounted: u64) -> Self {
        let advisor = Arc::new(Advisor::new(limit_bytes));
        Self {
            engine: Engine::with_sampler(limit_bytes, Some(Arc::<Advisor>::clone(&advisor))),
            advisor,
            totals: Totals {
                limit_bytes,
                ..Totals::default()
            },
            uncounted,
        }
    }
}

impl Policy for Advised {
    fn get(&mut self, request: Request) -> bool {
        let is_hit = self.engine.get(request);
        self.totals.gets += 1;
        self.totals.misses += u64::from(!is_hit);
        let is_begin = self.totals.gets == self.uncounted;
        if is_begin || self.totals.gets.is_multiple_of(TICK_REQUESTS) {
            let snapshot = self.engine.store.snapshot();
            self.totals.evictions = snapshot.evictions;
            self.totals.items = snapshot.curr_items;
            self.advisor.tick(self.totals, request.at);
            if is_begin {
                self.advisor.reset();
            }
        }
        is_hit
    }

    fn set(&mut self, request: Request) {
        self.engine.set(request);
    }

    fn delete(&mut self, request: Request) {
        self.engine.delete(request);
    }
}

/// Hit ratios with each of [`LIMITS`].
#[derive(Debug)]
pub(crate) struct Compared {
    /// None if the trace is too short to tell.
    pub(crate) predicted: Option<[f64; LIMITS.len()]>,
    pub(crate) real: [f64; LIMITS.len()],
    pub(crate) sampled_keys: u64,
}

/// Replays the trace with the advisor, and without it through stores of all sizes.
pub(crate) fn compare(trace: &dyn Source, limit_bytes: u64) -> Compared {
    let mut advised = Advised::new(limit_bytes, trace.len() as u64 / 2);
    let _: f64 = replay(trace, &mut advised);
    let (predicted, sampled_keys) = advised.advisor.hit_ratios();
    let real = LIMITS.map(|(_, halves)| {
        let mut engine = Engine::with_sampler(limit_bytes / 2 * halves, None);
        1.0 - replay(trace, &mut engine)
    });
    Compared {
        predicted,
        real,
        sampled_keys,
    }
}
