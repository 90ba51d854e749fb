//! Nodes from SRV records, of a small name server that the test runs.
#![cfg(feature = "srv")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Discovery, Error, Ttl};
use protocol_tests::nuthatch::Nuthatch;
use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::patient;
use support::server::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const NAME: &str = "_memcached._tcp.cache.example";

/// Priority, weight, port, target.
type Record = (u16, u16, u16, &'static str);

/// What the name server says from now on.
#[derive(Clone, Default)]
struct Answer {
    records: Vec<Record>,
    code: Option<RCODE>,
    is_truncated: bool,
    /// Answers to other questions come first.
    has_noise: bool,
}

impl Answer {
    fn of(records: &[Record]) -> Self {
        Self {
            records: records.to_vec(),
            ..Self::default()
        }
    }

    fn packet(&self, question: &Packet<'_>, id: u16) -> Packet<'static> {
        let mut answer = Packet::new_reply(id);
        let asked = question.questions.first().unwrap().clone().into_owned();
        assert_eq!(asked.qtype, QTYPE::TYPE(TYPE::SRV));
        assert_eq!(asked.qname.to_string(), NAME);
        answer.questions.push(asked);
        *answer.rcode_mut() = self.code.unwrap_or(RCODE::NoError);
        for (priority, weight, port, target) in self.records.iter().copied() {
            let target = Name::new_unchecked(target);
            let srv = RData::SRV(SRV {
                priority,
                weight,
                port,
                target,
            });
            let name = Name::new_unchecked(NAME);
            answer
                .answers
                .push(ResourceRecord::new(name, CLASS::IN, 5, srv));
        }
        answer
    }
}

/// A name server, over UDP and TCP on one port.
#[derive(Clone)]
struct Dns {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Dns {
    async fn start(answer: Answer) -> Self {
        // In this order: of the ports of TCP, where other tests wait for their end, many are taken.
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let asked = Arc::default();
        let dns = Self {
            address,
            answer,
            asked,
        };
        tokio::spawn(dns.clone().over_udp(udp));
        tokio::spawn(dns.clone().over_tcp(tcp));
        dns
    }

    fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Answer {
        self.answer.lock().unwrap().clone()
    }

    async fn over_udp(self, socket: UdpSocket) {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let question = Packet::parse(buffer.get(..len).unwrap()).unwrap();
            self.asked.fetch_add(1, Ordering::SeqCst);
            let mut answer = self.answer();
            if answer.has_noise {
                let other = Answer::of(&[(0, 0, 1, "liar")]).packet(&question, question.id() ^ 1);
                socket
                    .send_to(&other.build_bytes_vec().unwrap(), from)
                    .await
                    .unwrap();
                socket.send_to(b"noise", from).await.unwrap();
                // A question is no answer.
                socket
                    .send_to(buffer.get(..len).unwrap(), from)
                    .await
                    .unwrap();
            }
            if answer.is_truncated {
                answer.records.truncate(1);
            }
            let mut packet = answer.packet(&question, question.id());
            if answer.is_truncated {
                packet.set_flags(PacketFlag::TRUNCATION);
            }
            socket
                .send_to(&packet.build_bytes_vec().unwrap(), from)
                .await
                .unwrap();
        }
    }

    async fn over_tcp(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let len = stream.read_u16().await.unwrap();
            let mut question = vec![0; len.into()];
            stream.read_exact(&mut question).await.unwrap();
            let question = Packet::parse(&question).unwrap();
            let answer = self.answer().packet(&question, question.id());
            let bytes = answer.build_bytes_vec_compressed().unwrap();
            stream
                .write_u16(bytes.len().try_into().unwrap())
                .await
                .unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    }

    fn discovery(&self) -> Discovery {
        // With the dot that full names end with.
        let discovery = Discovery::dns_srv(format!("{NAME}.")).name_server(self.address);
        discovery.every(Duration::from_millis(10))
    }

    async fn client(&self) -> Result<Client, Error> {
        let builder = Client::builder().discover(self.discovery());
        builder.timeouts(patient()).build().await
    }
}

/// The nodes, and how many of 2,000 keys belong to each.
fn shares(client: &Client) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for number in 0..2000 {
        let node = client.locate(format!("k:{number}")).unwrap();
        *shares.entry(node).or_default() += 1;
    }
    shares
}

fn names(client: &Client) -> Vec<String> {
    shares(client).into_keys().collect()
}

#[tokio::test]
async fn targets_of_the_lowest_priority_are_nodes_by_their_names() {
    let nuthatches = [0; 2].map(|_| Nuthatch::start(&[]).unwrap());
    let [a, b] = nuthatches
        .each_ref()
        .map(|nuthatch| nuthatch.address().port());
    let mut answer = Answer::of(&[
        (10, 33, a, "LocalHost"),
        (10, 33, b, "localhost"),
        (20, 99, 1, "spare.example"),
    ]);
    answer.has_noise = true;
    let dns = Dns::start(answer).await;
    let client = dns.client().await.unwrap();
    let mut expected = [a, b].map(|port| format!("localhost:{port}"));
    expected.sort();
    assert_eq!(names(&client), expected);
    for number in 0..100 {
        let key = format!("k:{number}");
        client.set(&key, &key, Ttl::NEVER).await.unwrap();
        assert_eq!(client.get::<String>(&key).await.unwrap(), Some(key));
    }
}

#[tokio::test]
async fn changes_are_followed_but_not_into_nothing() {
    let dns = Dns::start(Answer::of(&[(0, 50, 1, "a"), (0, 50, 1, "b")])).await;
    let client = dns.client().await.unwrap();
    let equal = shares(&client);
    // Kubernetes' weights are a hundredth of all: more of them are lighter, and the same.
    dns.set(Answer::of(&[
        (0, 33, 1, "a"),
        (0, 33, 1, "b"),
        (0, 33, 1, "c"),
    ]));
    until(async || names(&client) == ["a:1", "b:1", "c:1"]).await;
    for answer in [
        Answer::default(),
        Answer::of(&[(0, 0, 0, "")]),
        Answer::of(&[(0, 0, 0, "portless")]),
        Answer {
            code: Some(RCODE::NameError),
            ..Answer::default()
        },
    ] {
        dns.set(answer);
        let asked = dns.asked();
        until(async || dns.asked() > asked + 4).await;
        assert_eq!(names(&client).len(), 3);
    }
    dns.set(Answer::of(&[(0, 0, 1, "a"), (0, 0, 1, "b")]));
    until(async || shares(&client) == equal).await;
    dns.set(Answer::of(&[(0, 30, 1, "a"), (0, 10, 1, "b")]));
    until(async || shares(&client)["a:1"] > 1300).await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_over_tcp() {
    let mut answer = Answer::of(&[(0, 0, 1, "a"), (0, 0, 1, "b"), (0, 0, 1, "c")]);
    answer.is_truncated = true;
    let dns = Dns::start(answer).await;
    let client = dns.client().await.unwrap();
    assert_eq!(names(&client), ["a:1", "b:1", "c:1"]);
}

#[tokio::test]
async fn without_an_answer_there_is_no_client() {
    let dns = Dns::start(Answer::default()).await;
    assert!(matches!(dns.client().await, Err(Error::Config(_))));
    // The next name server is asked if one is silent.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let discovery = Discovery::dns_srv(NAME).name_server(silent.local_addr().unwrap());
    dns.set(Answer::of(&[(0, 0, 1, "a")]));
    let builder = Client::builder().discover(discovery.name_server(dns.address));
    let client = builder.build().await.unwrap();
    assert_eq!(names(&client), ["a:1"]);
}

#[test]
fn discoveries_have_words() {
    let parse = |text: &str| text.parse::<Discovery>();
    assert_eq!(
        parse("dnssrv+a.example").unwrap(),
        Discovery::dns_srv("a.example")
    );
    assert_eq!(parse("dnssrvnoa+a").unwrap(), Discovery::dns_srv("a"));
    assert_eq!(parse("dns+a:1").unwrap(), Discovery::dns("a:1"));
    for text in ["", "dns", "dns+", "dnssrv+", "srv+a", "a:1"] {
        assert!(matches!(parse(text), Err(Error::Config(_))), "{text}");
    }
}
