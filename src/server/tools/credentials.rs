//! [`Credentials`]: as whom a server is asked, and whether in secret.

use super::error::ToolError;
use super::login::Login;
use super::tls::{Tls, TlsFlags};
use clap::Args;
use std::path::PathBuf;

/// What verbs are told about that.
#[derive(Clone, Debug, Args)]
pub(crate) struct Whom {
    /// File whose first line is user:password, for servers that want a login
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,

    #[command(flatten)]
    tls: TlsFlags,
}

impl Whom {
    /// Reads the files.
    pub(crate) fn credentials(&self) -> Result<Credentials, ToolError> {
        Ok(Credentials {
            login: Login::read(self.auth_file.as_deref())?,
            tls: self.tls.read()?,
        })
    }
}

/// Nothing of it, unless that is given.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) login: Option<Login>,
    pub(crate) tls: Option<Tls>,
}

impl Credentials {
    /// The same as nobody.
    pub(crate) fn without_login(&self) -> Self {
        Self {
            login: None,
            tls: self.tls.clone(),
        }
    }
}
