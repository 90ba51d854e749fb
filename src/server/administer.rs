//! Requests about the daemon and not about an item.

use crate::cluster::{CLUSTER_NAME, Cluster};
use crate::dump::Dump;
use crate::execute::Context;
use crate::output::Output;
use crate::shared::Shared;
use crate::stats_text;
use crate::watch::Streams;
use nuthatch_protocol::{
    AdminCommand, ErrorReply, MemoryLimit, Request, Response, Tokens, parse_u32,
};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What `version` answers. Clients look for the release of memcached whose commands they may use; a
/// suffix, as memcached's own builds between releases have one, says who answers.
pub const VERSION: &str = concat!("1.6.45-nuthatch-", env!("CARGO_PKG_VERSION"));

/// The smallest limit that `cache_memlimit` takes (memcached `process_memlimit_command`).
const MEMORY_LIMIT_MEBIBYTES_MIN: u32 = 8;

/// Above this, somebody meant bytes (memcached `process_memlimit_command`).
const MEMORY_LIMIT_MEBIBYTES_MAX: u32 = 1_000_000_000;

/// The release alone, for clients of ElastiCache: they compare it with 1.4.14, and take no suffix.
const RELEASE: &str = "1.6.45";

/// What to do about such a request.
#[derive(Debug)]
pub(crate) enum Administered {
    /// Say this, behind what has been written.
    Answer(Response<'static>),
    /// Send this list.
    List(Dump),
    /// Tell it what happens.
    Watch(Streams),
    /// Say nothing: the daemon stops.
    Stop,
}

use Administered::{Answer, List, Stop, Watch};

/// Answers the request; what has more than one line goes to `out`.
pub(crate) fn answer(
    shared: &Shared,
    context: &Context<'_>,
    request: &Request<'_>,
    out: &mut Output,
) -> Administered {
    Answer(match request {
        Request::FlushAll(request) => context.flush_all(*request),
        Request::FlushNamespace(request) => context.flush_namespace(*request),
        Request::Verbosity(request) => {
            shared.log_level.set(request.level);
            Response::Ok
        }
        Request::MemoryLimit(request) => set_memory_limit(context, *request),
        Request::Stats(arguments) => {
            return match stats_text::answer(shared, arguments, context.now, out) {
                Ok(response) => Answer(response),
                Err(dump) => List(dump),
            };
        }
        Request::Admin(AdminCommand::LruCrawler, arguments) => {
            return lru_crawler(shared, arguments, out);
        }
        Request::Admin(AdminCommand::Config, arguments) => config(shared, arguments, out),
        Request::Admin(AdminCommand::Lru, arguments) => shared.lock_tuning().lru(arguments),
        Request::Admin(AdminCommand::Slabs, arguments) => shared.lock_tuning().slabs(arguments),
        Request::Admin(AdminCommand::RefreshCerts, _) => refresh_certificates(shared),
        Request::Admin(AdminCommand::Drain, arguments) => drain(shared, arguments),
        Request::Admin(AdminCommand::DebugTime, arguments) => debug_time(shared, arguments),
        Request::Admin(AdminCommand::Watch, streams) => return watch(shared, streams, out),
        Request::Version => Response::Version(version(shared).as_bytes()),
        Request::Shutdown(mode) => match shared.request_stop(mode) {
            Some(refusal) => refusal,
            None => return Stop,
        },
        // Also a request of a later version of the protocol.
        _ => Response::Error(ErrorReply::UNKNOWN_COMMAND),
    })
}

/// Tells probes that no more clients shall come, or with `off` that they may again. All are served meanwhile.
fn drain(shared: &Shared, arguments: &[u8]) -> Response<'static> {
    if !shared.config.settings.allowed.shutdown {
        return Response::Error(ErrorReply::SHUTDOWN_DISABLED);
    }
    let is_draining = match arguments {
        b"" => true,
        b"off" => false,
        _ => return Response::Error(ErrorReply::BAD_FORMAT),
    };
    if shared.draining.swap(is_draining, Ordering::Relaxed) != is_draining {
        let clients = shared.connections.load(Ordering::Relaxed);
        shared.drained_from.store(clients, Ordering::Relaxed);
        tracing::info!(is_draining, "a client asked for that");
    }
    Response::Ok
}

/// `p` lets the clock stand still, `r` lets it go on, a number moves it on by so many seconds.
fn debug_time(shared: &Shared, arguments: &[u8]) -> Response<'static> {
    let clock = &shared.clock;
    let is_done = match arguments {
        _ if !shared.config.debug_time => false,
        b"p" => clock.pause(true),
        b"r" => clock.pause(false),
        seconds => match parse_u32(seconds) {
            Some(seconds) => clock.advance(Duration::from_secs(seconds.into())),
            None => return Response::Error(ErrorReply::BAD_FORMAT),
        },
    };
    if is_done {
        Response::Ok
    } else {
        Response::Error(ErrorReply::UNKNOWN_COMMAND)
    }
}

fn watch(shared: &Shared, streams: &[u8], out: &Output) -> Administered {
    if !shared.config.settings.allowed.watch {
        return Answer(Response::Error(ErrorReply::WATCH_NOT_ALLOWED));
    }
    if out.len() > 0 {
        return Answer(Response::Error(ErrorReply::WATCH_IN_PIPELINE));
    }
    match Streams::parse(streams) {
        Some(streams) => Watch(streams),
        None => Answer(Response::Error(ErrorReply::UNKNOWN_COMMAND)),
    }
}

fn refresh_certificates(shared: &Shared) -> Response<'static> {
    match shared.refresh_certificates() {
        Ok(true) => Response::Ok,
        Ok(false) => Response::Error(ErrorReply::NO_TLS),
        Err(error) => {
            tracing::error!(%error, "the certificates that there are stay in use");
            Response::Error(ErrorReply::CERTIFICATES)
        }
    }
}

/// What `version` answers.
fn version(shared: &Shared) -> &'static str {
    match shared.cluster {
        Some(_) => RELEASE,
        None => VERSION,
    }
}

/// `config get cluster`; without a cluster there is no such command.
fn config(shared: &Shared, arguments: &[u8], out: &mut Output) -> Response<'static> {
    let mut words = Tokens::new(arguments);
    match &shared.cluster {
        Some(cluster) if words.next() == Some(b"get") && words.next() == Some(CLUSTER_NAME) => {
            put_cluster(cluster, b"CONFIG cluster", out)
        }
        _ => Response::Error(ErrorReply::UNKNOWN_COMMAND),
    }
}

/// The nodes as a value, whose line begins with `head`.
pub(crate) fn put_cluster(cluster: &Cluster, head: &[u8], out: &mut Output) -> Response<'static> {
    let Some(body) = cluster.body() else {
        return Response::Error(ErrorReply::NO_CLUSTER_NODES);
    };
    out.put_text(head);
    out.put_text(format!(" 0 {}\r\n{body}\r\n", body.len()).as_bytes());
    Response::End
}

fn lru_crawler(shared: &Shared, arguments: &[u8], out: &Output) -> Administered {
    match Dump::of_crawler(arguments, shared, out.len() > 0) {
        Some(Ok(dump)) => List(dump),
        Some(Err(refusal)) => Answer(Response::Error(refusal)),
        None => Answer(shared.lock_tuning().lru_crawler(arguments)),
    }
}

fn set_memory_limit(context: &Context<'_>, request: MemoryLimit) -> Response<'static> {
    let Some(mebibytes) = request.mebibytes else {
        return Response::Error(ErrorReply::UNKNOWN_COMMAND);
    };
    if mebibytes < MEMORY_LIMIT_MEBIBYTES_MIN {
        Response::Error(ErrorReply::MEMORY_LIMIT_TOO_SMALL)
    } else if mebibytes > MEMORY_LIMIT_MEBIBYTES_MAX {
        Response::Error(ErrorReply::MEMORY_LIMIT_IN_BYTES)
    } else {
        let bytes = u64::from(mebibytes) << 20;
        context.store.set_memory_limit(bytes);
        context.watch.limited(bytes, context.now);
        Response::Ok
    }
}
