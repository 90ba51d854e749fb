//! Servers that are killed, stopped and come back.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// A memcached on a port that a test has chosen, so that it can come back there.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Waits until it answers.
    pub(crate) fn start(address: SocketAddr) -> Self {
        Self::start_with(address, &[])
    }

    /// With more flags.
    pub(crate) fn start_with(address: SocketAddr, flags: &[&str]) -> Self {
        let port = address.port().to_string();
        let child = Command::new("memcached")
            .args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-t", "1"])
            .args(["-p", &port])
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, address };
        let listens = || {
            std::thread::sleep(Duration::from_millis(5));
            std::net::TcpStream::connect(address).is_ok()
        };
        assert!(
            std::iter::repeat_with(listens)
                .take(2000)
                .any(|listens| listens),
            "it did not listen"
        );
        server
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// It is gone, and may come back there.
    pub(crate) fn stop(self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Neither can fail for a child that has not been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The way to a server, which may be closed, and opened to another one: what that holds is there before anybody comes.
pub(crate) struct Road {
    pub(crate) address: SocketAddr,
    traffic: JoinHandle<()>,
}

impl Road {
    pub(crate) async fn to(server: &Server) -> Self {
        Self::open(unused(), server).await
    }

    /// The same way, to this server.
    pub(crate) async fn open(address: SocketAddr, server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let target = server.address;
        let traffic = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { address, traffic }
    }

    /// Where it was.
    pub(crate) async fn close(self) -> SocketAddr {
        self.traffic.abort();
        let _ = self.traffic.await;
        self.address
    }
}

/// A port that nobody listens on, and that nobody else is given soon.
pub(crate) fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Until the condition holds, or the test has failed.
pub(crate) async fn until(mut what: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_mins(1), poll).await.unwrap();
}
