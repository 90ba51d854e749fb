//! [`Polled`]: a server that is asked again and again, whether it is there or not.

use super::connection::{Address, Connection};
use super::credentials::Credentials;
use super::error::ToolError;
use std::time::Duration;

/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server, and the connection to it while there is one.
pub(crate) struct Polled {
    pub(crate) address: Address,
    credentials: Credentials,
    connection: Option<Connection>,
}

impl Polled {
    pub(crate) const fn new(address: Address, credentials: Credentials) -> Self {
        Self {
            address,
            credentials,
            connection: None,
        }
    }

    /// Asks it, connecting first where that is necessary.
    pub(crate) fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Connection) -> Result<T, ToolError>,
    ) -> Result<T, ToolError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open_for_meta(&self.address, &self.credentials, PATIENCE)?.0,
        };
        let result = ask(&mut connection);
        // After other errors nobody knows what else comes.
        if matches!(result, Ok(_) | Err(ToolError::Unknown { .. })) {
            self.connection = Some(connection);
        }
        result
    }
}
