//! What is on the terminal, line by line.

use super::*;
use crate::tools::hot::{HotKey, HotKeys};
use crate::tools::top::sample::{Latency, Namespace};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;

/// The lines of a terminal of this size, without the spaces at their ends.
fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(width.into());
    let lines = lines.map(|cells| cells.iter().map(Cell::symbol).collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).collect()
}

fn rates(gets: f64, hits: f64) -> Rates {
    Rates {
        requests: gets * 1.5,
        gets,
        hits,
        sets: gets / 2.0,
        evictions: 3.0,
        hit_ratio: Some(hits / gets),
    }
}

fn memcached() -> Row {
    Row {
        version: "1.6.18".to_owned(),
        uptime_seconds: 3 * 86400 + 7200,
        items: 12_345,
        bytes: 1 << 20,
        limit_bytes: 64 << 20,
        connections: 7,
        rates: Some(rates(1000.0, 900.0)),
        ..Row::default()
    }
}

fn latency(count: u64) -> Latency {
    Latency {
        command: "get".to_owned(),
        p50_us: 10,
        p99_us: 250,
        p999_us: 2500,
        count,
    }
}

fn nuthatch() -> Row {
    let unused = Latency {
        command: "touch".to_owned(),
        ..latency(0)
    };
    let namespace = Namespace {
        name: "session".to_owned(),
        rates: Some(rates(500.0, 250.0)),
        items: 17,
        bytes: 2048,
    };
    let key = HotKey {
        key: "session:1".to_owned(),
        operations: 1234,
        bytes: 99,
        share: 0.125,
    };
    Row {
        version: "1.6.45-nuthatch-0.1.0".to_owned(),
        uptime_seconds: 59,
        bytes: 2 << 20,
        is_draining: true,
        rates: Some(rates(1000.0, 500.0)),
        latencies: vec![latency(9), unused],
        namespaces: Some(vec![namespace]),
        hot: Some(Ok(HotKeys(vec![key]))),
        ..memcached()
    }
}

fn three() -> View {
    let addresses = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"];
    let addresses = addresses.map(str::to_owned).to_vec();
    let mut view = View::new(addresses, Duration::from_secs(1), false);
    let error = "cannot connect to 10.0.0.3:11211: Connection refused. Is the server running?";
    view.update(0, Ok(memcached()));
    view.update(1, Ok(nuthatch()));
    view.update(2, Err(error.to_owned()));
    view.tick();
    view
}

const SCREEN: &str = "\
nuthatch top: 3 servers, every 1s                                 q quit  ? help

                                                                               █
requests/s    3.0k                                                             █

                                                                               ▃
hit rate     70.0%                                                             █

↓server            hits  get/s  set/s evict/s  items      memory conns    p99
10.0.0.1:11211    90.0%   1.0k    500       3    12k    1.0M/64M     7      -
10.0.0.2:11211*   50.0%   1.0k    500       3    12k    2.0M/64M     7  250us
10.0.0.3:11211    Connection refused
all               70.0%   2.0k   1.0k       6    25k   3.0M/128M    14      -

10.0.0.1:11211: 1.6.18, up 3d 2h
a memcached: nuthatch also tells latencies, namespaces and hot keys";

#[test]
fn it_fits_a_terminal_of_80_columns() {
    assert_eq!(screen(&three(), 80, 24).join("\n").trim_end(), SCREEN);
}

#[test]
fn numbers_stay_beside_names_on_a_wide_terminal() {
    let list = |width| screen(&three(), width, 24)[8..13].to_vec();
    assert_eq!(list(200), list(80));
    // What is left of names and keys when there is little room is their ends.
    let narrow = screen(&three(), 72, 24);
    assert!(
        narrow[10].starts_with("….2:11211*   50.0%"),
        "{}",
        narrow[10]
    );
    let mut row = nuthatch();
    row.hot = Some(Ok(HotKeys(vec![HotKey {
        key: format!("{}1", "k".repeat(200)),
        operations: 1,
        bytes: 1,
        share: 1.0,
    }])));
    let key = Panel::HotKeys.lines("a", &row, 80).pop().unwrap();
    assert_eq!((key.chars().count(), key.ends_with("k1")), (80, true));
}

/// What is below the servers after these keys.
fn panel(keys: &str) -> Vec<String> {
    let mut view = three();
    for key in keys.chars() {
        view.press(if key == 'v' {
            KeyCode::Down
        } else {
            KeyCode::Char(key)
        });
    }
    let mut lines = screen(&view, 80, 24).split_off(14);
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn keys_choose_what_is_told_of_which_server() {
    let head = "10.0.0.2:11211: 1.6.45-nuthatch-0.1.0, up 59s, draining";
    let latencies = [
        head,
        "answers to        p50      p99    p99.9",
        "get              10us    250us    2.5ms",
    ];
    assert_eq!(panel("v"), latencies);
    assert_eq!(panel("vnn"), latencies);
    assert_eq!(panel("vhl"), latencies);
    let namespaces = [
        head,
        "namespace                  hits  get/s  set/s evict/s  items  bytes",
        "session                   50.0%    500    250       3     17   2.0K",
    ];
    assert_eq!(panel("vn"), namespaces);
    let hot = [
        head,
        " share    ops  bytes  key",
        " 12.5%   1.2k    99B  session:1",
    ];
    assert_eq!(panel("vh"), hot);
    assert!(panel("vvv")[0].ends_with("Is the server running?"));
    assert_eq!(panel("?").len(), 9);
    assert!(panel("?").iter().all(|line| line.len() < 80));
}

#[test]
fn servers_are_sorted_by_a_column() {
    let mut view = three();
    let order = |view: &View| {
        let sorted = view.sorted();
        let last = |server: &&Server| server.address.chars().nth(7).unwrap();
        sorted.iter().map(last).collect::<String>()
    };
    let mut orders = Vec::new();
    for _ in COLUMNS {
        orders.push(order(&view));
        view.press(KeyCode::Char('s'));
    }
    let by_use = "123".to_owned();
    assert_eq!(orders[0], by_use);
    assert_eq!(orders[1], "213", "the fewest hits first");
    assert_eq!(orders[6], "213", "the most memory first");
    assert_eq!(orders[8], "213", "the slowest first");
    assert_eq!(order(&view), by_use);
}

#[test]
fn history_has_an_end_and_any_size_can_be_drawn() {
    let mut view = three();
    for _ in 0..HISTORY_MAX {
        view.tick();
    }
    assert_eq!(view.requests.len(), HISTORY_MAX);
    for (width, height) in [(1, 1), (20, 5), (80, 12), (300, 100)] {
        screen(&view, width, height);
    }
    // However many there are, the chosen one can be seen.
    let addresses = (0..256).map(|number| format!("cache{number:03}"));
    let mut view = View::new(addresses.collect(), Duration::from_secs(1), false);
    for _ in 0..300 {
        view.press(KeyCode::Down);
    }
    assert!(
        screen(&view, 80, 24)
            .iter()
            .any(|line| line.starts_with("cache255"))
    );
}
