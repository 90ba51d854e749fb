//! `stats items` and `stats slabs`: all items are of one class, since none is of a size of its own.

use crate::counters::Count;
use crate::output::Output;
use crate::stats_text::{Sources, put};

/// Shown only while temporary items are set apart, as `lru temp_ttl` asks.
const NUMBER_TEMP: &str = "number_temp";

/// `stats items`, without the `END`.
pub(crate) fn write_items(sources: &Sources<'_>, out: &mut Output) {
    if sources.store.curr_items == 0 {
        return;
    }
    let has_temporary = sources.shared.tuning().temporary;
    for (name, number) in items(sources) {
        if name == NUMBER_TEMP && !has_temporary {
            continue;
        }
        put(&format!("items:1:{name}"), number, out);
    }
}

pub(crate) fn items(sources: &Sources<'_>) -> [(&'static str, u64); 29] {
    let Sources {
        store, totals, now, ..
    } = sources;
    let oldest = store.oldest.map_or(now.time, |oldest| oldest);
    let age = now.time.as_millis().saturating_sub(oldest.as_millis()) / 1000;
    [
        ("number", store.curr_items),
        ("number_hot", 0),
        ("number_warm", 0),
        ("number_cold", store.curr_items),
        (NUMBER_TEMP, 0),
        ("age_hot", 0),
        ("age_warm", 0),
        ("age", age),
        ("mem_requested", store.bytes),
        ("evicted", store.evictions),
        ("evicted_nonzero", store.evicted_with_expiry),
        ("evicted_time", store.evicted_idle_seconds.into()),
        ("outofmemory", totals.get(Count::StoreNoMemory)),
        ("tailrepairs", 0),
        (
            "reclaimed",
            store.reclaimed.saturating_sub(store.sweep_reclaimed),
        ),
        ("expired_unfetched", store.expired_unfetched),
        ("evicted_unfetched", store.evicted_unfetched),
        ("evicted_active", 0),
        ("crawler_reclaimed", store.sweep_reclaimed),
        ("crawler_items_checked", store.sweep_items_checked),
        ("lrutail_reflocked", 0),
        ("moves_to_cold", 0),
        ("moves_to_warm", 0),
        ("moves_within_lru", 0),
        ("direct_reclaims", 0),
        ("hits_to_hot", 0),
        ("hits_to_warm", 0),
        ("hits_to_cold", totals.get(Count::GetHits)),
        ("hits_to_temp", 0),
    ]
}

/// `stats slabs`, without the `END`: a page and its one chunk are a segment.
pub(crate) fn write_slabs(sources: &Sources<'_>, out: &mut Output) {
    let store = &sources.store;
    if store.segments > 0 {
        for (name, number) in class(sources) {
            put(&format!("1:{name}"), number, out);
        }
    }
    put("active_slabs", u8::from(store.segments > 0), out);
    put("total_malloced", store.charged_bytes, out);
}

pub(crate) fn class(sources: &Sources<'_>) -> [(&'static str, u64); 15] {
    let store = &sources.store;
    let of = |count| sources.totals.get(count);
    [
        ("chunk_size", store.segment_len),
        ("chunks_per_page", 1),
        ("total_pages", store.segments),
        ("total_chunks", store.segments),
        ("used_chunks", store.segments_used),
        (
            "free_chunks",
            store.segments.saturating_sub(store.segments_used),
        ),
        ("free_chunks_end", 0),
        ("get_hits", of(Count::GetHits)),
        ("cmd_set", of(Count::CmdSet)),
        ("delete_hits", of(Count::DeleteHits)),
        ("incr_hits", of(Count::IncrHits)),
        ("decr_hits", of(Count::DecrHits)),
        ("cas_hits", of(Count::CasHits)),
        ("cas_badval", of(Count::CasBadval)),
        ("touch_hits", of(Count::TouchHits)),
    ]
}
