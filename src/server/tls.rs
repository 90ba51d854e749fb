//! TLS (`-Z`): certificates, handshakes, and the stream behind them.

use crate::address::Security;
use crate::connection;
use crate::counters::Count;
use crate::options::Extended;
use crate::socket::Socket;
use crate::stats_conns::ListedSocket;
use crate::worker::Worker;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long it may take to say goodbye.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// `ssl_verify_mode` as memcached numbers it: 0 asks for no certificate; 1 and 3 ask, and look at what comes; 2 insists.
const VERIFY_NONE: u64 = 0;
const VERIFY_REQUIRE: u64 = 2;

/// `ssl_min_version` as memcached numbers it.
const VERSION_1_2: u64 = 2;
const VERSION_1_3: u64 = 3;

const ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
const FROM_1_2_ON: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What TLS is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate of the daemon, and those between it and one that clients know.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs the certificates of clients.
    pub ca: Option<PathBuf>,
    /// 0 to 3, as memcached numbers them.
    pub verify_mode: u64,
    /// 2 for TLS 1.2, 3 for 1.3.
    pub min_version: u64,
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {path}: {source}")]
    File { path: String, source: pem::Error },
    #[error("there is no certificate in {0}")]
    Empty(String),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    #[error("the certificates of ssl_ca_cert: {0}")]
    Ca(#[from] VerifierBuilderError),
}

/// How connections are secured, by what their listener wants.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    default: Arc<ServerConfig>,
    basic: Arc<ServerConfig>,
    /// `None` without certificates to verify with.
    mutual: Option<Arc<ServerConfig>>,
}

impl TlsFiles {
    /// What the suboptions of `-o` say; the error says what is missing.
    pub(crate) fn from_options(options: &Extended) -> Result<Self, String> {
        let (Some(chain), Some(key)) = (&options.ssl_chain_cert, &options.ssl_key) else {
            return Err(
                "TLS (-Z) needs a certificate and its key: -o ssl_chain_cert=FILE,ssl_key=FILE"
                    .into(),
            );
        };
        let verify_mode = options.ssl_verify_mode;
        if verify_mode != VERIFY_NONE && options.ssl_ca_cert.is_none() {
            return Err("-o ssl_verify_mode needs those who sign: -o ssl_ca_cert=FILE".into());
        }
        let min_version = options.ssl_min_version.unwrap_or(VERSION_1_2);
        if min_version < VERSION_1_2 {
            return Err(
                "TLS 1.0 and 1.1 are broken: leave -o ssl_min_version out, or say 2".into(),
            );
        }
        Ok(Self {
            chain: chain.clone(),
            key: key.clone(),
            ca: options.ssl_ca_cert.clone(),
            verify_mode,
            min_version,
        })
    }

    /// Whether nobody comes in without a certificate.
    pub(crate) const fn knows_clients(&self) -> bool {
        self.verify_mode == VERIFY_REQUIRE
    }

    /// The name that `stats settings` tells.
    pub(crate) const fn min_version_name(&self) -> &'static str {
        if self.min_version == VERSION_1_3 {
            "tlsv1.3"
        } else {
            "tlsv1.2"
        }
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        if self.min_version == VERSION_1_3 {
            ONLY_1_3
        } else {
            FROM_1_2_ON
        }
    }

    /// Reads the files.
    pub(crate) fn load(&self) -> Result<Tls, TlsError> {
        let basic = self.config(None)?;
        let mutual = match &self.ca {
            Some(ca) => Some(self.config(Some((ca, true)))?),
            None => None,
        };
        let default = match (self.verify_mode, &self.ca, &mutual) {
            (VERIFY_REQUIRE, _, Some(mutual)) => Arc::clone(mutual),
            (VERIFY_NONE, ..) | (_, None, _) => Arc::clone(&basic),
            (_, Some(ca), _) => self.config(Some((ca, false)))?,
        };
        Ok(Tls {
            default,
            basic,
            mutual,
        })
    }

    /// With certificates to verify those of clients with, and whether they must have one.
    fn config(&self, verify: Option<(&Path, bool)>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions())?;
        let builder = match verify {
            None => builder.with_no_client_auth(),
            Some((ca, is_required)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(ca)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if is_required {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let key = private_key(&self.key)?;
        let config = builder.with_single_cert(certificates(&self.chain)?, key)?;
        Ok(Arc::new(config))
    }
}

fn unreadable(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::File {
        path: path.display().to_string(),
        source,
    }
}

/// What a file has, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(path))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty(path.display().to_string()));
    }
    Ok(certificates)
}

pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(unreadable(path))
}

impl Tls {
    /// What connections of a listener with this prefix are secured with.
    fn acceptor(&self, security: Security) -> Option<TlsAcceptor> {
        let config = match security {
            Security::None => return None,
            Security::Default => &self.default,
            Security::Basic => &self.basic,
            Security::Mutual => self.mutual.as_ref()?,
        };
        Some(Arc::clone(config).into())
    }
}

/// Serves a connection once it is secured.
pub(crate) async fn serve(
    stream: Socket,
    security: Security,
    worker: &Worker,
    listed: &ListedSocket<'_>,
) {
    let tls = worker.shared().access.tls();
    let Some(acceptor) = tls.and_then(|tls| tls.acceptor(security)) else {
        return;
    };
    let mut stream = match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        outcome => {
            worker.counters().increment(Count::SslHandshakeErrors);
            let error = outcome.map(Result::err);
            tracing::debug!(?error, "TLS handshake failed");
            return;
        }
    };
    connection::serve_listed(&mut stream, worker, Some(listed)).await;
    // Whether the other side hears the goodbye is its own business.
    drop(timeout(CLOSE_MAX, stream.shutdown()).await);
}
