//! [`Tls`]: connections to servers that want TLS (`-Z`).

use super::error::ToolError;
use crate::tls::{TlsError, certificates, private_key};
use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    RootCertStore, SignatureScheme, StreamOwned,
};
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// What to do about what went wrong.
const UNKNOWN_SIGNER: &str =
    "It was signed by nobody in the file of --cacert: name the one that has who signed it";
const OTHER_NAME: &str = "Name the server by --server as its certificate does";
const OUT_OF_DATE: &str = "Renew it, or set the clock of this machine";
const WANTS_CERTIFICATE: &str = "It wants a certificate that it knows: --cert FILE --key FILE";
pub(super) const NO_TLS: &str = "Does it speak TLS there? Without, leave --tls out";

/// What verbs are told about TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsFlags {
    /// Speak TLS; but not over Unix sockets, since what goes through them stays on the machine
    #[arg(long)]
    tls: bool,

    /// File with the certificates of those who may have signed that of the server
    #[arg(long, value_name = "FILE", requires = "tls")]
    cacert: Option<PathBuf>,

    /// Believe any certificate: who is in between can read and change everything
    #[arg(long, requires = "tls", conflicts_with = "cacert")]
    insecure: bool,

    /// File with our certificate, for servers that want to know who asks
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key_file"])]
    cert: Option<PathBuf>,

    /// File with its key
    #[arg(id = "key_file", long = "key", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl TlsFlags {
    /// Reads the files.
    pub(crate) fn read(&self) -> Result<Option<Tls>, ToolError> {
        if !self.tls {
            return Ok(None);
        }
        if self.cacert.is_none() && !self.insecure {
            return Err(ToolError::Usage(
                "--tls needs to know whom to trust: --cacert FILE, with the certificate of who signed the server's; or --insecure, to trust anybody",
            ));
        }
        Ok(Some(Tls(Arc::new(self.config()?))))
    }

    fn config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if let Some(file) = &self.cacert {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        } else {
            let anybody = Arc::new(Anybody(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(anybody)
        };
        Ok(match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?
            }
            _ => builder.with_no_client_auth(),
        })
    }
}

/// Whom to trust, and who asks.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Shakes hands with who is at the other end, who should be `host`.
    pub(crate) fn secure(
        &self,
        host: &str,
        mut stream: TcpStream,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

/// What to do about an error of a connection, if it is one of TLS.
pub(crate) fn advice(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => OTHER_NAME,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => OUT_OF_DATE,
        rustls::Error::InvalidCertificate(_) => UNKNOWN_SIGNER,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
            | AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => WANTS_CERTIFICATE,
        _ => NO_TLS,
    })
}

/// Believes that everybody is who they say; but what they sign, they must have signed.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl Anybody {
    fn known(&self) -> &WebPkiSupportedAlgorithms {
        &self.0.signature_verification_algorithms
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, self.known())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, self.known())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known().supported_schemes()
    }
}
