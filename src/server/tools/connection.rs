//! [`Connection`]: a blocking connection to a server, by lines and values.

use super::credentials::Credentials;
use super::error::ToolError;
use super::item::VALUE_LEN_MAX;
use super::tls;
use nuthatch_protocol::limits::REPLY_LINE_LEN_MAX;
use nuthatch_protocol::{DecodedReply, ReplyDecoder, Request, Response};
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const DEFAULT_PORT: u16 = 11211;

/// How long one address of a server may take to accept.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a server may be silent while it owes something, unless a verb has less patience. memcached lists keys in the background, with pauses.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_mins(1);

/// Bytes that are read at once, and that wait to be sent.
const BUFFER_LEN: usize = 64 << 10;

/// How a server that speaks TLS begins to say that it has not understood: an alert (RFC 8446, 5.1).
const TLS_ALERT: &[u8] = &[21, 3];

/// What a server says to who has not logged in.
pub(crate) const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";

/// What to do about a server that answers `mn` with neither yes nor no.
const NO_LOGIN: &str = "it wants a login: --auth-file names a file that has it";
const WRONG_LOGIN: &str = "it refuses the login in the file of --auth-file";
const NOT_SERVED: &str = "it does not serve this connection now: try again later";

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    /// `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or the path of a Unix socket, which has a slash.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(',') {
            return Err("several servers: name the one that is meant by --server".to_owned());
        }
        if text.contains('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let is_ip = |host: &str| host.parse::<IpAddr>().is_ok();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !is_ip(text) && !text.ends_with(']') => {
                let port = port.parse().map_err(|error| format!("{port:?}: {error}"))?;
                (host, port)
            }
            _ => (text, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("HOST, HOST:PORT, [IPV6]:PORT or the path of a Unix socket".to_owned());
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Both directions of a socket of either kind.
trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// A connection to a server. What is to be sent is collected in `out`.
pub(crate) struct Connection {
    address: Address,
    patience: Duration,
    stream: BufReader<Box<dyn Duplex>>,
    /// Requests that are not sent yet.
    pub(crate) out: Vec<u8>,
    line: Vec<u8>,
}

impl Connection {
    /// `patience` is how long the server may be silent while it owes something.
    pub(crate) fn open(
        address: &Address,
        credentials: &Credentials,
        patience: Duration,
    ) -> Result<Self, ToolError> {
        let stream = connect(address, credentials, patience)?;
        Ok(Self {
            address: address.clone(),
            patience,
            stream: BufReader::with_capacity(BUFFER_LEN, stream),
            out: Vec::new(),
            line: Vec::new(),
        })
    }

    /// Opens one, logs in if the server wants that, and asks whether it knows meta commands.
    pub(crate) fn open_for_meta(
        address: &Address,
        credentials: &Credentials,
        patience: Duration,
    ) -> Result<(Self, bool), ToolError> {
        let mut connection = Self::open(address, credentials, patience)?;
        let mut asked = connection.has_meta();
        if asked.is_err()
            && connection.wants_login()
            && let Some(login) = &credentials.login
        {
            login.encode(&mut connection.out);
            connection.send()?;
            if connection.line()? != b"STORED" {
                return Err(connection.wrong(WRONG_LOGIN));
            }
            asked = connection.has_meta();
        }
        match asked {
            Ok(has_meta) => Ok((connection, has_meta)),
            // A proxy closes the connection of who says what it does not know.
            Err(ToolError::Lost { error, .. }) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::open(address, credentials, patience).map(|connection| (connection, false))
            }
            Err(error) => Err(error),
        }
    }

    fn has_meta(&mut self) -> Result<bool, ToolError> {
        Request::MetaNoop.encode(&mut self.out);
        self.send()?;
        self.line()?;
        match self.same_line() {
            b"MN" => Ok(true),
            b"ERROR" => Ok(false),
            _ if self.wants_login() => Err(self.wrong(NO_LOGIN)),
            _ => Err(self.wrong(NOT_SERVED)),
        }
    }

    fn wants_login(&self) -> bool {
        self.same_line() == UNAUTHENTICATED.as_bytes()
    }

    /// Whether so much waits that it had better be sent.
    pub(crate) fn is_full(&self) -> bool {
        self.out.len() >= BUFFER_LEN
    }

    /// Sends what waits.
    pub(crate) fn send(&mut self) -> Result<(), ToolError> {
        let stream = self.stream.get_mut();
        let result = stream.write_all(&self.out).and_then(|()| stream.flush());
        self.out.clear();
        result.map_err(|error| self.lost(error))
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Result<&[u8], ToolError> {
        self.read_line().map_err(|error| self.lost(error))?;
        Ok(self.same_line())
    }

    /// The line that was read last.
    pub(crate) fn same_line(&self) -> &[u8] {
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The same for people.
    pub(crate) fn last_line(&self) -> String {
        String::from_utf8_lossy(self.same_line()).into_owned()
    }

    /// The next line as a reply; `None` if it is none.
    pub(crate) fn reply(&mut self) -> Result<Option<Response<'_>>, ToolError> {
        self.read_line().map_err(|error| self.lost(error))?;
        Ok(self.same_reply())
    }

    /// The line that was read last as a reply.
    pub(crate) fn same_reply(&self) -> Option<Response<'_>> {
        match ReplyDecoder::new().decode(&self.line) {
            DecodedReply::Response { response, .. } => Some(response),
            _ => None,
        }
    }

    /// The value of so many bytes that follows, and its line end.
    pub(crate) fn value(&mut self, len: u64) -> Result<Vec<u8>, ToolError> {
        if len > VALUE_LEN_MAX.into() {
            return Err(self.out_of_step());
        }
        let mut value = Vec::new();
        self.read_value(len, &mut value)
            .map_err(|error| self.lost(error))?;
        Ok(value)
    }

    fn read_line(&mut self) -> io::Result<()> {
        let limit = u64::try_from(REPLY_LINE_LEN_MAX).unwrap_or(u64::MAX);
        self.line.clear();
        let mut limited = self.stream.by_ref().take(limit);
        limited.read_until(b'\n', &mut self.line)?;
        if self.line.ends_with(b"\n") {
            Ok(())
        } else if self.line.len() >= REPLY_LINE_LEN_MAX {
            Err(io::Error::other("a line of it does not end"))
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Takes memory for what arrives, not for what is announced.
    fn read_value(&mut self, len: u64, value: &mut Vec<u8>) -> io::Result<()> {
        let read = self.stream.by_ref().take(len).read_to_end(value)?;
        let mut end = [0; 2];
        self.stream.read_exact(&mut end)?;
        if u64::try_from(read) == Ok(len) && end == *b"\r\n" {
            Ok(())
        } else {
            Err(io::Error::other(
                "a value of it has another length than it says",
            ))
        }
    }

    fn lost(&self, error: io::Error) -> ToolError {
        let address = self.address.clone();
        if self.line.starts_with(TLS_ALERT) {
            return ToolError::Secured { address };
        }
        if let Some(advice) = tls::advice(&error) {
            return ToolError::Tls {
                address,
                error,
                advice,
            };
        }
        let error = match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::other(format!("no answer for {:?}", self.patience))
            }
            _ => error,
        };
        ToolError::Lost { address, error }
    }

    /// The server answered what it should not have.
    pub(crate) fn wrong(&self, advice: &'static str) -> ToolError {
        ToolError::Answer {
            address: self.address.clone(),
            answer: self.last_line(),
            advice,
        }
    }

    /// Sends one command, and reads the first line of its answer. A server that does not know it says so.
    pub(crate) fn ask(&mut self, command: &str) -> Result<&[u8], ToolError> {
        self.out.extend_from_slice(command.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self.send()?;
        self.line()?;
        if self.same_line() == b"ERROR" {
            return Err(ToolError::Unknown {
                address: self.address.clone(),
                command: command.to_owned(),
            });
        }
        Ok(self.same_line())
    }

    /// Where the server is.
    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// The last line is not what a server of this protocol answers.
    pub(crate) fn out_of_step(&self) -> ToolError {
        self.wrong("that is no answer to what was asked; is it a memcached?")
    }
}

fn connect(
    address: &Address,
    credentials: &Credentials,
    patience: Duration,
) -> Result<Box<dyn Duplex>, ToolError> {
    let failed = |error| ToolError::Connect {
        address: address.clone(),
        error,
    };
    let (host, port) = match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).map_err(failed)?;
            stream.set_read_timeout(Some(patience)).map_err(failed)?;
            stream.set_write_timeout(Some(patience)).map_err(failed)?;
            return Ok(Box::new(stream));
        }
        Address::Tcp { host, port } => (host.as_str(), *port),
    };
    let stream = connect_tcp(host, port, patience).map_err(failed)?;
    let Some(tls) = &credentials.tls else {
        return Ok(Box::new(stream));
    };
    match tls.secure(host, stream) {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(ToolError::Tls {
            address: address.clone(),
            advice: tls::advice(&error).unwrap_or(tls::NO_TLS),
            error,
        }),
    }
}

fn connect_tcp(host: &str, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let mut last_error = io::Error::other("the name has no address");
    for socket in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, patience.min(CONNECT_PATIENCE)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                return Ok(stream);
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// A server that goes by a script.
#[cfg(test)]
pub(super) mod scripted {
    use super::{Address, Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    /// Takes one connection, reads what it shall be asked and answers, until the script is over. Join it: it fails if
    /// it is asked something else.
    pub(in super::super) fn serve(
        script: Vec<(&'static str, Vec<u8>)>,
    ) -> (Address, JoinHandle<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for (expected, answer) in script {
                let mut request = vec![0; expected.len()];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(String::from_utf8(request).unwrap(), expected);
                stream.write_all(&answer).unwrap();
            }
        });
        (address.parse().unwrap(), server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_its_port_out() {
        for (text, shown) in [
            ("cache", "cache:11211"),
            ("cache:12", "cache:12"),
            ("10.0.0.1", "10.0.0.1:11211"),
            ("::1", "[::1]:11211"),
            ("[::1]", "[::1]:11211"),
            ("[::1]:12", "[::1]:12"),
            (" /run/cache.sock ", "/run/cache.sock"),
        ] {
            let address = text.parse::<Address>().unwrap();
            assert_eq!(address.to_string(), shown, "{text:?}");
        }
        for text in ["", ":11211", "cache:", "cache:65536", "a:1,b:2"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_line_has_a_longest_length() {
        for (len, is_read) in [(REPLY_LINE_LEN_MAX, true), (REPLY_LINE_LEN_MAX + 1, false)] {
            let mut line = vec![b'x'; len];
            line[len - 1] = b'\n';
            let (address, server) = scripted::serve(vec![("", line)]);
            let mut connection =
                Connection::open(&address, &Credentials::default(), ANSWER_PATIENCE).unwrap();
            let read = connection.line();
            assert_eq!(read.map(<[u8]>::len).ok(), is_read.then_some(len - 1));
            drop(connection);
            // It may not have sent all before the connection was closed.
            drop(server.join());
        }
    }

    #[test]
    fn a_value_is_as_long_as_it_says_and_has_a_longest_length() {
        let value = |len: u64, sent: &[u8]| {
            let (address, server) = scripted::serve(vec![("", sent.to_vec())]);
            let read = Connection::open(&address, &Credentials::default(), ANSWER_PATIENCE)
                .unwrap()
                .value(len);
            server.join().unwrap();
            read
        };
        assert_eq!(value(3, b"abc\r\n").unwrap(), b"abc");
        assert_eq!(value(0, b"\r\n").unwrap(), b"");
        assert!(matches!(value(3, b"abcd\r\n"), Err(ToolError::Lost { .. })));
        assert!(matches!(value(3, b"ab"), Err(ToolError::Lost { .. })));
        // The longest one is waited for, not refused.
        let longest = u64::from(VALUE_LEN_MAX);
        assert!(matches!(value(longest, b"a"), Err(ToolError::Lost { .. })));
        assert!(matches!(
            value(longest + 1, b"a"),
            Err(ToolError::Answer { .. })
        ));
    }

    #[test]
    fn a_server_is_asked_whether_it_knows_meta_commands() {
        for (answer, has_meta) in [
            ("MN\r\n", Some(true)),
            ("ERROR\r\n", Some(false)),
            ("ERROR Too many open connections\r\n", None),
            ("CLIENT_ERROR unauthenticated\r\n", None),
        ] {
            let (address, server) = scripted::serve(vec![("mn\r\n", answer.into())]);
            let opened =
                Connection::open_for_meta(&address, &Credentials::default(), ANSWER_PATIENCE);
            assert_eq!(
                opened.ok().map(|(_, has_meta)| has_meta),
                has_meta,
                "{answer}"
            );
            server.join().unwrap();
        }
    }
}
