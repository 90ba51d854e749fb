//! A web application with a slow database, to see what `get_or_refresh` does under load.
//!
//! ```text
//! nuthatch &
//! cargo run --release -p nuthatch-client --example web -- 127.0.0.1:11211 127.0.0.1:8080
//! curl 127.0.0.1:8080/user/1              each value is fresh for 2 s, and served for 30 s more
//! curl 127.0.0.1:8080/naive/1             the same without protection: get, load, set
//! curl -X POST 127.0.0.1:8080/user/1      changes the database and invalidates
//! curl 127.0.0.1:8080/loads               how often the database was asked
//! ```
//!
//! Run several of them, put `ab -n 20000 -c 100` before each path, and compare `/loads`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use nuthatch_client::{Client, Error, Policy, Ttl};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// How long the database takes for everything.
const SLOW: Duration = Duration::from_millis(500);

const FRESH: Duration = Duration::from_secs(2);

/// Users and how often each has been renamed.
#[derive(Default)]
struct Database {
    renames: Mutex<HashMap<u64, u64>>,
    loads: AtomicU64,
}

impl Database {
    async fn load(&self, id: u64) -> String {
        self.loads.fetch_add(1, Ordering::Relaxed);
        sleep(SLOW).await;
        let renames = self.renames.lock().unwrap_or_else(PoisonError::into_inner);
        let count = renames.get(&id).copied().unwrap_or_default();
        format!("user {id}, renamed {count} times")
    }

    async fn rename(&self, id: u64) {
        sleep(SLOW).await;
        let mut renames = self.renames.lock().unwrap_or_else(PoisonError::into_inner);
        *renames.entry(id).or_default() += 1;
    }
}

#[derive(Clone)]
struct App {
    cache: Client,
    database: Arc<Database>,
    policy: Policy,
}

type Answer = Result<String, (StatusCode, String)>;

fn failed(error: &Error) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

async fn user(State(app): State<App>, Path(id): Path<u64>) -> Answer {
    let database = Arc::clone(&app.database);
    let load = move |_| async move { Ok::<_, Error>(Some(database.load(id).await)) };
    let key = format!("user:{id}");
    let fetched = app
        .cache
        .get_or_refresh::<String, _, _, _>(key, &app.policy, load);
    let fetched = fetched.await.map_err(|error| failed(&error))?;
    let value = fetched.value.unwrap_or_default();
    Ok(format!("{value} ({:?})\n", fetched.source))
}

async fn naive(State(app): State<App>, Path(id): Path<u64>) -> Answer {
    let key = format!("naive:{id}");
    let found = app.cache.get::<String>(&key).await;
    if let Some(value) = found.map_err(|error| failed(&error))? {
        return Ok(format!("{value}\n"));
    }
    let value = app.database.load(id).await;
    let stored = app.cache.set(key, &value, Ttl::after(FRESH)).await;
    stored.map_err(|error| failed(&error))?;
    Ok(format!("{value} (loaded)\n"))
}

async fn rename(State(app): State<App>, Path(id): Path<u64>) -> Answer {
    app.database.rename(id).await;
    let done = app.cache.invalidate(format!("user:{id}")).await;
    let done = done.map_err(|error| failed(&error))?;
    Ok(format!("renamed ({done:?})\n"))
}

async fn loads(State(app): State<App>) -> String {
    format!("{}\n", app.database.loads.load(Ordering::Relaxed))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let node = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:11211".to_owned());
    let listen = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let app = App {
        cache: Client::builder().node(node).build().await?,
        database: Arc::default(),
        policy: Policy::fresh_for(FRESH).grace(Duration::from_secs(30)),
    };
    let routes = axum::Router::new()
        .route("/user/{id}", get(user).post(rename))
        .route("/naive/{id}", get(naive))
        .route("/loads", get(loads))
        .with_state(app);
    let listener = TcpListener::bind(listen).await?;
    axum::serve(listener, routes).await?;
    Ok(())
}
