//! Servers that misbehave on purpose, and clients for servers that do not.

pub(crate) mod database;
pub(crate) mod server;

use nuthatch_client::{Builder, Client, Timeouts};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// One connection, as the server sees it.
pub(crate) struct Peer(BufReader<TcpStream>);

impl Peer {
    /// The next line without its end; `None` if the client has gone.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let len = self.0.read_line(&mut line).await.unwrap_or(0);
        (len > 0).then(|| line.trim_end().to_owned())
    }

    /// Whether more has arrived, or does so now.
    pub(crate) async fn has_line(&mut self) -> bool {
        let more = self.0.fill_buf();
        tokio::time::timeout(Duration::ZERO, more).await.is_ok()
    }

    /// A value of this length and its line end.
    pub(crate) async fn value(&mut self, len: usize) -> Vec<u8> {
        let mut value = vec![0; len + 2];
        self.0.read_exact(&mut value).await.unwrap();
        value.truncate(len);
        value
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        // The client may have gone, which some tests are about.
        let _ = self.0.get_mut().write_all(text.as_ref()).await;
    }

    /// Passes everything on, both ways, until one side has gone.
    pub(crate) async fn forward(mut self, mut far: impl AsyncRead + AsyncWrite + Unpin) {
        let _ = tokio::io::copy_bidirectional(&mut self.0, &mut far).await;
    }

    /// Answers the client's first question as a server with meta commands does.
    pub(crate) async fn greet(&mut self) {
        assert_eq!(self.line().await.unwrap(), "mn");
        assert_eq!(self.line().await.unwrap(), "version");
        self.send("MN\r\nVERSION 1.6.45\r\n").await;
    }
}

/// The opaque of a request line.
pub(crate) fn opaque(line: &str) -> u64 {
    let mut tokens = line.split(' ');
    let token = tokens.find(|token| token.starts_with('O')).unwrap();
    token.strip_prefix('O').unwrap().parse().unwrap()
}

/// The key of a request line.
pub(crate) fn key(line: &str) -> &str {
    line.split(' ').nth(1).unwrap()
}

/// Serves each connection by `serve`, which is told its number; where, and how many there were.
pub(crate) async fn serve<F, L>(serve: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(usize, Peer) -> L + Send + 'static,
    L: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(number, Peer(BufReader::new(stream))));
        }
    });
    (address, count)
}

/// Times that are long on any machine, for tests in which nothing is to time out.
pub(crate) fn patient() -> Timeouts {
    Timeouts::lan()
        .with_connect(Duration::from_secs(20))
        .with_operation(Duration::from_secs(20))
        .with_stall(Duration::from_secs(20))
}

pub(crate) fn builder(address: SocketAddr) -> Builder {
    Client::builder()
        .node(address.to_string())
        .timeouts(patient())
}

pub(crate) async fn client(address: SocketAddr) -> Client {
    builder(address).build().await.unwrap()
}

/// Of a node that has no address, but a name or a path.
pub(crate) async fn client_of(node: &str) -> Client {
    let builder = Client::builder().node(node).timeouts(patient());
    builder.build().await.unwrap()
}

/// Forwards everything but `mn`, which it does not know.
pub(crate) async fn without_meta(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 4];
                near.read_exact(&mut first).await.unwrap();
                assert_eq!(&first, b"mn\r\n");
                near.write_all(b"ERROR\r\n").await.unwrap();
                let mut far = TcpStream::connect(server).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    address
}

/// Answers a lookup with the key itself as the value.
pub(crate) async fn echo(peer: &mut Peer, line: &str) {
    let (key, opaque) = (key(line), opaque(line));
    let len = key.len();
    peer.send(format!("VA {len} f0 c1 t-1 O{opaque}\r\n{key}\r\n"))
        .await;
}

pub(crate) async fn echo_all(mut peer: Peer) {
    peer.greet().await;
    while let Some(line) = peer.line().await {
        echo(&mut peer, &line).await;
    }
}
