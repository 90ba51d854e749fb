//! Encrypted connections: to a server that is who it should be, and to none else.
#![cfg(feature = "tls")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Builder, Client, Error, OnDown, Tls, Ttl};
use protocol_tests::memcached::Memcached;
use std::net::SocketAddr;
use std::sync::Arc;
use support::{builder, patient};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

/// Puts TLS before a server, with a certificate for `cache.test` and 127.0.0.1.
async fn encrypted(server: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust it hangs up.
                let Ok(mut near) = acceptor.accept(near).await else {
                    return;
                };
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

async fn set_and_get(builder: Builder) -> Result<(), Error> {
    let client = builder.on_down(OnDown::Error).build().await?;
    for len in [5, 300_000] {
        let value = vec![7u8; len];
        client.set("k", &value, Ttl::NEVER).await?;
        assert_eq!(client.get::<Vec<u8>>("k").await?.unwrap(), value);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_trusted_is_spoken_to_and_another_is_not() {
    let memcached = Memcached::start().unwrap();
    let address = encrypted(memcached.address()).await;
    let trusted = || Tls::trust(AUTHORITY).unwrap();
    set_and_get(builder(address).tls(trusted())).await.unwrap();
    let named = builder(address).tls(trusted().server_name("cache.test"));
    set_and_get(named).await.unwrap();
    let identity = trusted().identity(CERTIFICATE, KEY).unwrap();
    set_and_get(builder(address).tls(identity)).await.unwrap();

    // The server's own certificate is no authority that has signed it.
    let stranger = Tls::trust(CERTIFICATE).unwrap();
    let misnamed = trusted().server_name("another.test");
    for tls in [stranger, misnamed] {
        let refused = set_and_get(builder(address).tls(tls)).await;
        assert!(
            matches!(refused, Err(Error::Unavailable { .. })),
            "{refused:?}"
        );
    }
    let plain = set_and_get(builder(address)).await;
    assert!(matches!(plain, Err(Error::Unavailable { .. })), "{plain:?}");
}

#[tokio::test]
async fn pem_that_is_none_is_refused() {
    for pem in [&b""[..], b"nonsense", KEY] {
        assert!(matches!(Tls::trust(pem), Err(Error::Config(_))));
    }
    let trusted = Tls::trust(AUTHORITY).unwrap();
    assert!(matches!(
        trusted.identity(CERTIFICATE, b"nonsense"),
        Err(Error::Config(_))
    ));
    let builder = Client::builder().node("a").timeouts(patient());
    let odd = Tls::trust(AUTHORITY)
        .unwrap()
        .identity(AUTHORITY, KEY)
        .unwrap();
    assert!(matches!(
        builder.tls(odd).build().await,
        Err(Error::Config(_))
    ));
}
