//! [`Tls`]: connections that nobody can read or change on their way.

use crate::Error;
use crate::address::Endpoint;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Whom to trust, and who this client is. For nodes behind TCP; what goes to a unix socket stays on the machine.
#[derive(Clone, Debug)]
pub struct Tls {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Arc<Identity>>,
    server_name: Option<String>,
}

#[derive(Debug)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What connections need.
#[derive(Clone)]
pub(crate) struct Connector {
    connector: TlsConnector,
    server_name: Option<String>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts servers whose certificate one of these authorities has signed; PEM.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none.
    pub fn trust(authorities: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Self {
            roots: certificates(authorities.as_ref())?,
            identity: None,
            server_name: None,
        })
    }

    /// Shows a certificate to the servers that want one; PEM of its chain and its key.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no certificate or no key.
    pub fn identity(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, Error> {
        let chain = certificates(chain.as_ref())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_ref()).map_err(|error| no("key", &error))?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        Ok(self)
    }

    /// The name that all servers' certificates have, where it is not that of their address.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    pub(crate) fn connector(self) -> Result<Connector, Error> {
        let mut roots = RootCertStore::empty();
        for root in self.roots {
            roots.add(root).map_err(|error| no("authority", &error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| no("protocol version", &error))?
            .with_root_certificates(roots);
        let config = match self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| no("identity", &error))?,
        };
        Ok(Connector {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: self.server_name,
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| no("certificate", &error))?;
    if all.is_empty() {
        return Err(no("certificate", &"the PEM holds none"));
    }
    Ok(all)
}

fn no(what: &str, error: &dyn Display) -> Error {
    Error::config(format!("no {what} for TLS: {error}"))
}

impl Connector {
    /// Checks that the server is who it should be.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        endpoint: &Endpoint,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match (&self.server_name, endpoint) {
            (Some(name), _) => name.clone(),
            (None, Endpoint::Tcp { host, .. }) => host.clone(),
            (None, Endpoint::Unix(path)) => path.display().to_string(),
        };
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}
