//! Flags, exit codes, signals, files.

use crate::daemon::{Daemon, ask, connect, nuthatch, port_of, run, signal, stat, wait_for};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;

#[test]
fn help_and_version_are_no_errors() {
    for flag in ["-h", "--help"] {
        let (code, output) = run(&[flag]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(code, Some(0));
        for name in [
            "--port",
            "--memory-limit",
            "--conn-limit",
            "--threads",
            "--unix-socket",
        ] {
            assert!(text.contains(name), "{flag} does not mention {name}");
        }
    }
    for flag in ["-V", "--version"] {
        let (code, output) = run(&[flag]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(code, Some(0));
        assert_eq!(text, "nuthatch 0.1.0 (memcached 1.6.45)\n");
    }
    let (code, output) = run(&["-i"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(code, Some(0));
    assert!(text.contains("MIT or Apache-2.0"), "{text}");
}

#[test]
fn bad_flags_end_with_memcacheds_exit_codes() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--no-such-flag"], 1, "unexpected argument"),
        (&["-p", "x"], 1, "invalid"),
        (&["-c", "0"], 1, "(-c)"),
        (&["-c", "-1"], 1, "(-c)"),
        (&["-t", "0"], 1, "(-t)"),
        (&["-R", "0"], 1, "(-R)"),
        (&["-D", ""], 1, "--stats-prefix"),
        (&["-I", "1000"], 64, "(-I)"),
        (&["-I", "33m"], 64, "half of the memory"),
        (&["-m", "0"], 64, "half of the memory"),
        (&["-U", "11211"], 64, "UDP"),
        (&["-m", "x"], 1, "invalid"),
        (&["--m", "64"], 1, "--m"),
        (&["-f", "1"], 1, "(-f)"),
        (&["-n", "0"], 1, "(-n)"),
        (&["-B", "http"], 64, "http"),
        (&["-B", "binary"], 64, "binary=False"),
        (&["-S"], 64, "SASL"),
        (&["-o", "nonsense"], 1, "nonsense"),
        (&["-o", "idle_timeout"], 1, "idle_timeout"),
        (&["-o", "ext_path=/tmp/x:64m"], 64, "flash"),
        (&["-o", "proxy_config=x"], 64, "proxy"),
        (&["-l", "no.such.host.invalid"], 71, "no.such.host.invalid"),
    ];
    for (flags, expected, message) in cases {
        let (code, output) = run(&[flags, ["-u", "root"].as_slice()].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code, Some(*expected), "{flags:?}: {text}");
        assert!(text.contains(message), "{flags:?}: {text}");
    }
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, output) = run(&["-l", "127.0.0.1", "-p", &port, "-u", "root"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code, Some(71));
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && text.contains("-p"),
        "{text}"
    );
}

#[test]
fn only_a_port_for_metrics_that_was_asked_for_is_missed() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let address = ["-u", "root", "-l", "127.0.0.1", "-p", "-1", "--admin"];
    let (code, output) = run(&[address.as_slice(), &[&admin]].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code, Some(71), "{text}");
    assert!(
        text.contains(&admin) && text.contains("--admin none"),
        "{text}"
    );

    // Whoever has it if not the test.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 9150));
    let folder = TempDir::new().unwrap();
    let ports = folder.path().join("ports");
    let mut child = nuthatch(&address[..address.len() - 1])
        .env_remove("NUTHATCH_ADMIN")
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let port = wait_for("the port file", || port_of(&ports));
    assert_eq!(ask(&mut connect(port), "mn\r\n"), "MN\r\n");
    child.kill().unwrap();
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(
        log.contains("127.0.0.1:9150") && log.contains("--admin"),
        "{log}"
    );
    assert!(!log.contains("admin=Some"), "{log}");
    child.wait().unwrap();
}

#[test]
fn root_must_say_whom_to_become() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let address = ["-l", "127.0.0.1", "-p", "-1"];
    let (code, output) = run(&address);
    assert_eq!(code, Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("-u"));
    let (code, _) = run(&[address.as_slice(), &["-u", "no-such-user"]].concat());
    assert_eq!(code, Some(67));

    let daemon = Daemon::start(&["-u", "nobody", "-P", "/proc/no/such/folder/pid"]);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let uid = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    assert!(
        uid.split_whitespace().skip(1).all(|uid| uid == "65534"),
        "{uid}"
    );
}

#[test]
fn sigterm_sigint_and_sigusr1_end_it_within_a_second() {
    for name in ["TERM", "INT", "USR1"] {
        let mut daemon = Daemon::start(&[]);
        let mut idle = daemon.connect();
        assert_eq!(ask(&mut idle, "set a 0 0 1\r\n1\r\n"), "STORED\r\n");
        let mut half_sent = daemon.connect();
        half_sent.write_all(b"set b 0 0 100000\r\n1").unwrap();
        // Many answers that nobody reads: more than the sockets hold.
        let mut unread = daemon.connect();
        let value = "v".repeat(100_000);
        assert_eq!(
            ask(&mut unread, &format!("set c 0 0 100000\r\n{value}\r\n")),
            "STORED\r\n"
        );
        unread
            .write_all("get c\r\n".repeat(200).as_bytes())
            .unwrap();
        daemon.signal(name);
        assert_eq!(daemon.exit_code_within_a_second(), Some(0), "{name}");
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).is_err());
        assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    }
}

#[test]
fn sighup_ends_nothing() {
    let daemon = Daemon::start(&[]);
    let mut stream = daemon.connect();
    assert_eq!(ask(&mut stream, "set a 0 0 1\r\n1\r\n"), "STORED\r\n");
    daemon.signal("HUP");
    for _ in 0..20 {
        assert_eq!(ask(&mut stream, "incr a 1\r\n").len(), "2\r\n".len());
        stream = daemon.connect();
        assert_eq!(ask(&mut stream, "set a 0 0 1\r\n1\r\n"), "STORED\r\n");
    }
}

#[test]
fn the_background_daemon_writes_its_pid_and_removes_it() {
    let folder = TempDir::new().unwrap();
    // Relative to where it was started, although the background has another folder.
    let (ports, pid_file) = (folder.path().join("ports"), folder.path().join("pid"));
    let status = nuthatch(&[
        "-d",
        "-u",
        "root",
        "-l",
        "127.0.0.1",
        "-p",
        "-1",
        "-P",
        "pid",
    ])
    .current_dir(folder.path())
    .env("MEMCACHED_PORT_FILENAME", &ports)
    .status()
    .unwrap();
    assert_eq!(status.code(), Some(0));
    let port = wait_for("the port file", || port_of(&ports));
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(stat(&mut connect(port), "pid"), pid.trim());
    signal(pid.trim().parse().unwrap(), "TERM");
    wait_for("the pid file to go", || (!pid_file.exists()).then_some(()));
}

#[test]
fn a_unix_socket_replaces_tcp_and_is_its_owners() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let arguments = |mask: &'static str| ["-u", "root", "-a", mask, "-s"];
    for (mask, mode) in [("700", 0o700), ("777", 0o777)] {
        let mut child = nuthatch(&arguments(mask))
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stream = wait_for("the socket", || UnixStream::connect(&path).ok());
        assert_eq!(ask(&mut stream, "set a 0 0 1\r\n1\r\n"), "STORED\r\n");
        assert_eq!(stat(&mut stream, "curr_connections"), "1");
        let file = fs::metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, mode);
        // A socket left behind by a dead process must not keep the next one from starting.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(path.exists());
    }
    let mut child = nuthatch(&arguments("700"))
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the socket", || UnixStream::connect(&path).ok());
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    let (code, _) = run(&["-u", "root", "-s", path.to_str().unwrap()]);
    assert_eq!(code, Some(71));
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");
}

#[test]
fn above_the_limit_a_connection_hears_why_and_is_closed() {
    let daemon = Daemon::start(&["-c", "3"]);
    let mut inside: Vec<TcpStream> = (0..3).map(|_| daemon.connect()).collect();
    for stream in &mut inside {
        assert!(ask(stream, "version\r\n").starts_with("VERSION "));
    }
    let mut text = String::new();
    daemon.connect().read_to_string(&mut text).unwrap();
    assert_eq!(text, "ERROR Too many open connections\r\n");
    assert_eq!(stat(&mut inside[0], "rejected_connections"), "1");
    assert_eq!(stat(&mut inside[0], "max_connections"), "3");
    // One leaves, one may come.
    drop(inside.pop());
    wait_for("a free place", || {
        let mut stream = daemon.connect();
        ask(&mut stream, "version\r\n")
            .starts_with("VERSION ")
            .then_some(())
    });
}

#[test]
fn the_requests_of_one_turn_are_those_that_were_asked_for() {
    let daemon = Daemon::start(&["-R", "5", "-t", "1"]);
    let mut stream = daemon.connect();
    stream
        .write_all("incr a 1\r\n".repeat(50).as_bytes())
        .unwrap();
    let mut answers = vec![0; 50 * "NOT_FOUND\r\n".len()];
    stream.read_exact(&mut answers).unwrap();
    let yields: u32 = stat(&mut stream, "conn_yields").parse().unwrap();
    assert!((9..=10).contains(&yields), "{yields}");
    assert_eq!(stat(&mut stream, "threads"), "1");
    assert!(daemon.folder.path().join("ports").exists());
}

#[test]
fn without_evictions_a_full_daemon_refuses_and_keeps_what_it_has() {
    let daemon = Daemon::start(&["-M", "-m", "4", "-t", "1"]);
    let mut stream = daemon.connect();
    let value = "v".repeat(10_000);
    let mut stored = 0;
    let refusal = loop {
        let answer = ask(
            &mut stream,
            &format!("set k{stored} 0 0 10000\r\n{value}\r\n"),
        );
        if answer != "STORED\r\n" {
            break answer;
        }
        stored += 1;
        assert!(stored < 1000, "more than 4 MB in 4 MB");
    };
    assert_eq!(refusal, "SERVER_ERROR out of memory storing object\r\n");
    assert!(stored > 200, "{stored}");
    assert_eq!(stat(&mut stream, "curr_items"), stored.to_string());
    assert_eq!(stat(&mut stream, "store_no_memory"), "1");
    assert_eq!(stat(&mut stream, "evictions"), "0");
}

#[test]
fn logs_name_no_keys_unless_asked_to() {
    let log = |flags: &[&str], request: &str| {
        let folder = TempDir::new().unwrap();
        let (ports, path) = (folder.path().join("ports"), folder.path().join("log"));
        let mut child = nuthatch(&["-u", "root", "-l", "127.0.0.1", "-p", "-1"])
            .args(flags)
            .env("MEMCACHED_PORT_FILENAME", &ports)
            .stderr(fs::File::create(&path).unwrap())
            .spawn()
            .unwrap();
        let port = wait_for("the port file", || port_of(&ports));
        assert!(ask(&mut connect(port), request).starts_with("OK"));
        let mut stream = connect(port);
        assert_eq!(ask(&mut stream, "get secret\r\n"), "END\r\n");
        signal(child.id(), "TERM");
        assert!(child.wait().unwrap().success());
        fs::read_to_string(&path).unwrap()
    };
    let quiet = log(&[], "verbosity 0\r\n");
    assert!(
        quiet.contains("serves") && quiet.contains("stopped"),
        "{quiet}"
    );
    assert!(
        !quiet.contains("secret") && !quiet.contains("accepted"),
        "{quiet}"
    );
    assert!(log(&["-v"], "verbosity 1\r\n").contains("accepted"));
    assert!(log(&["-vv"], "verbosity 2\r\n").contains("secret"));
    assert!(log(&[], "verbosity 9\r\n").contains("secret"));
    assert!(!log(&["-vv"], "verbosity 0\r\n").contains("secret"));
}

#[test]
fn a_test_harness_may_move_the_clock() {
    let daemon = Daemon::start(&["--enable-debugtime"]);
    let mut stream = daemon.connect();
    assert_eq!(ask(&mut stream, "debugtime p\r\n"), "OK\r\n");
    assert_eq!(ask(&mut stream, "set a 0 10 1\r\nx\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut stream, "mg a t\r\n"), "HD t10\r\n");
    assert_eq!(ask(&mut stream, "debugtime 9\r\n"), "OK\r\n");
    assert_eq!(ask(&mut stream, "mg a t\r\n"), "HD t1\r\n");
    let now: u64 = stat(&mut stream, "time").parse().unwrap();
    let absolute = format!("set b 0 {} 1\r\nx\r\n", now + 100);
    assert_eq!(ask(&mut stream, &absolute), "STORED\r\n");
    assert_eq!(ask(&mut stream, "debugtime 90\r\n"), "OK\r\n");
    assert_eq!(ask(&mut stream, "mg a t\r\n"), "EN\r\n");
    assert!(ask(&mut stream, "mg b t\r\n").starts_with("HD t"));
    assert_eq!(ask(&mut stream, "debugtime 20\r\n"), "OK\r\n");
    assert_eq!(ask(&mut stream, "mg b t\r\n"), "EN\r\n");
    assert_eq!(ask(&mut stream, "debugtime r\r\n"), "OK\r\n");
    let wrong = "CLIENT_ERROR bad command line format\r\n";
    assert_eq!(ask(&mut stream, "debugtime -1\r\n"), wrong);
    let daemon = Daemon::start(&[]);
    assert_eq!(ask(&mut daemon.connect(), "debugtime p\r\n"), "ERROR\r\n");
}
