//! [`Stream`]: a connection to a node, opened and greeted.

use crate::address::Endpoint;
use crate::op::Dialect;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Longest answer to a greeting.
const GREETING_LEN_MAX: usize = 4096;

/// Name and password of servers that want them (memcached `-Y`).
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) password: String,
}

/// Passwords stay out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Endpoint::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// The same connection, encrypted, if it leaves the machine.
    #[cfg(feature = "tls")]
    pub(crate) async fn secure(
        self,
        endpoint: &Endpoint,
        connector: &crate::tls::Connector,
    ) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => {
                let stream = connector.secure(stream, endpoint).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
            stream => Ok(stream),
        }
    }
}

/// Sends name and password as the value of a set, which is how the text protocol does it.
pub(crate) async fn authenticate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: &Credentials,
) -> io::Result<()> {
    let value = format!("{} {}", credentials.name, credentials.password);
    let request = format!("set auth 0 0 {}\r\n{value}\r\n", value.len());
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let reply = read_line(stream).await?;
    if reply == b"STORED" {
        Ok(())
    } else {
        let line = reply.escape_ascii();
        Err(io::Error::other(format!(
            "name or password refused: {line}"
        )))
    }
}

/// Asks what the server understands. Old proxies hang up on words that they do not know; then they are asked again, on
/// a new connection, in words that every one of them knows.
pub(crate) async fn probe(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Dialect> {
    stream.write_all(b"mn\r\nversion\r\n").await?;
    stream.flush().await?;
    let noop = read_line(stream).await?;
    // One that answers and then hangs up, as memcached does with a connection too many, is not old but busy.
    let version = read_line(stream).await.map_err(|error| {
        io::Error::other(format!("it hung up after {}: {error}", noop.escape_ascii()))
    })?;
    Ok(if noop == b"MN" && !has_old_meta(&version) {
        Dialect::Meta
    } else {
        Dialect::Classic
    })
}

/// The same of one that hung up: a lookup, which proxies pass on.
pub(crate) async fn probe_proxy(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Dialect> {
    stream.write_all(b"get nuthatch:probe\r\n").await?;
    stream.flush().await?;
    match read_line(stream).await?.as_slice() {
        // A proxy whose own server is away still knows the words.
        line if line == b"END" || line.starts_with(b"SERVER_ERROR") => Ok(Dialect::Proxy),
        line => {
            let line = line.escape_ascii();
            Err(io::Error::other(format!("no memcached, it says: {line}")))
        }
    }
}

/// memcached 1.6.0 to 1.6.9 have meta commands of another grammar.
fn has_old_meta(version: &[u8]) -> bool {
    let number = version.strip_prefix(b"VERSION 1.6.").unwrap_or_default();
    matches!(number, [b'0'..=b'9'])
}

/// One line without its end, byte by byte: what follows belongs to others, and this is done once for a connection.
pub(crate) async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < GREETING_LEN_MAX {
        match stream.read_u8().await? {
            b'\n' => {
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            byte => line.push(byte),
        }
    }
    Err(io::Error::other("a line without end; this is no memcached"))
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $call,
            Self::Unix($stream) => $call,
            #[cfg(feature = "tls")]
            Self::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
