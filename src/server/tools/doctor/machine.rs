//! [`Machine`]: the checks of the machine that a server is on, from `/proc` and `/sys`.

use super::finding::Finding;
use super::seen::Seen;
use crate::tools::shown::{self, float, percent, ratio};
use nix::ifaddrs::getifaddrs;
use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Descriptors that a server needs besides those of clients.
const DESCRIPTORS_BESIDES: u64 = 32;

/// What the kernel may have swapped out because it was never used.
const SWAPPED_KIBIBYTES_MAX: u64 = 1024;

/// With more, the kernel swaps a cache out to have room for files.
const SWAPPINESS_MAX: u64 = 10;

/// Of the connections that the firewall can follow.
const CONNTRACK_MANY: f64 = 0.75;
const CONNTRACK_TOO_MANY: f64 = 0.9;

/// Longest file that is looked at: those of `/proc` have no length to go by.
const FILE_LEN_MAX: u64 = 64 << 10;

/// Where `/proc` and `/sys` are, and what the machine is called in its networks.
pub(super) struct Machine {
    pub(super) root: PathBuf,
    pub(super) addresses: Vec<IpAddr>,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let interfaces = getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|interface| {
            let address = interface.address?;
            let v4 = address
                .as_sockaddr_in()
                .map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| {
                address
                    .as_sockaddr_in6()
                    .map(|address| IpAddr::from(address.ip()))
            })
        });
        Self {
            addresses: addresses.collect(),
            ..Self::below("/")
        }
    }

    /// One whose files are in a folder.
    pub(super) fn below(root: impl AsRef<Path>) -> Self {
        Self {
            root: root.as_ref().to_owned(),
            addresses: Vec::new(),
        }
    }

    /// All checks, of those things that this machine tells.
    pub(super) fn all(&self, seen: &Seen) -> Vec<Finding> {
        let checks = [
            self.descriptors(seen),
            self.swapped(seen),
            self.swappiness(),
            self.huge_pages(),
            self.backlog(seen),
            self.conntrack(),
            self.memory(seen),
        ];
        checks.into_iter().flatten().collect()
    }

    /// How many files the server may open.
    fn descriptors(&self, seen: &Seen) -> Option<Finding> {
        const CHECK: &str = "open files";
        let limits = self.of_process(seen, "limits")?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        let soft = line.split_whitespace().next()?;
        let connections = seen.settings.number("maxconns")?;
        let finding = format!("{soft}, for {connections} connections (-c)");
        if soft == "unlimited" || soft.parse::<u64>().ok()? >= connections {
            return Some(Finding::ok(CHECK, finding));
        }
        let why = "when they run out, nobody is let in until a client goes";
        let needed = connections.saturating_add(DESCRIPTORS_BESIDES);
        let fix =
            format!("systemctl edit the unit: LimitNOFILE={needed}; or start it with a lower -c");
        Some(Finding::red(CHECK, finding, why, &fix))
    }

    /// How much of the server is swapped out.
    fn swapped(&self, seen: &Seen) -> Option<Finding> {
        const CHECK: &str = "swapped";
        let status = self.of_process(seen, "status")?;
        let kibibytes = field(&status, "VmSwap:")?;
        let size = shown::bytes(float(kibibytes.saturating_mul(1024)));
        if kibibytes <= SWAPPED_KIBIBYTES_MAX {
            return Some(Finding::ok(CHECK, format!("{size} of the server")));
        }
        Some(Finding::red(
            CHECK,
            format!("{size} of the server"),
            "an item on a disk is slower than no cache",
            "give the machine more memory or the server less (-m); swapoff -a; or start it with -k",
        ))
    }

    fn swappiness(&self) -> Option<Finding> {
        const CHECK: &str = "swappiness";
        let swaps = self.read("proc/swaps")?;
        let swappiness = self.number("proc/sys/vm/swappiness")?;
        if swaps.lines().count() <= 1 {
            return Some(Finding::ok(CHECK, "there is no swap".to_owned()));
        }
        if swappiness <= SWAPPINESS_MAX {
            return Some(Finding::ok(CHECK, swappiness.to_string()));
        }
        let why = "the kernel may swap out the cache to have room for files";
        Some(Finding::warn(
            CHECK,
            swappiness.to_string(),
            why,
            "sysctl -w vm.swappiness=1",
        ))
    }

    fn huge_pages(&self) -> Option<Finding> {
        const CHECK: &str = "huge pages";
        const FILE: &str = "sys/kernel/mm/transparent_hugepage/enabled";
        let text = self.read(FILE)?;
        let chosen = text.split_once('[')?.1.split_once(']')?.0;
        if chosen != "always" {
            return Some(Finding::ok(CHECK, chosen.to_owned()));
        }
        let why = "pauses while the kernel puts pages together, and memory that nobody asked for";
        let fix = format!("echo madvise > /{FILE}");
        Some(Finding::warn(CHECK, chosen.to_owned(), why, &fix))
    }

    /// How many clients may wait to be let in.
    fn backlog(&self, seen: &Seen) -> Option<Finding> {
        const CHECK: &str = "backlog";
        let most = self.number("proc/sys/net/core/somaxconn")?;
        let wanted = seen.settings.number("tcp_backlog")?;
        let finding = format!("{wanted} (-b), of {most} that the system allows");
        if wanted <= most {
            return Some(Finding::ok(CHECK, finding));
        }
        let why = "when many clients come at once, after a restart, those beyond that wait for a second and more";
        let fix = format!("sysctl -w net.core.somaxconn={wanted}");
        Some(Finding::warn(CHECK, finding, why, &fix))
    }

    /// How many connections the firewall follows.
    fn conntrack(&self) -> Option<Finding> {
        const CHECK: &str = "conntrack";
        let count = self.number("proc/sys/net/netfilter/nf_conntrack_count")?;
        let most = self.number("proc/sys/net/netfilter/nf_conntrack_max")?;
        let finding = format!("{count} of {most} connections, {}", percent(count, most));
        let why =
            "when the table of the firewall is full, new connections are dropped without a word";
        let fix = format!(
            "sysctl -w net.netfilter.nf_conntrack_max={}",
            most.saturating_mul(2)
        );
        Some(match ratio(count, most)? {
            share if share >= CONNTRACK_TOO_MANY => Finding::red(CHECK, finding, why, &fix),
            share if share >= CONNTRACK_MANY => Finding::warn(CHECK, finding, why, &fix),
            _ => Finding::ok(CHECK, finding),
        })
    }

    /// Whether the items fit into the machine.
    fn memory(&self, seen: &Seen) -> Option<Finding> {
        const CHECK: &str = "memory";
        let memory = self.read("proc/meminfo")?;
        let total = field(&memory, "MemTotal:")?.saturating_mul(1024);
        let limit = seen.general.number("limit_maxbytes")?;
        let [limit_size, total_size] = [limit, total].map(|bytes| shown::bytes(float(bytes)));
        let finding = format!("{limit_size} for items (-m), of {total_size}");
        if limit < total {
            return Some(Finding::ok(CHECK, finding));
        }
        let why = "the system ends the server before it has used what it may";
        let fix = format!("start it with -m {} or less", (total / 4 * 3) >> 20);
        Some(Finding::red(CHECK, finding, why, &fix))
    }

    fn of_process(&self, seen: &Seen, file: &str) -> Option<String> {
        let pid = seen.general.number("pid")?;
        self.read(&format!("proc/{pid}/{file}"))
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    fn read(&self, file: &str) -> Option<String> {
        let file = File::open(self.root.join(file)).ok()?;
        let mut text = String::new();
        let mut limited = file.take(FILE_LEN_MAX.saturating_add(1));
        let len = limited.read_to_string(&mut text).ok()?;
        // Half of a file would tell half of a number.
        (u64::try_from(len).ok()? <= FILE_LEN_MAX).then_some(text)
    }
}

/// The number behind a name in a list such as `/proc/meminfo`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::tools::doctor::seen::Timing;
    use std::fs;
    use tempfile::TempDir;

    /// All is well with this machine and the server on it, whose process is 7.
    const HEALTHY: [(&str, &str); 9] = [
        (
            "proc/7/limits",
            "Limit  Soft  Hard  Units\nMax open files            1024                 4096                 files\n",
        ),
        ("proc/7/status", "Name:\tnuthatch\nVmSwap:\t       0 kB\n"),
        (
            "proc/swaps",
            "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
        ),
        ("proc/sys/vm/swappiness", "10\n"),
        (
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always [madvise] never\n",
        ),
        ("proc/sys/net/core/somaxconn", "1024\n"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "74\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "100\n"),
        (
            "proc/meminfo",
            "MemTotal:         131072 kB\nMemFree: 1 kB\n",
        ),
    ];

    fn seen() -> Seen {
        Seen {
            general: [("pid", "7"), ("limit_maxbytes", "67108864")].into(),
            settings: [("maxconns", "1024"), ("tcp_backlog", "1024")].into(),
            timing: Ok(Timing::default()),
            share_without_expiry: None,
            unix_seconds: 0,
            has_logins: false,
            is_local: true,
            ip: None,
        }
    }

    /// The checks of a machine that differs from that in one file.
    fn checks(file: &str, content: &str) -> Vec<(&'static str, Level)> {
        let root = TempDir::new().unwrap();
        for (name, healthy) in HEALTHY {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, if name == file { content } else { healthy }).unwrap();
        }
        let findings = Machine::below(root.path()).all(&seen()).into_iter();
        findings
            .map(|finding| (finding.check, finding.level))
            .collect()
    }

    fn bad(file: &str, content: &str) -> Vec<(&'static str, Level)> {
        let mut checks = checks(file, content);
        assert_eq!(checks.len(), 7);
        checks.retain(|(_, level)| *level != Level::Ok);
        checks
    }

    #[test]
    fn a_healthy_machine_is_green_and_an_unknown_one_is_not_judged() {
        assert_eq!(bad("", ""), []);
        assert_eq!(Machine::below("/nowhere").all(&seen()), []);
        assert_eq!(checks("proc/7/limits", "what is this").len(), 6);
    }

    #[test]
    fn a_file_has_a_longest_length() {
        let of_len = |len: usize| " ".repeat(len - 2) + "11";
        let len_max = 64 << 10;
        let file = "proc/sys/vm/swappiness";
        assert_eq!(bad(file, &of_len(len_max)), [("swappiness", Level::Warn)]);
        let checked = checks(file, &of_len(len_max + 1));
        assert!(checked.iter().all(|(check, _)| *check != "swappiness"));
        assert_eq!(checked.len(), 6, "the others are");
    }

    #[test]
    fn each_check_has_a_limit() {
        let limits = |soft: &str| format!("Max open files {soft} 4096 files\n");
        assert_eq!(bad("proc/7/limits", &limits("unlimited")), []);
        assert_eq!(
            bad("proc/7/limits", &limits("1023")),
            [("open files", Level::Red)]
        );
        assert_eq!(
            bad("proc/7/status", "VmSwap:\t 1025 kB\n"),
            [("swapped", Level::Red)]
        );
        assert_eq!(
            bad("proc/sys/vm/swappiness", "11\n"),
            [("swappiness", Level::Warn)]
        );
        assert_eq!(bad("proc/swaps", "Filename\n"), []);
        let file = "sys/kernel/mm/transparent_hugepage/enabled";
        assert_eq!(
            bad(file, "[always] madvise never\n"),
            [("huge pages", Level::Warn)]
        );
        assert_eq!(
            bad("proc/sys/net/core/somaxconn", "1023\n"),
            [("backlog", Level::Warn)]
        );
        let file = "proc/sys/net/netfilter/nf_conntrack_count";
        assert_eq!(bad(file, "75\n"), [("conntrack", Level::Warn)]);
        assert_eq!(bad(file, "90\n"), [("conntrack", Level::Red)]);
        assert_eq!(
            bad("proc/meminfo", "MemTotal: 65536 kB\n"),
            [("memory", Level::Red)]
        );
    }
}
