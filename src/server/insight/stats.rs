//! `stats namespaces`, `stats hotkeys` and `stats advice`: memcached has no such statistics.

use crate::insight::{Insight, LIMITS};
use crate::output::Output;
use crate::shared::Shared;
use crate::stats_text::put;
use nuthatch_protocol::{ErrorReply, Response};

/// `stats namespaces`, without the `END`.
pub(crate) fn namespaces(shared: &Shared, out: &mut Output) {
    for row in Insight::of(shared).namespaces() {
        for (field, number) in [
            ("get", row.get.hits.wrapping_add(row.get.misses)),
            ("hit", row.get.hits),
            ("set", row.sets),
            ("delete", row.delete.hits.wrapping_add(row.delete.misses)),
            ("touch", row.touch.hits.wrapping_add(row.touch.misses)),
            ("arith", row.arith.hits.wrapping_add(row.arith.misses)),
            ("items", row.items),
            ("bytes", row.bytes),
            ("evictions", row.evictions),
        ] {
            put(&format!("{}:{field}", row.name), number, out);
        }
    }
}

/// `stats hotkeys`, the keys by their requests.
pub(crate) fn hot_keys(shared: &Shared, out: &mut Output) -> Response<'static> {
    if !shared.config.settings.allowed.show_keys {
        return Response::Error(ErrorReply::HOT_KEYS_NOT_ALLOWED);
    }
    let hot_keys = Insight::of(shared).hot_keys();
    for (rank, hot) in (1..).zip(&hot_keys.by_operations) {
        put(&format!("{rank}:key"), hot.key.escape_ascii(), out);
        put(&format!("{rank}:operations"), hot.operations, out);
        put(&format!("{rank}:bytes"), hot.bytes, out);
        put(
            &format!("{rank}:share"),
            format_args!("{:.4}", hot.share),
            out,
        );
    }
    Response::End
}

/// `stats advice`, without the `END`.
pub(crate) fn advice(shared: &Shared, out: &mut Output) {
    let advice = Insight::of(shared).advice();
    for ((label, _), ratio) in LIMITS.iter().zip(advice.hit_ratios.iter().flatten()) {
        put(
            &format!("{label}:hit_ratio"),
            format_args!("{ratio:.4}"),
            out,
        );
    }
    put("sampled_keys", advice.sampled_keys, out);
    put("advice", advice.sentence, out);
}
