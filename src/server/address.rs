//! Where to listen: the addresses of `-l` and `-p`, or the Unix socket of `-s`.

use crate::config::{ConfigError, absolute};
use crate::flags::Flags;
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

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpAddress {
    /// Port 0 means any free one.
    pub socket: SocketAddr,
    /// A machine without this address family is fine: somebody asked for all addresses.
    pub optional: bool,
}

pub(crate) fn listen(flags: &Flags) -> Result<Listen, ConfigError> {
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
    let mut addresses = Vec::new();
    for address in flags.listen.iter().flat_map(|list| list.split([',', ';'])) {
        addresses.extend(resolve(address.trim(), port)?);
    }
    if addresses.is_empty() {
        addresses = all_addresses(port);
    }
    Ok(Listen::Tcp(addresses))
}

fn all_addresses(port: u16) -> Vec<TcpAddress> {
    [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ]
    .into_iter()
    .map(|ip| TcpAddress {
        socket: SocketAddr::new(ip, port),
        optional: ip.is_ipv6(),
    })
    .collect()
}

/// `ADDR`, `ADDR:PORT`, `IPV6`, `[IPV6]` or `[IPV6]:PORT`; `*` is all addresses.
fn resolve(address: &str, default_port: u16) -> Result<Vec<TcpAddress>, ConfigError> {
    let bare_ip = address
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    let (host, port) = match (bare_ip, address.rsplit_once(':')) {
        (Ok(ip), _) => {
            let socket = SocketAddr::new(ip, default_port);
            return Ok(vec![TcpAddress {
                socket,
                optional: false,
            }]);
        }
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
        Ok(sockets) => Ok(sockets
            .map(|socket| TcpAddress {
                socket,
                optional: false,
            })
            .collect()),
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
        match listen(&flags).unwrap() {
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
}
