//! `nuthatch get`: the value of one item, to standard output.

use super::arguments::Server;
use super::connection::Connection;
use super::error::ToolError;
use super::key::KeyText;
use super::{SCHEMA, print};
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use nuthatch_protocol::{MetaStatus, Response};
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _};

/// The arguments of `nuthatch get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The key
    key: KeyText,

    #[command(flatten)]
    at: Server,

    /// Print JSON, with client flags and the seconds that are left
    #[arg(long)]
    json: bool,
}

/// What a server tells of an item.
struct Found {
    value: Vec<u8>,
    client_flags: Value,
    /// Seconds that are left, -1 of an item that does not expire; null if the server does not tell.
    ttl: Value,
}

impl Get {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (mut connection, has_meta) = self.at.open()?;
        let found = if has_meta {
            get_meta(&mut connection, &self.key)?
        } else {
            get_classic(&mut connection, &self.key)?
        };
        let not_found = || ToolError::NotFound {
            address: self.at.server.clone(),
            key: self.key.to_string(),
        };
        let mut found = found.ok_or_else(not_found)?;
        if self.json {
            return print(format!("{}\n", self.document(found)));
        }
        if io::stdout().is_terminal() {
            found.value.push(b'\n');
        }
        print(found.value)
    }

    fn document(&self, found: Found) -> Value {
        let size = found.value.len();
        let (value, encoding) = match String::from_utf8(found.value) {
            Ok(text) => (text, "utf-8"),
            Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
        };
        json!({
            "schema": SCHEMA,
            "server": self.at.server.to_string(),
            "key": self.key.to_string(),
            "value": value,
            "encoding": encoding,
            "size": size,
            "flags": found.client_flags,
            "ttl": found.ttl,
        })
    }
}

fn get_meta(connection: &mut Connection, key: &KeyText) -> Result<Option<Found>, ToolError> {
    connection.ask(&format!("mg {key} f t v"))?;
    let Some(Response::Meta(reply)) = connection.same_reply() else {
        return Err(connection.out_of_step());
    };
    let len = match reply.status {
        MetaStatus::Miss => return Ok(None),
        MetaStatus::Value(len) => len,
        _ => return Err(connection.out_of_step()),
    };
    let argument = |wanted: u8| {
        let found = reply.flags().find(|(letter, _)| *letter == wanted);
        let text = found.and_then(|(_, argument)| std::str::from_utf8(argument).ok());
        text.and_then(|text| text.parse::<i64>().ok())
            .map_or(Value::Null, Value::from)
    };
    let (client_flags, ttl) = (argument(b'f'), argument(b't'));
    let value = connection.value(len)?;
    Ok(Some(Found {
        value,
        client_flags,
        ttl,
    }))
}

fn get_classic(connection: &mut Connection, key: &KeyText) -> Result<Option<Found>, ToolError> {
    connection.ask(&format!("get {key}"))?;
    let (client_flags, len) = match connection.same_reply() {
        Some(Response::Value(header)) => (header.client_flags, header.value_len),
        Some(Response::End) => return Ok(None),
        _ => return Err(connection.out_of_step()),
    };
    let value = connection.value(len)?;
    if connection.line()? != b"END" {
        return Err(connection.out_of_step());
    }
    Ok(Some(Found {
        value,
        client_flags: client_flags.into(),
        ttl: Value::Null,
    }))
}
