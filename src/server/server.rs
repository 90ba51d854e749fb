//! [`Server`]: binds, runs, and stops a daemon.

use crate::access::{Access, AccessError};
use crate::address::Security;
use crate::admin::{self, AdminAddress};
use crate::clock::Clock;
use crate::cluster;
use crate::config::Config;
use crate::listener::{self, ListenError, Listener};
use crate::maintenance;
use crate::notify;
use crate::shared::Shared;
use crate::snapshot::SnapshotFile;
use crate::telemetry::LogLevel;
use crate::tls::TlsFiles;
use crate::worker::{self, Handle};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// The TCP sockets of a daemon, bound while the process may still have the rights for low ports.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listener>,
    /// There is no Unix socket to be bound.
    are_all: bool,
    admin: Option<TcpListener>,
    access: Access,
}

/// Why a daemon cannot start, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A socket does not listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Nobody could see how it is.
    #[error(
        "cannot tell metrics on {address} (--admin): {source}. Choose another address, or --admin none"
    )]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody could be let in.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Nothing could be kept over a restart.
    #[error(
        "cannot keep a snapshot in {path}: {source}. Its folder must exist, and be the user's (-u)"
    )]
    Snapshot {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Looks whether a daemon could start, as far as that can be known without listening or writing anything.
///
/// # Errors
/// That with which it would not start.
pub fn check(config: &Config, clock: &Clock) -> Result<(), StartError> {
    Access::load(config, clock)?;
    match &config.snapshot {
        Some(file) => file.check(),
        None => Ok(()),
    }
}

impl Bound {
    /// Reads logins and certificates, and takes over the sockets that systemd listens on; where there is none, binds
    /// the TCP sockets that the configuration asks for.
    ///
    /// # Errors
    /// [`StartError`] names the file or the address and what to do about it.
    pub fn tcp(config: &Config, clock: &Clock) -> Result<Self, StartError> {
        let access = Access::load(config, clock)?;
        let security = match &config.tls {
            Some(_) => Security::Default,
            None => Security::None,
        };
        let activated = listener::activated(security)?;
        let are_all = !activated.is_empty();
        let listeners = if are_all {
            activated
        } else {
            listener::bind_tcp(&config.listen, config.backlog)?
        };
        Ok(Self {
            listeners,
            are_all,
            admin: config.admin.map_or(Ok(None), bind_admin)?,
            access,
        })
    }

    /// Binds the Unix socket too, if there is to be one: as the user who will serve it, and who will write the
    /// snapshot. The daemon can then run.
    ///
    /// # Errors
    /// [`StartError`] names the path and what to do about it.
    pub fn into_server(
        mut self,
        config: Config,
        clock: Clock,
        log_level: LogLevel,
    ) -> Result<Server, StartError> {
        if !self.are_all {
            self.listeners
                .extend(listener::bind_unix(&config.listen, config.backlog)?);
        }
        let last_cas = match &config.snapshot {
            Some(file) => {
                file.check()?;
                file.open().map_err(|error| file.unusable(error))?
            }
            None => None,
        };
        let last_cas = last_cas.unwrap_or_default();
        let shared = Shared::with_access(&config, clock, log_level, self.access, last_cas);
        shared
            .listeners
            .store(self.listeners.len(), Ordering::Relaxed);
        Ok(Server {
            config,
            listeners: self.listeners,
            admin: self.admin,
            shared,
        })
    }
}

/// Two daemons on one machine are common: without an address of its own, the second does without.
fn bind_admin(admin: AdminAddress) -> Result<Option<TcpListener>, StartError> {
    let AdminAddress { address, optional } = admin;
    match admin::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if optional => {
            tracing::warn!(%address, %error, "no metrics are told: choose an address with --admin");
            Ok(None)
        }
        Err(source) => Err(StartError::Admin { address, source }),
    }
}

/// A daemon that listens and is ready to run.
#[derive(Debug)]
pub struct Server {
    config: Config,
    listeners: Vec<Listener>,
    admin: Option<TcpListener>,
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

    /// Where it tells metrics and health.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// What its threads share.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn announce(&self) {
        tracing::info!(
            addresses = ?self.tcp_addresses(),
            threads = self.config.settings.threads,
            memory_bytes = self.config.memory_limit_bytes,
            connections = self.config.settings.connections_max,
            admin = ?self.admin_address(),
            "nuthatch {} serves",
            env!("CARGO_PKG_VERSION"),
        );
        let is_open = self.config.auth_file.is_none()
            && !(self.config.tls.as_ref()).is_some_and(TlsFiles::knows_clients);
        let mut addresses = self.tcp_addresses().into_iter();
        if is_open && addresses.any(|address| address.ip().is_unspecified()) {
            tracing::warn!("anybody who reaches this machine can read and write: see -l and -Y");
        }
    }

    /// Serves until `shutdown` resolves; answers under way have half a second to be read. Then writes the snapshot,
    /// if there is to be one, unless `again` resolves before that is done.
    ///
    /// # Errors
    /// If threads, or what they wait with, cannot be made, or the snapshot not be written.
    pub fn run(
        self,
        shutdown: impl Future<Output = ()>,
        again: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut workers = Vec::new();
        for index in 0..self.config.settings.threads.get() {
            let timers = runtime.handle().clone();
            match worker::spawn(Arc::clone(&self.shared), index, stopped.clone(), timers) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    // Before the runtime is gone that they use.
                    workers.into_iter().for_each(Handle::join);
                    return Err(error);
                }
            }
        }
        self.announce();
        if let Some(cluster) = &self.shared.cluster {
            cluster::keep_up(cluster, self.shared.clock.clone())?;
        }
        if let Some(listener) = self.admin {
            // Not of the tasks that end when stopping begins: it tells how that goes.
            runtime.spawn(admin::run(listener, Arc::clone(&self.shared)));
        }
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
        local.spawn_local(notify::watchdog(Arc::clone(&self.shared)));
        notify::ready();
        let restoring = self
            .config
            .snapshot
            .as_ref()
            .map(|file| restore(Arc::clone(&self.shared), file.clone()))
            .transpose()?;
        local.block_on(&runtime, async {
            tokio::select! {
                () = shutdown => {}
                () = self.shared.stop.notified() => {}
            }
        });
        tracing::info!("stopping");
        notify::stopping();
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Closes the listening sockets before the workers finish.
        drop(local);
        stop.send_replace(true);
        let joined = runtime.spawn_blocking(|| workers.into_iter().for_each(Handle::join));
        runtime.block_on(joined)?;
        let saved = match (self.config.snapshot, restoring) {
            (Some(file), Some(restoring)) => {
                runtime.block_on(save(self.shared, file, restoring, again))
            }
            _ => Ok(()),
        };
        // Nobody waits for a snapshot that has been given up.
        runtime.shutdown_background();
        tracing::info!("stopped");
        saved
    }
}

fn restore(shared: Arc<Shared>, file: SnapshotFile) -> io::Result<JoinHandle<()>> {
    // Before anybody does what must not be done meanwhile.
    shared.restoring.store(true, Ordering::Relaxed);
    thread::Builder::new()
        .name("restore".into())
        .spawn(move || file.restore(&shared))
}

/// Writes the snapshot, which is only whole with all that the one before it held: that must be back first.
async fn save(
    shared: Arc<Shared>,
    file: SnapshotFile,
    restoring: JoinHandle<()>,
    again: impl Future<Output = ()>,
) -> io::Result<()> {
    let saving = tokio::task::spawn_blocking({
        let shared = Arc::clone(&shared);
        move || {
            if restoring.join().is_err() {
                let error = "restoring has panicked: the snapshot before this one stays";
                return Err(io::Error::other(error));
            }
            file.save(&shared)
        }
    });
    tokio::select! {
        saved = saving => saved?,
        () = again => {
            tracing::warn!("stopped before the snapshot was written: the one before it stays");
            Ok(())
        }
        () = notify::watchdog(shared) => Ok(()),
    }
}
