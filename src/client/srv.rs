//! SRV records of DNS (RFC 2782): asked over UDP, and over TCP if the answer does not fit.

use crate::NodeAddress;
use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How often a question is asked, of one name server after the other.
const TRIES: usize = 3;

/// Longest answer over UDP that is looked at. Without EDNS, servers send 512 bytes.
const UDP_LEN_MAX: usize = 4096;

const DNS_PORT: u16 = 53;

/// The nodes under a full name: those of the lowest priority, by the names that the records give them.
pub(crate) async fn ask(
    name: &str,
    servers: &[SocketAddr],
    patience: Duration,
) -> io::Result<Vec<NodeAddress>> {
    let name = Name::new(name.trim_end_matches('.')).map_err(io::Error::other)?;
    let servers = if servers.is_empty() {
        configured()?
    } else {
        servers.to_vec()
    };
    let mut failed = io::Error::other("no name server in /etc/resolv.conf");
    // No fewer tries than servers, so that the last of them is asked too.
    let tries = TRIES.max(servers.len());
    let patience = patience / u32::try_from(tries).unwrap_or(u32::MAX);
    for server in servers.iter().cycle().take(tries) {
        match timeout(patience, exchange(&name, *server)).await {
            Ok(Ok(nodes)) => return Ok(nodes),
            Ok(Err(error)) => failed = error,
            Err(late) => failed = late.into(),
        }
    }
    Err(failed)
}

fn configured() -> io::Result<Vec<SocketAddr>> {
    let config = std::fs::read("/etc/resolv.conf")?;
    let config = resolv_conf::Config::parse(config).map_err(io::Error::other)?;
    let servers = config.nameservers.into_iter().map(IpAddr::from);
    Ok(servers.map(|server| (server, DNS_PORT).into()).collect())
}

async fn exchange(name: &Name<'_>, server: SocketAddr) -> io::Result<Vec<NodeAddress>> {
    let mut question = Packet::new_query(fastrand::u16(..));
    question.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (TYPE::SRV.into(), CLASS::IN.into());
    question
        .questions
        .push(Question::new(name.clone(), kind, class, false));
    let bytes = question.build_bytes_vec().map_err(io::Error::other)?;

    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut answer = vec![0; UDP_LEN_MAX];
    loop {
        let len = socket.recv(&mut answer).await?;
        let packet = Packet::parse(answer.get(..len).unwrap_or_default());
        // What does not answer the question may be anybody's.
        let Some(packet) = packet.ok().filter(|packet| is_answer(packet, &question)) else {
            continue;
        };
        if !packet.has_flags(PacketFlag::TRUNCATION) {
            return nodes(&packet);
        }
        break;
    }

    let mut stream = TcpStream::connect(server).await?;
    let len = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&len.to_be_bytes(), &bytes[..]].concat())
        .await?;
    answer.resize(stream.read_u16().await?.into(), 0);
    stream.read_exact(&mut answer).await?;
    let packet = Packet::parse(&answer).map_err(io::Error::other)?;
    if !is_answer(&packet, &question) {
        return Err(io::Error::other("the answer to another question"));
    }
    nodes(&packet)
}

fn is_answer(packet: &Packet<'_>, question: &Packet<'_>) -> bool {
    let asked = |packet: &Packet<'_>| {
        let asked = packet.questions.first()?;
        Some((asked.qname.to_string().to_ascii_lowercase(), asked.qtype))
    };
    packet.has_flags(PacketFlag::RESPONSE)
        && packet.id() == question.id()
        && asked(packet) == asked(question)
}

/// The target is a node's name, whatever its address. Weights that all have a factor in common are those without it, so
/// that equal ones stay equal to themselves however many there are.
fn nodes(packet: &Packet<'_>) -> io::Result<Vec<NodeAddress>> {
    if packet.rcode() != RCODE::NoError {
        return Err(io::Error::other(format!(
            "the name server says {:?}",
            packet.rcode()
        )));
    }
    let records = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            // The root for a target: there is no such service.
            RData::SRV(srv) if !srv.target.get_labels().is_empty() => Some(srv),
            _ => None,
        });
    let records: Vec<&SRV<'_>> = records.collect();
    let priority = records.iter().map(|srv| srv.priority).min();
    let mut first: Vec<&SRV<'_>> = records;
    first.retain(|srv| Some(srv.priority) == priority);
    let weight = |srv: &SRV<'_>| u32::from(srv.weight.max(1));
    let factor = first
        .iter()
        .fold(0, |factor, srv| common_factor(factor, weight(srv)));
    let nodes = first.into_iter().map(|srv| {
        let host = srv.target.to_string().to_ascii_lowercase();
        let node: NodeAddress = format!("{host}:{}", srv.port)
            .parse()
            .map_err(io::Error::other)?;
        Ok(node.with_weight(weight(srv) / factor.max(1)))
    });
    nodes.collect()
}

/// Euclid's.
const fn common_factor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_factor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;

    fn name(text: &str) -> Name<'_> {
        Name::new_unchecked(text)
    }

    /// Of the weight and the target of each record.
    fn packet<'a>(records: &[(u16, &'a str)]) -> Packet<'a> {
        let mut packet = Packet::new_reply(7);
        for (weight, target) in records.iter().copied() {
            let srv = RData::SRV(SRV {
                priority: 0,
                weight,
                port: 1,
                target: name(target),
            });
            let record = ResourceRecord::new(name("s"), CLASS::IN, 5, srv);
            packet.answers.push(record);
        }
        packet
    }

    #[test]
    fn weights_have_no_factor_in_common_and_the_root_is_no_target() {
        let weights = |records: &[(u16, &'static str)]| -> Vec<u32> {
            let nodes = nodes(&packet(records)).unwrap();
            nodes.iter().map(NodeAddress::weight).collect()
        };
        assert_eq!(weights(&[(10, "a"), (20, "b"), (50, "c")]), [1, 2, 5]);
        assert_eq!(weights(&[(7, "a"), (7, "b")]), [1, 1]);
        assert_eq!(weights(&[(0, "a"), (3, "b")]), [1, 3]);
        assert_eq!(weights(&[(0, ""), (3, "b")]), [1]);
    }

    #[test]
    fn an_answer_says_what_is_wrong_and_what_was_asked() {
        let mut refused = packet(&[(1, "a")]);
        *refused.rcode_mut() = RCODE::NameError;
        let error = nodes(&refused).unwrap_err().to_string();
        assert!(error.contains("NameError"), "{error}");

        let about = |mut packet: Packet<'static>, text: &'static str| {
            let (kind, class) = (TYPE::SRV.into(), CLASS::IN.into());
            packet
                .questions
                .push(Question::new(name(text), kind, class, false));
            packet
        };
        let question = about(Packet::new_query(7), "s");
        assert!(is_answer(&about(packet(&[]), "S"), &question));
        assert!(!is_answer(&about(packet(&[]), "t"), &question));
        assert!(!is_answer(&packet(&[]), &question));
        assert!(!is_answer(&question, &question));
    }
}
