//! The admin listener: health and metrics over HTTP, for probes, Prometheus and people. It changes nothing.

use crate::config::ConfigError;
use crate::listener;
use crate::metrics;
use crate::page;
use crate::shared::Shared;
use crate::status::Status;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// The port of memcached's exporter, where whoever has scraped one looks.
const DEFAULT_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 9150);

/// Connections at the same time; others wait to be accepted. Each is for one request.
const CONNECTIONS_MAX: usize = 4;

/// Connections that may wait for that.
const BACKLOG: i32 = 16;

/// How long a request may take to come.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// How long its answer may take to be made and read.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of a request: the least that hyper can be told.
const REQUEST_LEN_MAX: usize = 8192;

/// How long accepting pauses after an error, such as no descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Where to tell metrics and health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdminAddress {
    /// Port 0 means any free one.
    pub address: SocketAddr,
    /// Nobody asked for it: if it is taken, the daemon does without.
    pub optional: bool,
}

/// What `--admin` says.
pub(crate) fn address(text: Option<&str>) -> Result<Option<AdminAddress>, ConfigError> {
    let Some(text) = text else {
        return Ok(Some(AdminAddress {
            address: DEFAULT_ADDRESS.into(),
            optional: true,
        }));
    };
    let text = text.trim();
    if text == "none" {
        return Ok(None);
    }
    if !text.contains(':') {
        return Err(ConfigError::Value(format!(
            "{text:?} (--admin) is no ADDR:PORT, nor none"
        )));
    }
    let unknown = |reason: String| {
        ConfigError::Address(format!(
            "there is no address {text:?} (--admin): {reason}. It should be ADDR:PORT, or none"
        ))
    };
    let mut found = (text.to_socket_addrs()).map_err(|error| unknown(error.to_string()))?;
    let address = (found.next()).ok_or_else(|| unknown("the name has none".to_owned()))?;
    Ok(Some(AdminAddress {
        address,
        optional: false,
    }))
}

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listener::tcp_listener(address, BACKLOG)
}

/// Answers for as long as the runtime runs.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => {
            let accept = |context: &mut Context<'_>| {
                listener.poll_accept(context).map_ok(|(stream, _)| stream)
            };
            serve_all(accept, shared).await;
        }
        Err(error) => tracing::error!(%error, "no metrics are told"),
    }
}

async fn serve_all<S, A>(mut accept: A, shared: Arc<Shared>)
where
    A: FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Nobody closes it.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match poll_fn(&mut accept).await {
            Ok(stream) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    serve(stream, shared).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "somebody who wanted metrics could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request.
async fn serve<S>(stream: S, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = service_fn(|request: Request<_>| {
        let shared = Arc::clone(&shared);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        // Metrics take their time, and locks: accepting clients must not wait for that.
        let answer = spawn_blocking(move || answer(&shared, &method, &path));
        async {
            let failed = text(StatusCode::INTERNAL_SERVER_ERROR, "please report this\n");
            Ok::<_, Infallible>(answer.await.unwrap_or(failed))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX)
        .max_buf_size(REQUEST_LEN_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(REQUEST_TIME_MAX + ANSWER_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request for metrics went wrong"),
        Err(_) => tracing::debug!("who asked for metrics did not read them"),
    }
}

fn answer(shared: &Shared, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match path {
        "/" => status_page(shared),
        "/metrics" => answer_with(
            StatusCode::OK,
            metrics::CONTENT_TYPE,
            metrics::render(shared),
        ),
        "/api/v1/stats" => stats(shared),
        "/livez" => live(shared),
        "/readyz" if shared.stopping.load(Ordering::Relaxed) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
        "/readyz" if shared.draining.load(Ordering::Relaxed) => {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        }
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(
            StatusCode::NOT_FOUND,
            "no such path: / names those that are\n",
        ),
    }
}

fn status_page(shared: &Shared) -> Response<Full<Bytes>> {
    let body = match page::render(&Status::read(shared)) {
        Ok(body) => body,
        Err(error) => return failed(&error),
    };
    let mut response = answer_with(StatusCode::OK, HTML, body);
    if let Ok(policy) = HeaderValue::from_str(&page::POLICY) {
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    response
}

fn stats(shared: &Shared) -> Response<Full<Bytes>> {
    match serde_json::to_string(&Status::read(shared)) {
        Ok(body) => answer_with(StatusCode::OK, JSON, body + "\n"),
        Err(error) => failed(&error),
    }
}

fn failed(error: &serde_json::Error) -> Response<Full<Bytes>> {
    let reason = format!("please report this: {error}\n");
    text(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

fn live(shared: &Shared) -> Response<Full<Bytes>> {
    match shared.hanging() {
        Some(age) => {
            let reason = format!("a worker has not run for {} seconds\n", age.as_secs());
            text(StatusCode::SERVICE_UNAVAILABLE, reason)
        }
        None => text(StatusCode::OK, "live\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    answer_with(status, TEXT, body)
}

fn answer_with(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let no_guess = HeaderValue::from_static("nosniff");
    headers.insert(X_CONTENT_TYPE_OPTIONS, no_guess);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::flags::Flags;
    use crate::shared::HEARTBEAT_AGE_MAX;
    use crate::telemetry::LogLevel;
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;

    const TICK: Duration = Duration::from_millis(1);

    const GET: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";

    fn shared(clock: Clock) -> Arc<Shared> {
        let flags = Flags::try_parse_from(["nuthatch", "-t", "1"]).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        Shared::new(&config, clock, LogLevel::default())
    }

    /// A listener whose clients are in this process, so that time can stand still for both.
    fn listener() -> mpsc::Sender<DuplexStream> {
        let (connect, mut connected) = mpsc::channel(CONNECTIONS_MAX);
        tokio::spawn(async move {
            let accept = |context: &mut Context<'_>| {
                let next = connected.poll_recv(context);
                next.map(|next| next.ok_or_else(|| io::ErrorKind::BrokenPipe.into()))
            };
            serve_all(accept, shared(Clock::manual())).await;
        });
        connect
    }

    async fn connect(listener: &mpsc::Sender<DuplexStream>, pipe_len: usize) -> DuplexStream {
        let (client, server) = duplex(pipe_len);
        listener.send(server).await.unwrap();
        client
    }

    async fn rest(client: &mut DuplexStream) -> String {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn the_flag_is_an_address_or_none() {
        let of =
            |text| address(text).map(|admin| admin.map(|a| (a.address.to_string(), a.optional)));
        let some = |address: &str, optional| Ok(Some((address.to_owned(), optional)));
        assert_eq!(of(None), some("127.0.0.1:9150", true));
        assert_eq!(of(Some("127.0.0.1:9150")), some("127.0.0.1:9150", false));
        assert_eq!(of(Some(" [::1]:0")), some("[::1]:0", false));
        assert_eq!(of(Some("none")), Ok(None));
        assert!(matches!(of(Some("9150")), Err(ConfigError::Value(_))));
        for bad in ["127.0.0.1:", "127.0.0.1:65536", "no.such.host.invalid:1"] {
            assert!(
                matches!(of(Some(bad)), Err(ConfigError::Address(_))),
                "{bad}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_connection_waits_until_one_of_four_has_gone() {
        let listener = listener();
        let mut silent = Vec::new();
        for _ in 1..CONNECTIONS_MAX {
            silent.push(connect(&listener, 4096).await);
        }
        let mut fourth = connect(&listener, 4096).await;
        fourth.write_all(GET).await.unwrap();
        let answer = timeout(TICK, rest(&mut fourth)).await.unwrap();
        assert!(answer.contains("ready"));
        silent.push(connect(&listener, 4096).await);
        let mut fifth = connect(&listener, 4096).await;
        fifth.write_all(GET).await.unwrap();
        let wait = REQUEST_TIME_MAX.checked_sub(TICK).unwrap();
        assert!(timeout(wait, fifth.read_u8()).await.is_err());
        let answer = timeout(3 * TICK, rest(&mut fifth)).await.unwrap();
        assert!(answer.contains("ready"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_finish_the_request_is_cut_off_after_five_seconds() {
        let max = u64::try_from(REQUEST_TIME_MAX.as_millis()).unwrap();
        for (pause, is_answered) in [(max - 1, true), (max + 1, false)] {
            let listener = listener();
            let mut client = connect(&listener, 4096).await;
            let (begin, end) = GET.split_at(9);
            client.write_all(begin).await.unwrap();
            sleep(Duration::from_millis(pause)).await;
            drop(client.write_all(end).await);
            assert_eq!(rest(&mut client).await.contains("ready"), is_answered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_the_answer_is_cut_off_after_ten_seconds() {
        let max = REQUEST_TIME_MAX + ANSWER_TIME_MAX;
        for (pause, is_answered) in [(max.checked_sub(TICK).unwrap(), true), (max + TICK, false)] {
            let listener = listener();
            // The pipe holds less than an answer.
            let mut client = connect(&listener, 64).await;
            client.write_all(GET).await.unwrap();
            sleep(pause).await;
            assert_eq!(rest(&mut client).await.contains("ready"), is_answered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_of_more_than_eight_kibibytes_is_refused() {
        let begin = b"GET /readyz HTTP/1.1\r\nx: ".as_slice();
        for (len, expected) in [(REQUEST_LEN_MAX, "200 OK"), (REQUEST_LEN_MAX + 1, "431 ")] {
            let listener = listener();
            let mut client = connect(&listener, 4 * REQUEST_LEN_MAX).await;
            let filler = vec![b'x'; len - begin.len() - 4];
            let request = [begin, &filler, b"\r\n\r\n"].concat();
            client.write_all(&request).await.unwrap();
            let answer = rest(&mut client).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {expected}")),
                "{len}: {answer}"
            );
        }
    }

    #[test]
    fn a_daemon_is_live_until_a_worker_has_not_been_seen_for_ten_seconds() {
        let clock = Clock::manual();
        let shared = shared(clock.clone());
        let status = || answer(&shared, &Method::GET, "/livez").status();
        clock.advance(HEARTBEAT_AGE_MAX);
        assert_eq!(status(), StatusCode::OK);
        clock.advance(Duration::from_millis(1));
        assert_eq!(status(), StatusCode::SERVICE_UNAVAILABLE);
        // They end before a snapshot is written, which may take longer.
        shared.stopping.store(true, Ordering::Relaxed);
        assert_eq!(status(), StatusCode::OK);
        shared.stopping.store(false, Ordering::Relaxed);
        shared.beat(0);
        assert_eq!(status(), StatusCode::OK);
    }
}
