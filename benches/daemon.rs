//! A cache daemon that a benchmark starts, measures and stops: nuthatch, or memcached beside it.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use nuthatch_load::Dialect;

const ANSWER_MAX: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);
const POLLS_MAX: usize = 1000;

/// A daemon program.
#[derive(Clone, Debug)]
pub struct Program {
    /// What to call it.
    pub name: &'static str,
    /// What it speaks.
    pub dialect: Dialect,
    path: PathBuf,
    /// What makes this process' own program such a daemon, if it is that.
    own_flag: Option<&'static str>,
}

const PORT_FILE_VARIABLE: &str = "MEMCACHED_PORT_FILENAME";
const PORT_LINE: &str = "TCP INET: ";

/// Tells who started this process, as memcached does, which port it has.
///
/// # Errors
/// Nobody told it where.
pub fn tell_port(port: u16) -> io::Result<()> {
    let path = std::env::var_os(PORT_FILE_VARIABLE).ok_or(io::ErrorKind::NotFound)?;
    fs::write(path, format!("{PORT_LINE}{port}\n"))
}

impl Program {
    /// This process' own program, which with the flag must speak memcached's protocol, and [`tell_port`].
    ///
    /// # Errors
    /// Nobody knows where it is.
    pub fn itself(name: &'static str, flag: &'static str) -> io::Result<Self> {
        Ok(Self {
            name,
            dialect: Dialect::Memcached,
            path: std::env::current_exe()?,
            own_flag: Some(flag),
        })
    }

    /// Those that there are and speak memcached's protocol: nuthatch by `NUTHATCH_BIN` or as this workspace's
    /// release build, and memcached from the search path.
    pub fn all() -> Vec<Self> {
        let mut programs = Self::peers();
        programs.retain(|program| program.dialect == Dialect::Memcached);
        programs
    }

    /// The same, and Redis.
    pub fn peers() -> Vec<Self> {
        let built = || {
            // The benchmark itself is in target/release/deps.
            let exe = std::env::current_exe().ok()?;
            let release = exe.parent().and_then(Path::parent);
            release.map(|release| release.join("nuthatch"))
        };
        let nuthatch = std::env::var_os("NUTHATCH_BIN")
            .map(PathBuf::from)
            .or_else(built);
        let nuthatch = nuthatch.filter(|path| path.exists());
        [
            ("nuthatch", Dialect::Memcached, nuthatch),
            ("memcached", Dialect::Memcached, on_search_path("memcached")),
            ("redis", Dialect::Resp, on_search_path("redis-server")),
        ]
        .into_iter()
        .filter_map(|(name, dialect, path)| {
            Some(Self {
                name,
                dialect,
                path: path?,
                own_flag: None,
            })
        })
        .collect()
    }

    /// What it says of its version.
    pub fn version(&self) -> String {
        let says = |flag| {
            let output = Command::new(&self.path).arg(flag).output();
            let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            text.unwrap_or_default().trim().to_owned()
        };
        match self.dialect {
            _ if self.own_flag.is_some() => "of this benchmark".to_owned(),
            Dialect::Memcached => says("-V"),
            Dialect::Resp => says("--version"),
        }
    }

    /// Starts it with one thread on a free port.
    ///
    /// # Errors
    /// The program cannot be run, or opens no port within ten seconds.
    pub fn start(&self, memory_mib: u64) -> io::Result<Daemon> {
        self.start_with(memory_mib, 1)
    }

    /// The same with any number of threads.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_with(&self, memory_mib: u64, threads: usize) -> io::Result<Daemon> {
        let directory = TempDir::new()?;
        match self.dialect {
            Dialect::Memcached => self.start_memcached(memory_mib, threads, &directory),
            Dialect::Resp => self.start_redis(memory_mib, &directory),
        }
    }

    fn start_memcached(
        &self,
        memory_mib: u64,
        threads: usize,
        directory: &TempDir,
    ) -> io::Result<Daemon> {
        let port_file = directory.path().join("port");
        let mut command = Command::new(&self.path);
        match self.own_flag {
            Some(flag) => command.arg(flag),
            None => command
                .args(["-p", "-1", "-U", "0", "-l", "127.0.0.1", "-c", "15000"])
                .args(["-u", "root", "-m", &memory_mib.to_string()])
                .args(["-t", &threads.to_string()]),
        };
        let child = command
            .env(PORT_FILE_VARIABLE, &port_file)
            .env("NUTHATCH_ADMIN", "none")
            .stderr(Stdio::null())
            .spawn()?;
        let mut daemon = Daemon { child, port: 0 };
        for _ in 0..POLLS_MAX {
            let text = fs::read_to_string(&port_file).unwrap_or_default();
            let port = text.lines().find_map(|line| line.strip_prefix(PORT_LINE));
            if let Some(port) = port.and_then(|port| port.parse().ok()) {
                daemon.port = port;
                return Ok(daemon);
            }
            thread::sleep(POLL);
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn start_redis(&self, memory_mib: u64, directory: &TempDir) -> io::Result<Daemon> {
        // Redis does not say which port it has chosen: one that was free just now.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let child = Command::new(&self.path)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--maxclients", "15000"])
            .args(["--maxmemory", &format!("{memory_mib}mb")])
            .args(["--maxmemory-policy", "allkeys-lru"])
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()?;
        let daemon = Daemon { child, port };
        for _ in 0..POLLS_MAX {
            if TcpStream::connect(daemon.address()).is_ok() {
                return Ok(daemon);
            }
            thread::sleep(POLL);
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn on_search_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|path| path.join(program))
        .find(|path| path.exists())
}

/// A running daemon; dropping it stops it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection that waits a minute for an answer at most.
    ///
    /// # Errors
    /// Nobody accepts it.
    pub fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Connection {
            reader: BufReader::with_capacity(1 << 20, stream.try_clone()?),
            stream,
        })
    }

    /// Bytes of memory that the process has now, and the most that it ever had.
    ///
    /// # Errors
    /// It is gone.
    pub fn resident(&self) -> io::Result<[u64; 2]> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            number.unwrap_or(0u64) << 10
        };
        Ok([kib("VmRSS:"), kib("VmHWM:")])
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have died, which the benchmark has noticed by then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Sends all of `request`.
    ///
    /// # Errors
    /// The daemon is gone.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }

    /// Reads a line into `line`, instead of what it was.
    ///
    /// # Errors
    /// The daemon is gone, or silent for a minute.
    pub fn line<'a>(&mut self, line: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        line.clear();
        self.reader.read_until(b'\n', line)?;
        line.strip_suffix(b"\r\n")
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Reads the answer to a `get` of any number of keys: calls `hit` with each key that is there.
    ///
    /// # Errors
    /// As for [`Self::line`], and any other answer.
    pub fn hits(&mut self, mut hit: impl FnMut(&[u8])) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            let answer = self.line(&mut line)?;
            if answer == b"END" {
                return Ok(());
            }
            let mut fields = answer.split(|byte| *byte == b' ').skip(1);
            let (Some(key), Some(len)) = (fields.next(), fields.nth(1).and_then(decimal)) else {
                let answer = String::from_utf8_lossy(answer).into_owned();
                return Err(io::Error::new(io::ErrorKind::InvalidData, answer));
            };
            hit(key);
            io::copy(
                &mut io::Read::take(&mut self.reader, len + 2),
                &mut io::sink(),
            )?;
        }
    }

    /// A number that `stats` tells.
    ///
    /// # Errors
    /// As for [`Self::line`], and no such number.
    pub fn stat(&mut self, name: &str) -> io::Result<u64> {
        self.send(b"stats\r\n")?;
        let (mut line, mut value) = (Vec::new(), None);
        let prefix = format!("STAT {name} ");
        loop {
            let answer = self.line(&mut line)?;
            if answer == b"END" {
                return value.ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            if let Some(text) = answer.strip_prefix(prefix.as_bytes()) {
                value = decimal(text);
            }
        }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
