//! Where to listen: the addresses of `-l` and `-p`, or the Unix socket of `-s`.

use crate::config::{ConfigError, absolute};
use crate::flags::Flags;
use crate::tls::TlsFiles;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// On TCP, at these addresses; where there is none, nowhere.
    Tcp(Vec<TcpAddress>),
    /// On a Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Who may use it.
        mask: u32,
    },
}

/// How the connections of a socket are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// Not at all (`notls:`, and everywhere without `-Z`).
    None,
    /// By TLS, with the certificates that `ssl_verify_mode` asks of clients.
    Default,
    /// By TLS, without certificates of clients (`btls:`).
    Basic,
    /// By TLS, with certificates of clients (`mtls:`).
    Mutual,
}

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpAddress {
    /// Port 0 means any free one.
    pub socket: SocketAddr,
    /// A machine without this address family is fine: somebody asked for all addresses.
    pub optional: bool,
    /// How its connections are secured.
    pub security: Security,
}

/// What the flags say.
pub(crate) fn listen(flags: &Flags, tls: Option<&TlsFiles>) -> Result<Listen, ConfigError> {
    if let Some(path) = &flags.unix_socket {
        let mask = u32::from_str_radix(flags.unix_mask.trim(), 8).map_err(|error| {
            ConfigError::Value(format!("the mask (-a) {:?}: {error}", flags.unix_mask))
        })?;
        return Ok(Listen::Unix {
            path: absolute(path),
            mask,
        });
    }
    let port = match flags.port {
        0 => return Ok(Listen::Tcp(Vec::new())),
        -1 => 0,
        port => u16::try_from(port)
            .map_err(|error| ConfigError::Value(format!("the port (-p) {port}: {error}")))?,
    };
    let default = if tls.is_some() {
        Security::Default
    } else {
        Security::None
    };
    let mut addresses = Vec::new();
    for address in flags.listen.iter().flat_map(|list| list.split([',', ';'])) {
        let (address, security) = secured(address.trim(), default)?;
        check_security(address, security, tls)?;
        let found = resolve(address, port)?;
        addresses.extend(found.into_iter().map(|found| found.secured(security)));
    }
    if addresses.is_empty() {
        let all = all_addresses(port).into_iter();
        addresses = all.map(|address| address.secured(default)).collect();
    }
    Ok(Listen::Tcp(addresses))
}

/// Takes `notls:` and so on, `proto[ascii]:` and `tag[NAME]:` off an address, in any order.
fn secured(address: &str, default: Security) -> Result<(&str, Security), ConfigError> {
    let mut security = default;
    let mut address = address;
    loop {
        let Some((prefix, rest)) = address.split_once(':') else {
            return Ok((address, security));
        };
        let argument = |name: &str| prefix.strip_prefix(name)?.strip_suffix(']');
        match prefix {
            "notls" => security = Security::None,
            "btls" => security = Security::Basic,
            "mtls" => security = Security::Mutual,
            _ if argument("tag[").is_some() => {}
            _ => match argument("proto[") {
                Some("ascii" | "auto" | "negotiating") => {}
                Some(other) => {
                    return Err(ConfigError::Usage(format!(
                        "there is no protocol {other:?} (-l): leave it out, or say ascii"
                    )));
                }
                None => return Ok((address, security)),
            },
        }
        address = rest;
    }
}

fn check_security(
    address: &str,
    security: Security,
    tls: Option<&TlsFiles>,
) -> Result<(), ConfigError> {
    let missing = match security {
        Security::Basic | Security::Mutual if tls.is_none() => "-Z",
        Security::Mutual if tls.is_some_and(|tls| tls.ca.is_none()) => "-o ssl_ca_cert=FILE",
        _ => return Ok(()),
    };
    Err(ConfigError::Usage(format!(
        "TLS for {address} (-l) needs {missing}"
    )))
}

impl TcpAddress {
    const fn new(socket: SocketAddr) -> Self {
        Self {
            socket,
            optional: false,
            security: Security::None,
        }
    }

    fn secured(self, security: Security) -> Self {
        Self { security, ..self }
    }
}

fn all_addresses(port: u16) -> Vec<TcpAddress> {
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let v6 = TcpAddress {
        optional: true,
        ..TcpAddress::new(v6)
    };
    vec![TcpAddress::new(v4), v6]
}

/// `ADDR`, `ADDR:PORT`, `IPV6`, `[IPV6]` or `[IPV6]:PORT`; `*` is all addresses.
fn resolve(address: &str, default_port: u16) -> Result<Vec<TcpAddress>, ConfigError> {
    let bare_ip = address
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    let (host, port) = match (bare_ip, address.rsplit_once(':')) {
        (Ok(ip), _) => return Ok(vec![TcpAddress::new(SocketAddr::new(ip, default_port))]),
        (Err(_), Some((host, port))) => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return Err(ConfigError::Value(format!("no port in {address:?} (-l)"))),
        },
        (Err(_), None) => (address, default_port),
    };
    if host == "*" {
        return Ok(all_addresses(port));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match (host, port).to_socket_addrs() {
        Ok(sockets) => Ok(sockets.map(TcpAddress::new).collect()),
        Err(error) => Err(ConfigError::Address(format!(
            "no address for {host:?} (-l): {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn sockets(arguments: &[&str]) -> Vec<String> {
        let arguments = ["nuthatch"].iter().chain(arguments);
        let flags = Flags::try_parse_from(arguments).unwrap();
        match listen(&flags, None).unwrap() {
            Listen::Tcp(addresses) => addresses.iter().map(|a| a.socket.to_string()).collect(),
            Listen::Unix { .. } => panic!("no Unix socket was asked for"),
        }
    }

    #[test]
    fn all_addresses_are_the_default() {
        assert_eq!(sockets(&[]), ["0.0.0.0:11211", "[::]:11211"]);
    }

    #[test]
    fn addresses_may_carry_ports_and_repeat() {
        assert_eq!(
            sockets(&[
                "-l",
                "127.0.0.1,127.0.0.2:12",
                "-l",
                "[::1]:13;::1",
                "-p",
                "14"
            ]),
            ["127.0.0.1:14", "127.0.0.2:12", "[::1]:13", "[::1]:14"]
        );
        assert_eq!(sockets(&["-p", "-1"]), ["0.0.0.0:0", "[::]:0"]);
        assert_eq!(sockets(&["-p", "0"]), [""; 0]);
        assert_eq!(sockets(&["-l", "*:15"]), ["0.0.0.0:15", "[::]:15"]);
    }

    fn securities(list: &str, tls: Option<&TlsFiles>) -> Result<Vec<Security>, ConfigError> {
        let flags = Flags::try_parse_from(["nuthatch", "-l", list]).unwrap();
        match listen(&flags, tls)? {
            Listen::Tcp(addresses) => Ok(addresses.iter().map(|a| a.security).collect()),
            Listen::Unix { .. } => panic!("no Unix socket was asked for"),
        }
    }

    #[test]
    fn addresses_say_how_they_are_secured() {
        use Security::{Basic, Default, Mutual, None as Plain};
        let tls = TlsFiles {
            chain: "chain".into(),
            key: "key".into(),
            ca: Some("ca".into()),
            verify_mode: 0,
            min_version: 2,
        };
        let list =
            "127.0.0.1,notls:127.0.0.2:12,btls:[::1]:13,mtls:::1,proto[ascii]:tag[a b]:127.0.0.1";
        let found = securities(list, Some(&tls)).unwrap();
        assert_eq!(found, [Default, Plain, Basic, Mutual, Default]);
        assert_eq!(securities("notls:127.0.0.1,::1", None).unwrap(), [Plain; 2]);
        let without_ca = TlsFiles { ca: None, ..tls };
        for (list, tls) in [
            ("btls:127.0.0.1", None),
            ("mtls:127.0.0.1", Some(&without_ca)),
            ("proto[binary]:127.0.0.1", None),
        ] {
            let refused = securities(list, tls);
            assert!(matches!(refused, Err(ConfigError::Usage(_))), "{list}");
        }
    }
}
