//! Several processes that want the same value: one of them loads it, and another one if it is killed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Error, Policy, Strategy};
use protocol_tests::memcached::Memcached;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use support::builder;
use tempfile::TempDir;

const CALLERS: usize = 50;
const PROCESSES: usize = 4;

/// The key of the loader that a test kills.
const NEVER: &str = "never";

/// Milliseconds that loads take; each is a key of its own.
const LOADS: [&str; 4] = ["300", "1000", "3000", "12000"];

fn directory() -> Option<PathBuf> {
    std::env::var_os("NUTHATCH_CLIENT_TEST_DIRECTORY").map(PathBuf::from)
}

/// Lines that processes have written.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Short enough to be written in one piece.
fn write_line(path: &Path, line: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// What is polled is another process.
async fn until(what: impl Fn() -> bool) {
    let poll = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), poll)
        .await
        .unwrap();
}

/// Fifty callers of each key; one line for each load, and one for each value that a caller got.
async fn child(directory: PathBuf) {
    let address: SocketAddr = std::env::var("NUTHATCH_CLIENT_TEST_ADDRESS")
        .unwrap()
        .parse()
        .unwrap();
    let keys = std::env::var("NUTHATCH_CLIENT_TEST_KEYS").unwrap();
    let is_holder = std::env::var_os("NUTHATCH_CLIENT_TEST_HOLDER").is_some();
    let strategy = match std::env::var_os("NUTHATCH_CLIENT_TEST_LEASE") {
        Some(_) => Strategy::Lease,
        None => Strategy::Lock,
    };
    let client = builder(address)
        .tombstone(Duration::from_secs(22))
        .strategy(strategy)
        .build()
        .await
        .unwrap();
    let policy = Policy::fresh_for(Duration::from_secs(100))
        .lock_ttl(Duration::from_secs(2))
        .load_deadline(Duration::from_secs(20))
        .wait(Duration::from_secs(30));
    write_line(&directory.join("ready"), "ready");
    until(|| directory.join("go").exists()).await;
    let calls: Vec<_> = keys
        .split(',')
        .flat_map(|key| std::iter::repeat_n(key, CALLERS))
        .map(|key| {
            let call = fetch(
                client.clone(),
                policy.clone(),
                key.to_owned(),
                directory.clone(),
                is_holder,
            );
            tokio::spawn(call)
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

async fn fetch(client: Client, policy: Policy, key: String, directory: PathBuf, is_holder: bool) {
    let loading = key.clone();
    let log = directory.join("loads");
    let load = move |_| async move {
        write_line(&log, &loading);
        let millis = match loading.parse() {
            Err(_) if is_holder => u64::MAX,
            millis => millis.unwrap_or(10),
        };
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok::<_, Error>(Some(loading))
    };
    let fetched = client
        .get_or_refresh::<String, _, _, _>(&key, &policy, load)
        .await
        .unwrap();
    assert_eq!(fetched.value.unwrap(), key);
    write_line(&directory.join("values"), &key);
}

/// This test again, in a process of its own.
fn spawn(directory: &Path, address: SocketAddr, keys: &str, is_holder: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "a_process_of_its_own"])
        .env("NUTHATCH_CLIENT_TEST_DIRECTORY", directory)
        .env("NUTHATCH_CLIENT_TEST_ADDRESS", address.to_string())
        .env("NUTHATCH_CLIENT_TEST_KEYS", keys);
    if is_holder {
        command.env("NUTHATCH_CLIENT_TEST_HOLDER", "1");
    }
    command
}

#[tokio::test]
async fn a_process_of_its_own() {
    if let Some(directory) = directory() {
        child(directory).await;
    }
}

async fn finish(children: Vec<Child>) {
    for mut child in children {
        let ended = tokio::task::spawn_blocking(move || child.wait());
        assert!(ended.await.unwrap().unwrap().success());
    }
}

#[tokio::test]
async fn four_processes_load_each_value_once_however_long_it_takes() {
    let memcached = Memcached::start().unwrap();
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let children = (0..PROCESSES)
        .map(|_| {
            spawn(
                directory.path(),
                memcached.address(),
                &LOADS.join(","),
                false,
            )
            .spawn()
            .unwrap()
        })
        .collect();
    until(|| lines(&path("ready")).len() == PROCESSES).await;
    File::create(path("go")).unwrap();
    finish(children).await;
    let mut loads = lines(&path("loads"));
    loads.sort_by_key(String::len);
    assert_eq!(loads, LOADS);
    assert_eq!(
        lines(&path("values")).len(),
        PROCESSES * CALLERS * LOADS.len()
    );
}

#[tokio::test]
async fn when_the_process_that_loads_is_killed_one_other_loads() {
    one_other_loads(false).await;
}

#[tokio::test]
async fn when_the_process_that_holds_a_lease_is_killed_one_other_loads() {
    one_other_loads(true).await;
}

async fn one_other_loads(has_leases: bool) {
    let memcached = Memcached::start().unwrap();
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    File::create(path("go")).unwrap();
    let start = |is_holder| {
        let mut command = spawn(directory.path(), memcached.address(), NEVER, is_holder);
        if has_leases {
            command.env("NUTHATCH_CLIENT_TEST_LEASE", "1");
        }
        command.spawn().unwrap()
    };
    let mut holder = start(true);
    until(|| lines(&path("loads")).len() == 1).await;
    let others: Vec<Child> = (1..PROCESSES).map(|_| start(false)).collect();
    until(|| lines(&path("ready")).len() == PROCESSES).await;
    // On unix this is SIGKILL.
    holder.kill().unwrap();
    holder.wait().unwrap();
    finish(others).await;
    assert_eq!(lines(&path("loads")), [NEVER; 2]);
    assert_eq!(lines(&path("values")).len(), (PROCESSES - 1) * CALLERS);
}
