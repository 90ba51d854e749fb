//! [`Outcome`]: what a run has shown.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Latencies are kept in nanoseconds, to three digits.
const DIGITS: u8 = 3;

/// What was counted in a window of time.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How long it was.
    pub elapsed: Duration,
    /// Requests answered.
    pub operations: u64,
    /// Values received.
    pub hits: u64,
    /// Error lines received, and what was no answer at all.
    pub errors: u64,
    /// Requests that were due while as many as may wait on their connection did.
    pub unsent: u64,
    /// Time that the server's threads ran for; zero if its process is not known.
    pub server_cpu: Duration,
    /// Time that the load generator ran for.
    pub client_cpu: Duration,
    latencies: Histogram<u64>,
}

impl Outcome {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// Never: three digits are fine.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            elapsed: Duration::ZERO,
            operations: 0,
            hits: 0,
            errors: 0,
            unsent: 0,
            server_cpu: Duration::ZERO,
            client_cpu: Duration::ZERO,
            latencies: Histogram::new(DIGITS)?,
        })
    }

    /// One more request was answered after `latency`.
    pub fn record(&mut self, latency: Duration) {
        self.operations += 1;
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        // The histogram grows as far as it must.
        let _ = self.latencies.record(nanos);
    }

    /// Requests answered in a second.
    pub fn per_second(&self) -> f64 {
        float(self.operations) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Microseconds that the server ran for each request.
    pub fn server_micros(&self) -> f64 {
        micros(self.server_cpu) / float(self.operations.max(1))
    }

    /// Microseconds that the load generator ran for each request.
    pub fn client_micros(&self) -> f64 {
        micros(self.client_cpu) / float(self.operations.max(1))
    }

    /// The share of the window that the load generator ran for: near 1, it is the limit and not the server.
    pub fn client_busy(&self) -> f64 {
        self.client_cpu.as_secs_f64() / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency in microseconds that so many of a hundred requests stayed below.
    pub fn percentile(&self, percent: f64) -> f64 {
        float(self.latencies.value_at_percentile(percent)) / 1000.0
    }

    /// Everything, for machines.
    pub fn json(&self) -> Value {
        json!({
            "seconds": self.elapsed.as_secs_f64(),
            "operations": self.operations,
            "operations_per_second": self.per_second(),
            "hits": self.hits,
            "errors": self.errors,
            "unsent": self.unsent,
            "server_cpu_us_per_operation": self.server_micros(),
            "client_busy": self.client_busy(),
            "latency_us": {
                "p50": self.percentile(50.0),
                "p90": self.percentile(90.0),
                "p99": self.percentile(99.0),
                "p99.9": self.percentile(99.9),
                "max": float(self.latencies.max()) / 1000.0,
            },
        })
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn float(count: u64) -> f64 {
    count as f64
}
