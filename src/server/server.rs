//! [`Server`]: binds, runs, and stops a daemon.

use crate::clock::Clock;
use crate::config::Config;
use crate::listener::{self, ListenError, Listener};
use crate::maintenance;
use crate::shared::Shared;
use crate::telemetry::LogLevel;
use crate::worker::{self, Handle};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use tokio::task::LocalSet;

/// The TCP sockets of a daemon, bound while the process may still have the rights for low ports.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listener>,
}

impl Bound {
    /// Binds the TCP sockets that the configuration asks for.
    ///
    /// # Errors
    /// [`ListenError`] names the address and what to do about it.
    pub fn tcp(config: &Config) -> Result<Self, ListenError> {
        Ok(Self {
            listeners: listener::bind_tcp(&config.listen, config.backlog)?,
        })
    }

    /// Binds the Unix socket too, if there is to be one: as the user who will serve it. The daemon
    /// can then run.
    ///
    /// # Errors
    /// [`ListenError`] names the path and what to do about it.
    pub fn into_server(
        mut self,
        config: Config,
        clock: Clock,
        log_level: LogLevel,
    ) -> Result<Server, ListenError> {
        self.listeners
            .extend(listener::bind_unix(&config.listen, config.backlog)?);
        let shared = Shared::new(&config, clock, log_level);
        shared
            .listeners
            .store(self.listeners.len(), Ordering::Relaxed);
        Ok(Server {
            config,
            listeners: self.listeners,
            shared,
        })
    }
}

/// A daemon that listens and is ready to run.
#[derive(Debug)]
pub struct Server {
    config: Config,
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
}

impl Server {
    /// The TCP addresses it listens on.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(Listener::tcp_address)
            .collect()
    }

    /// Serves until `shutdown` resolves; answers under way have half a second to be read.
    ///
    /// # Errors
    /// If threads, or what they wait with, cannot be made.
    pub fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let workers = (0..self.config.settings.threads.get())
            .map(|index| worker::spawn(Arc::clone(&self.shared), index, stopped.clone()))
            .collect::<io::Result<Vec<Handle>>>()?;
        tracing::info!(
            addresses = ?self.tcp_addresses(),
            threads = workers.len(),
            memory_bytes = self.config.memory_limit_bytes,
            connections = self.config.settings.connections_max,
            "nuthatch {} serves",
            env!("CARGO_PKG_VERSION"),
        );
        if self
            .tcp_addresses()
            .iter()
            .any(|address| address.ip().is_unspecified())
        {
            tracing::warn!("anybody who reaches this machine can read and write: see -l");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = LocalSet::new();
        for listener in self.listeners {
            let senders = workers
                .iter()
                .map(|worker| worker.accepted.clone())
                .collect();
            let accepting = listener.accept_all(Arc::clone(&self.shared), senders);
            local.spawn_local(async move {
                if let Err(error) = accepting.await {
                    tracing::error!(%error, "a socket stopped listening");
                }
            });
        }
        local.spawn_local(maintenance::run(Arc::clone(&self.shared)));
        local.block_on(&runtime, async {
            tokio::select! {
                () = shutdown => {}
                () = self.shared.stop.notified() => {}
            }
        });
        tracing::info!("stopping");
        // Closes the listening sockets before the workers finish.
        drop(local);
        stop.send_replace(true);
        workers.into_iter().for_each(Handle::join);
        tracing::info!("stopped");
        Ok(())
    }
}
