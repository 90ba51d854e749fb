//! The one background task: gives back the memory of items that nobody asked for after they died, and what is
//! above a memory limit that has become lower.

use crate::shared::Shared;
use crate::watch;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{self, MissedTickBehavior};

/// How often.
const TICK: Duration = Duration::from_millis(100);

/// Items looked at each time: a million in ten seconds. Segments in which nothing can be dead cost nothing.
const SWEPT_ITEMS_MAX: usize = 10_000;

/// The same while items are looked through because other namespaces are told apart: in each of these, all have to be.
const RENUMBERED_ITEMS_MAX: usize = 4 * SWEPT_ITEMS_MAX;

/// What is known of keys is brought up to date once in so many.
const INSIGHT_TICKS: u64 = 10;

/// Steps towards a lower memory limit each time: with segments of 64 KiB, 160 MiB in a second.
const SHRINK_STEPS_MAX: usize = 256;

/// Sweeps for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut tick = time::interval(TICK);
    let mut ticks = 0u64;
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if ticks.is_multiple_of(INSIGHT_TICKS) {
            shared.tick_insight();
        }
        ticks = ticks.wrapping_add(1);
        let namespaces = shared.namespaces.as_ref();
        let is_exchanging = namespaces.is_some_and(|known| known.is_exchanging());
        let items_max = if is_exchanging {
            RENUMBERED_ITEMS_MAX
        } else {
            SWEPT_ITEMS_MAX
        };
        shared.store.sweep(shared.clock.now().time, items_max);
        watch::tell_evicted(&shared);
        shared
            .store
            .shrink(shared.clock.now().time, SHRINK_STEPS_MAX);
    }
}
