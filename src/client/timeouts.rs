//! [`Timeouts`]: how long anything may take.

use std::time::Duration;

/// How long anything may take, each longer than nothing. A call that gives up never costs others their replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Opening a connection, with everything that belongs to it.
    pub connect: Duration,
    /// One call, from the place in the queue to the reply.
    pub operation: Duration,
    /// How long a server that owes replies may send nothing before its connection is given up, within a quarter more. At
    /// least as long as `operation`, better longer: one slow reply shall not cost all others theirs.
    pub stall: Duration,
}

impl Timeouts {
    /// For servers in the same network: 500 ms for a call, 1 s to connect, 5 s of silence.
    pub const fn lan() -> Self {
        Self {
            connect: Duration::from_secs(1),
            operation: Duration::from_millis(500),
            stall: Duration::from_secs(5),
        }
    }

    /// The same with another time for one call.
    #[must_use]
    pub const fn with_operation(mut self, operation: Duration) -> Self {
        self.operation = operation;
        self
    }

    /// The same with another time to connect.
    #[must_use]
    pub const fn with_connect(mut self, connect: Duration) -> Self {
        self.connect = connect;
        self
    }

    /// The same with another time of silence.
    #[must_use]
    pub const fn with_stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::lan()
    }
}
