//! [`Distribution`]: a histogram as programs and people are told it.

use crate::nuthatch_metrics::float;
use serde::Serialize;
use std::fmt::Write as _;

/// How many values were in each bucket, and what that says of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// Quantiles as Prometheus estimates them: none of no values, and never above the last bucket's end.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    /// The ends of all buckets but the last one, which has none. They are in their buckets.
    pub(crate) upper_bounds: Vec<f64>,
    /// Values in each bucket.
    pub(crate) counts: Vec<u64>,
}

impl Distribution {
    pub(crate) fn new(upper_bounds: &[f64], counts: &[u64], sum: f64) -> Self {
        let quantile = |rank| quantile(rank, upper_bounds, counts);
        Self {
            count: counts.iter().sum(),
            sum,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            upper_bounds: upper_bounds.to_vec(),
            counts: counts.to_vec(),
        }
    }
}

impl Distribution {
    /// In Prometheus' text format.
    pub(crate) fn render(&self, name: &str, help: &str) -> String {
        let mut page = format!("# HELP {name} {help}\n# TYPE {name} histogram\n");
        let ends = self.upper_bounds.iter().map(ToString::to_string);
        let mut below = 0u64;
        for (end, count) in ends.chain(["+Inf".to_owned()]).zip(&self.counts) {
            below = below.saturating_add(*count);
            // A string has room for everything.
            let _ = writeln!(page, "{name}_bucket{{le=\"{end}\"}} {below}");
        }
        let _ = writeln!(page, "{name}_sum {}\n{name}_count {}", self.sum, self.count);
        page
    }
}

/// As if the values of a bucket were spread evenly over it.
fn quantile(rank: f64, upper_bounds: &[f64], counts: &[u64]) -> Option<f64> {
    let wanted = float(counts.iter().sum()) * rank;
    let (mut below, mut start) = (0.0, 0.0);
    for (end, count) in upper_bounds.iter().zip(counts) {
        let count = float(*count);
        if count > 0.0 && below + count >= wanted {
            return Some(start + (end - start) * ((wanted - below) / count));
        }
        below += count;
        start = *end;
    }
    (counts.iter().any(|count| *count > 0)).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_rendered_as_prometheus_reads_it() {
        let told = Distribution::new(&[0.5, 60.0], &[1, 0, 2], 99.0).render("n", "H.");
        let lines = [
            "# HELP n H.",
            "# TYPE n histogram",
            "n_bucket{le=\"0.5\"} 1",
            "n_bucket{le=\"60\"} 1",
            "n_bucket{le=\"+Inf\"} 3",
            "n_sum 99",
            "n_count 3",
            "",
        ];
        assert_eq!(told, lines.join("\n"));
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let of = |counts: &[u64]| {
            let told = Distribution::new(&[1.0, 2.0, 4.0], counts, 0.0);
            (told.count, told.p50, told.p99)
        };
        assert_eq!(of(&[0, 0, 0, 0]), (0, None, None));
        assert_eq!(of(&[100, 0, 0, 0]), (100, Some(0.5), Some(0.99)));
        assert_eq!(of(&[0, 50, 50, 0]), (100, Some(2.0), Some(3.96)));
        // Nobody knows how far above the last end they are.
        assert_eq!(of(&[0, 0, 0, 7]), (7, Some(4.0), Some(4.0)));
    }
}
