//! [`Place`]: where an entry is: its key as it travels, its node, and where else it may be while that is down.

use crate::Error;
use crate::gutter::Spot;
use crate::node::{Node, Told};
use crate::op::{Op, Verb, WireKey};
use crate::reply::{RawItem, Reply};
use std::sync::Arc;
use std::time::Duration;

/// A key, checked, and the node that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: Arc<Node>,
    pub(crate) key: WireKey,
    /// In a client with a gutter, or while a node is ejected.
    aside: Option<Box<Aside>>,
}

/// Where else an entry may be.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    /// The node that the key belongs to when nobody is ejected, if that is another one.
    pub(crate) home: Option<Arc<Node>>,
    pub(crate) gutter: Option<Spot>,
}

impl Place {
    pub(crate) const fn new(node: Arc<Node>, key: WireKey, aside: Option<Box<Aside>>) -> Self {
        Self { node, key, aside }
    }

    pub(crate) fn op(&self, verb: Verb) -> Op {
        Op {
            key: self.key.clone(),
            verb,
        }
    }

    /// Asks the node, or the gutter if that is down.
    pub(crate) async fn call(&self, verb: Verb) -> Result<Reply, Error> {
        match &self.aside {
            None => self.node.call(self.op(verb)).await,
            // Boxed: few need it, and all would pay for its size.
            Some(aside) => Box::pin(self.call_or_aside(aside, verb)).await,
        }
    }

    async fn call_or_aside(&self, aside: &Aside, verb: Verb) -> Result<Reply, Error> {
        if !verb.is_read()
            && let Some(home) = &aside.home
            && !self.outdate(home).await
        {
            return Err(unavailable(home, "cannot be told what it missed"));
        }
        let spot = aside.gutter.as_ref();
        let detour = spot.and_then(|spot| Some((spot, verb.in_gutter(spot.life_max)?)));
        let called = self.node.call(self.op(verb)).await;
        let (Err(down @ Error::Unavailable { .. }), Some((spot, verb))) = (&called, detour) else {
            return called;
        };
        if !self.node.is_down() {
            return called;
        }
        if !verb.is_read() && !self.outdate(&self.node).await {
            return called;
        }
        self.node.count_detour();
        match spot.node.call(self.op(verb)).await {
            // Its cas unique is nothing that the node could compare with.
            Ok(Reply::Item(item)) => Ok(Reply::Item(RawItem { cas: None, ..item })),
            // That the gutter is down too is not what is wrong.
            Err(Error::Unavailable { .. }) => Err(down.clone()),
            called => called,
        }
    }

    /// What a node has of the key is about to be outdated elsewhere: it forgets it before it is read again. Whether it is
    /// sure to. One that is ejected may be back in the ring by now.
    async fn outdate(&self, node: &Arc<Node>) -> bool {
        match node.tell(vec![self.op(Verb::Delete)]).await {
            Told::Now => true,
            Told::Later => node.is_down(),
            Told::TooMuch => node.is_down() && node.is_flushed_after_overflow(),
        }
    }

    /// The same key in the gutter, and how long anything lives there, if its node is down.
    pub(crate) fn detour(&self) -> Option<(Self, Duration)> {
        let spot = self.aside.as_ref()?.gutter.as_ref()?;
        let is_down = self.node.is_down();
        is_down.then(|| (self.at(&spot.node), spot.life_max))
    }

    /// Why a change cannot be made without [`call`](Self::call): a node that is ejected has to hear of it too.
    pub(crate) fn ejected(&self) -> Option<Error> {
        let home = self.aside.as_ref()?.home.as_ref()?;
        Some(unavailable(home, "is asked in another way"))
    }

    /// The same key at the node that is ejected, and belongs to it.
    pub(crate) fn at_home(&self) -> Option<Self> {
        self.aside.as_ref()?.home.as_ref().map(|node| self.at(node))
    }

    /// The same key in the gutter, where other clients may look who cannot reach the node.
    pub(crate) fn in_gutter(&self) -> Option<Self> {
        let spot = self.aside.as_ref()?.gutter.as_ref();
        spot.map(|spot| self.at(&spot.node))
    }

    fn at(&self, node: &Arc<Node>) -> Self {
        Self::new(Arc::clone(node), self.key.clone(), None)
    }
}

fn unavailable(home: &Node, what: &str) -> Error {
    Error::Unavailable {
        node: Arc::clone(home.label()),
        why: format!("it is ejected, and {what}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Client, KeyPolicy, Ttl};
    use nuthatch_protocol::StorageMode;
    use protocol_tests::nuthatch::Nuthatch;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::{self, Receiver};

    #[tokio::test]
    async fn a_node_that_is_in_the_ring_again_has_heard_of_a_change_that_began_before() {
        let servers = [0; 2].map(|_| Nuthatch::start(&[]).unwrap());
        let nodes = servers.iter().map(|server| server.address().to_string());
        let client = nodes.fold(Client::builder(), crate::Builder::node);
        let client = client.build().await.unwrap();
        client.set("k", "old", Ttl::NEVER).await.unwrap();

        let topology = client.inner().topology.load_full();
        let home = Arc::clone(topology.node(b"k").unwrap());
        let ejected = topology.without(&[Arc::clone(&home)]).unwrap();
        let key = KeyPolicy::Reject.wire_key(b"k").unwrap();
        let place = ejected.place(key, b"k").unwrap();
        assert!(!Arc::ptr_eq(&place.node, &home));
        // The client's ring is the whole one again.
        let new = client.inner().encode("new").unwrap();
        let set = Verb::Store(new.store(StorageMode::Set, Ttl::NEVER.exptime()));
        let stored = place.call(set).await.unwrap();
        assert!(matches!(stored, Reply::Done(_)), "{stored:?}");
        assert_eq!(client.get::<String>("k").await.unwrap(), None);
        // Once: what is stored from now on stays.
        client.set("k", "newer", Ttl::NEVER).await.unwrap();
        assert!(home.replay().await);
        assert_eq!(client.get::<String>("k").await.unwrap().unwrap(), "newer");
    }

    /// A server that answers each delete so, once it is let; and the deletes.
    pub(crate) async fn home(
        answer: &'static str,
        gate: Arc<Semaphore>,
    ) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, hears) = mpsc::channel(100);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap() > 0 {
                let reply = match line.trim_end().split_once(" O") {
                    Some((words, opaque)) if words.starts_with("mg") => {
                        format!("EN O{opaque}\r\n")
                    }
                    Some((words, opaque)) => {
                        heard.send(words.to_owned()).await.unwrap();
                        gate.acquire().await.unwrap().forget();
                        answer.replace('#', opaque)
                    }
                    None if line.starts_with("mn") => "MN\r\n".to_owned(),
                    None => "VERSION 1.6.45\r\n".to_owned(),
                };
                stream.get_mut().write_all(reply.as_bytes()).await.unwrap();
                line.clear();
            }
        });
        (address, hears)
    }

    /// Where these many keys of a home are that is ejected, the other node being this one.
    pub(crate) async fn places(home: &str, other: &Nuthatch, count: usize) -> (Client, Vec<Place>) {
        let patience = Duration::from_secs(20);
        let timeouts = crate::Timeouts::lan().with_operation(patience);
        let client = Client::builder().timeouts(timeouts.with_stall(patience));
        let client = client.node(home).node(other.address().to_string());
        let client = client.build().await.unwrap();
        let keys = (0..).map(|number| format!("k:{number}"));
        let keys = keys.filter(|key| client.locate(key).unwrap() == home);
        let keys: Vec<String> = keys.take(count).collect();
        // It is up.
        assert_eq!(client.get::<String>(&keys[0]).await.unwrap(), None);
        let topology = client.inner().topology.load_full();
        let node = Arc::clone(topology.node(keys[0].as_bytes()).unwrap());
        let ejected = topology.without(&[node]).unwrap();
        let places = keys.iter().map(|key| {
            let wire = KeyPolicy::Reject.wire_key(key.as_bytes()).unwrap();
            ejected.place(wire, key.as_bytes()).unwrap()
        });
        let places = places.collect();
        (client, places)
    }

    fn set(client: &Client) -> Verb {
        let new = client.inner().encode("new").unwrap();
        Verb::Store(new.store(StorageMode::Set, Ttl::NEVER.exptime()))
    }

    #[tokio::test]
    async fn of_several_changes_at_once_a_node_hears_each_once() {
        let (other, gate) = (Nuthatch::start(&[]).unwrap(), Arc::new(Semaphore::new(0)));
        let (address, mut hears) = home("HD O#\r\n", Arc::clone(&gate)).await;
        let (client, places) = places(&address, &other, 2).await;
        let (first, second, heard) = tokio::join!(
            places[0].call(set(&client)),
            places[1].call(set(&client)),
            async {
                let heard = hears.recv().await.unwrap();
                gate.add_permits(100);
                heard
            }
        );
        assert!(first.is_ok() && second.is_ok());
        let delete = |place: &Place| format!("md {}", String::from_utf8_lossy(&place.key.text));
        assert_eq!(heard, delete(&places[0]));
        assert_eq!(hears.try_recv(), Ok(delete(&places[1])));
        assert!(hears.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_a_node_that_is_up_does_not_hear_of_is_not_changed_elsewhere() {
        let (other, gate) = (Nuthatch::start(&[]).unwrap(), Semaphore::MAX_PERMITS);
        let gate = Arc::new(Semaphore::new(gate));
        let (address, mut hears) = home("SERVER_ERROR no\r\n", gate).await;
        tokio::spawn(async move { while hears.recv().await.is_some() {} });
        let (client, places) = places(&address, &other, crate::journal::JOURNAL_MAX + 1).await;
        let (last, places) = places.split_last().unwrap();
        let refused = places[0].call(set(&client)).await;
        assert!(
            matches!(refused, Err(Error::Unavailable { .. })),
            "{refused:?}"
        );
        // No more than this many are remembered.
        let home = &places[0].at_home().unwrap().node;
        let missed = places.iter().map(|place| place.op(Verb::Delete));
        assert!(home.remember(missed.collect()).await);
        let refused = last.call(set(&client)).await;
        assert!(
            matches!(refused, Err(Error::Unavailable { .. })),
            "{refused:?}"
        );
        for place in [&places[0], last] {
            let found = place.node.call(place.op(Verb::Get)).await.unwrap();
            assert!(matches!(found, Reply::Miss), "{found:?}");
        }
    }
}
