//! The checks for which it does not matter where a server is.

use super::finding::Finding;
use super::machine::Machine;
use super::seen::{Seen, Timing};
use crate::tools::shown::{self, float, percent, ratio};
use std::net::IpAddr;
use std::time::Duration;

/// Slower is noticed by who waits for it, and then by everybody.
const SLOW: Duration = Duration::from_millis(10);
const VERY_SLOW: Duration = Duration::from_millis(100);

/// Of the connections that there may be.
const CONNECTIONS_MANY: f64 = 0.75;
const CONNECTIONS_TOO_MANY: f64 = 0.9;

/// Evictions for each item stored.
const EVICTIONS_MANY: f64 = 0.05;

/// Of the items, those that never expire.
const WITHOUT_EXPIRY_MANY: f64 = 0.5;

/// Seconds that clocks may differ by: a second is where both count whole ones.
const CLOCK_SECONDS_MAX: u64 = 2;

pub(super) fn all(seen: &Seen, machine: &Machine) -> Vec<Finding> {
    vec![
        timing(&seen.timing),
        connections(seen),
        refused(seen),
        evictions(seen),
        expiry(seen.share_without_expiry),
        clock(seen),
        reach(seen, machine),
        udp(seen),
    ]
}

fn timing(timing: &Result<Timing, String>) -> Finding {
    const CHECK: &str = "timing";
    let timing = match timing {
        Ok(timing) => timing,
        Err(error) => {
            let why = "nothing can be cached like that";
            return Finding::red(
                CHECK,
                error.clone(),
                why,
                "nuthatch set test 1; nuthatch get test",
            );
        }
    };
    let [connect, set, get] = [timing.connect, timing.set, timing.get].map(shown::duration);
    let finding = format!("connect {connect}, set {set}, get {get}");
    let why = "who asks the cache waits so long each time";
    let fix = "compare `ping` with this: a slow network, or a server without processor time (nuthatch top)";
    match timing.connect.max(timing.set).max(timing.get) {
        slowest if slowest >= VERY_SLOW => Finding::red(CHECK, finding, why, fix),
        slowest if slowest >= SLOW => Finding::warn(CHECK, finding, why, fix),
        _ => Finding::ok(CHECK, finding),
    }
}

fn connections(seen: &Seen) -> Finding {
    const CHECK: &str = "connections";
    let max = seen.settings.number("maxconns");
    // memcached keeps some descriptors back, and refuses connections that would take them.
    let reserved = seen.number("reserved_fds");
    let open = seen.number("curr_connections").saturating_add(reserved);
    let max = max.unwrap_or_default();
    let finding = format!("{open} of {max}");
    let why = "who comes when there are as many as there may be gets no connection";
    let fix = format!(
        "start it with -c {}: workers of all web servers, times connections of each",
        max.saturating_mul(2)
    );
    match ratio(open, max).unwrap_or_default() {
        share if share >= CONNECTIONS_TOO_MANY => Finding::red(CHECK, finding, why, &fix),
        share if share >= CONNECTIONS_MANY => Finding::warn(CHECK, finding, why, &fix),
        _ => Finding::ok(CHECK, finding),
    }
}

fn refused(seen: &Seen) -> Finding {
    const CHECK: &str = "refused";
    let (rejected, disabled) = (
        seen.number("rejected_connections"),
        seen.number("listen_disabled_num"),
    );
    if rejected == 0 && disabled == 0 {
        return Finding::ok(CHECK, "no client".to_owned());
    }
    let finding = format!("{rejected} clients; {disabled} times nobody was let in");
    let why = "there were as many connections as there may be (-c)";
    Finding::warn(
        CHECK,
        finding,
        why,
        "raise -c, or set idle_timeout: -o idle_timeout=300",
    )
}

fn evictions(seen: &Seen) -> Finding {
    const CHECK: &str = "evictions";
    let (evictions, stored) = (seen.number("evictions"), seen.number("total_items"));
    if evictions == 0 {
        return Finding::ok(CHECK, "none".to_owned());
    }
    let unread = percent(seen.number("evicted_unfetched"), evictions);
    let finding = format!(
        "{} of {} items stored; {unread} of them were never read",
        shown::count(float(evictions)),
        shown::count(float(stored))
    );
    if ratio(evictions, stored).unwrap_or_default() < EVICTIONS_MANY {
        return Finding::ok(CHECK, finding);
    }
    let mebibytes = seen.number("limit_maxbytes") >> 20;
    let why =
        "items go for lack of room before they expire: whoever wants them must make them anew";
    let fix = format!(
        "start it with -m {}, or give items that nobody reads a shorter lifetime",
        mebibytes.saturating_mul(2)
    );
    Finding::warn(CHECK, finding, why, &fix)
}

fn expiry(share: Option<f64>) -> Finding {
    const CHECK: &str = "expiry";
    let Some(share) = share else {
        return Finding::ok(CHECK, "no items, or they cannot be listed".to_owned());
    };
    let finding = format!("{:.0}% of the items never expire", share * 100.0);
    if share < WITHOUT_EXPIRY_MANY {
        return Finding::ok(CHECK, finding);
    }
    let why = "what is out of date stays until there is no room for it";
    Finding::warn(
        CHECK,
        finding,
        why,
        "set a timeout where the application writes; Django: TIMEOUT in CACHES",
    )
}

fn clock(seen: &Seen) -> Finding {
    const CHECK: &str = "clock";
    let theirs = seen.number("time");
    let apart = theirs.abs_diff(seen.unix_seconds);
    if apart <= CLOCK_SECONDS_MAX {
        return Finding::ok(CHECK, "as ours".to_owned());
    }
    let finding = format!("{apart} s apart from ours");
    let why = "a clock was set after the server had started, or is wrong: expiry times above 30 days are dates";
    Finding::warn(
        CHECK,
        finding,
        why,
        "timedatectl set-ntp true, on both machines; then restart the server",
    )
}

fn reach(seen: &Seen, machine: &Machine) -> Finding {
    const CHECK: &str = "reach";
    if seen.has_logins {
        return Finding::ok(CHECK, "only for those who log in".to_owned());
    }
    let Some(ip) = seen.ip else {
        return Finding::ok(
            CHECK,
            "over a Unix socket; see reach of its TCP address, if it has one".to_owned(),
        );
    };
    // Where a server listens, as memcached tells it: NULL is everywhere.
    let listens = seen.settings.text("inter").unwrap_or("NULL");
    let everywhere = ["NULL", "", "0.0.0.0", "::", "*"].contains(&listens);
    let is_public = is_public(ip)
        || (everywhere && seen.is_local && machine.addresses.iter().copied().any(is_public));
    let why = "whoever reaches it can read, change and flush everything";
    let fix = "start it with -l 127.0.0.1 or a private address, or with -Y FILE for logins, or block port 11211";
    if is_public {
        let found = "from the internet, unless a firewall is in between, without a login";
        Finding::red(CHECK, found.to_owned(), why, fix)
    } else if everywhere || !ip.is_loopback() {
        Finding::warn(
            CHECK,
            "from its network, without a login".to_owned(),
            why,
            fix,
        )
    } else {
        Finding::ok(CHECK, "from its own machine alone".to_owned())
    }
}

/// Whether the internet may know the way to it.
const fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // 100.64.0.0/10 is for providers' own networks (RFC 6598).
            let is_shared = first == 100 && second & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_documentation()
                || is_shared)
        }
        // 2000::/3 is what is routed.
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000,
    }
}

fn udp(seen: &Seen) -> Finding {
    const CHECK: &str = "udp";
    match seen.settings.number("udpport") {
        None | Some(0) => Finding::ok(CHECK, "off".to_owned()),
        Some(port) => Finding::red(
            CHECK,
            format!("port {port}"),
            "others can have it send floods to whom they like",
            "start it with -U 0",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::tools::statistics::Statistics;

    /// A server of which all is well.
    pub(crate) fn healthy() -> Seen {
        Seen {
            general: [
                ("curr_connections", "7"),
                ("time", "1000"),
                ("limit_maxbytes", "67108864"),
            ]
            .into(),
            settings: [
                ("maxconns", "1024"),
                ("inter", "127.0.0.1"),
                ("udpport", "0"),
            ]
            .into(),
            timing: Ok(Timing::default()),
            share_without_expiry: Some(0.1),
            unix_seconds: 1000,
            has_logins: false,
            is_local: true,
            ip: "127.0.0.1".parse().ok(),
        }
    }

    fn machine(addresses: &[&str]) -> Machine {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        Machine {
            addresses: addresses.collect(),
            ..Machine::below("/nowhere")
        }
    }

    /// The checks that are not green.
    fn found(seen: &Seen, addresses: &[&str]) -> Vec<(&'static str, Level)> {
        let findings = all(seen, &machine(addresses)).into_iter();
        let findings = findings.filter(|finding| finding.level != Level::Ok);
        findings
            .map(|finding| (finding.check, finding.level))
            .collect()
    }

    fn with_general(general: Statistics) -> Seen {
        Seen {
            general,
            ..healthy()
        }
    }

    #[test]
    fn a_healthy_server_is_green() {
        assert_eq!(found(&healthy(), &["10.0.0.1", "203.0.113.1"]), []);
    }

    #[test]
    fn slow_answers_are_told() {
        for (millis, expected) in [
            (9, vec![]),
            (10, vec![("timing", Level::Warn)]),
            (100, vec![("timing", Level::Red)]),
        ] {
            let get = Duration::from_millis(millis);
            let timing = Ok(Timing {
                get,
                ..Timing::default()
            });
            assert_eq!(
                found(
                    &Seen {
                        timing,
                        ..healthy()
                    },
                    &[]
                ),
                expected
            );
        }
        let timing = Err("SERVER_ERROR out of memory".to_owned());
        assert_eq!(
            found(
                &Seen {
                    timing,
                    ..healthy()
                },
                &[]
            ),
            [("timing", Level::Red)]
        );
    }

    #[test]
    fn connections_are_counted_against_their_limit() {
        for (open, expected) in [
            ("767", vec![]),
            ("768", vec![("connections", Level::Warn)]),
            ("922", vec![("connections", Level::Red)]),
        ] {
            let general = [("curr_connections", open), ("time", "1000")].into();
            assert_eq!(found(&with_general(general), &[]), expected, "{open}");
        }
        let general = [("rejected_connections", "1"), ("time", "1000")].into();
        assert_eq!(
            found(&with_general(general), &[]),
            [("refused", Level::Warn)]
        );
    }

    #[test]
    fn evictions_are_counted_against_what_was_stored() {
        for (evictions, expected) in [("4", vec![]), ("5", vec![("evictions", Level::Warn)])] {
            let general = [
                ("evictions", evictions),
                ("total_items", "100"),
                ("time", "1000"),
            ]
            .into();
            assert_eq!(found(&with_general(general), &[]), expected);
        }
    }

    #[test]
    fn what_never_expires_and_a_wrong_clock_are_told() {
        let seen = Seen {
            share_without_expiry: Some(0.5),
            ..healthy()
        };
        assert_eq!(found(&seen, &[]), [("expiry", Level::Warn)]);
        assert_eq!(
            found(
                &Seen {
                    share_without_expiry: None,
                    ..healthy()
                },
                &[]
            ),
            []
        );
        assert_eq!(
            found(
                &Seen {
                    unix_seconds: 1002,
                    ..healthy()
                },
                &[]
            ),
            []
        );
        assert_eq!(
            found(
                &Seen {
                    unix_seconds: 1003,
                    ..healthy()
                },
                &[]
            ),
            [("clock", Level::Warn)]
        );
        assert_eq!(
            found(
                &Seen {
                    unix_seconds: 997,
                    ..healthy()
                },
                &[]
            ),
            [("clock", Level::Warn)]
        );
    }

    #[test]
    fn a_server_that_the_world_reaches_is_red_unless_it_wants_a_login() {
        let everywhere = || Seen {
            settings: [("maxconns", "1024"), ("inter", "NULL")].into(),
            ..healthy()
        };
        assert_eq!(
            found(&everywhere(), &["192.168.1.2"]),
            [("reach", Level::Warn)]
        );
        assert_eq!(found(&everywhere(), &["8.8.8.8"]), [("reach", Level::Red)]);
        assert_eq!(found(&everywhere(), &["2600::1"]), [("reach", Level::Red)]);
        assert_eq!(
            found(&everywhere(), &["100.64.0.1", "fd00::1", "fe80::1"]),
            [("reach", Level::Warn)]
        );
        assert_eq!(
            found(
                &Seen {
                    has_logins: true,
                    ..everywhere()
                },
                &["8.8.8.8"]
            ),
            []
        );
        let remote = Seen {
            is_local: false,
            ip: "10.0.0.9".parse().ok(),
            ..healthy()
        };
        assert_eq!(found(&remote, &["8.8.8.8"]), [("reach", Level::Warn)]);
        assert_eq!(
            found(
                &Seen {
                    ip: None,
                    ..everywhere()
                },
                &["8.8.8.8"]
            ),
            []
        );
    }

    #[test]
    fn udp_is_red() {
        let seen = Seen {
            settings: [
                ("maxconns", "1024"),
                ("inter", "127.0.0.1"),
                ("udpport", "11211"),
            ]
            .into(),
            ..healthy()
        };
        assert_eq!(found(&seen, &[]), [("udp", Level::Red)]);
    }
}
