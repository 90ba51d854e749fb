//! Nodes that are discovered: by DNS, and from a configuration endpoint whose answers change.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use nuthatch_client::{Client, Discovery, Error, NodeAddress, Ttl};
use protocol_tests::nuthatch::Nuthatch;
use std::time::Duration;
use support::{patient, serve};
use tokio::sync::{mpsc, oneshot};

const SOON: Duration = Duration::from_millis(10);

/// After so many the client should have believed all that it shall.
const QUESTIONS_MAX: usize = 100;

/// An answer to `config get cluster`.
fn config(nodes: &[&str]) -> String {
    let nodes: Vec<String> = nodes
        .iter()
        .map(|node| format!("{node}|127.0.0.1|11211"))
        .collect();
    let text = format!("1\n{}\n", nodes.join(" "));
    format!("CONFIG cluster 0 {}\r\n{text}\r\nEND\r\n", text.len())
}

/// Answers with one after the other, and with the last for ever: each question but the first once who is told of it
/// lets go of what it was told with. At once if nobody wants to be told.
async fn endpoint(answers: Vec<String>) -> (NodeAddress, mpsc::Receiver<oneshot::Sender<()>>) {
    let (ask, asked) = mpsc::channel(1);
    let (address, _) = serve(move |number, mut peer| {
        let answer = answers.get(number).or_else(|| answers.last()).cloned();
        let ask = ask.clone();
        async move {
            assert_eq!(peer.line().await.unwrap(), "config get cluster");
            let (go_on, told) = oneshot::channel();
            if number > 0 && ask.send(go_on).await.is_ok() {
                let _ = told.await;
            }
            peer.send(answer.unwrap()).await;
        }
    })
    .await;
    (address.to_string().parse().unwrap(), asked)
}

/// The names of the nodes that the client knows; nobody is behind them.
fn names(client: &Client) -> Vec<String> {
    let mut names: Vec<String> = (0..200)
        .map(|number| client.locate(format!("k:{number}")).unwrap())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn a_configuration_endpoint_is_followed_but_not_into_nothing() {
    let all = || config(&["a", "b", "c"]);
    let (address, mut asked) = endpoint(vec![
        config(&["a", "b"]),
        config(&[]),
        "ERROR\r\n".to_owned(),
        "CONFIG cluster 0 99999999\r\n".to_owned(),
        all(),
        // Other nodes are missing each time: none of it is believed.
        config(&["a", "b"]),
        config(&["a", "c"]),
        config(&["b", "c"]),
        config(&["a", "b"]),
        all(),
        config(&["a", "b"]),
        all(),
        config(&["c"]),
    ])
    .await;
    let discovery = Discovery::config_endpoint(address).every(SOON);
    let builder = Client::builder().discover(discovery).timeouts(patient());
    let client = builder.build().await.unwrap();
    let mut seen = vec![names(&client)];
    let mut questions = 1;
    // Who asks again has believed the answer before, or not.
    while seen.len() < 3 && questions < QUESTIONS_MAX {
        let go_on = asked.recv().await.unwrap();
        questions += 1;
        let names = names(&client);
        if seen.last() != Some(&names) {
            seen.push(names);
        }
        drop(go_on);
    }
    let expected = [
        &["a:11211", "b:11211"][..],
        &["a:11211", "b:11211", "c:11211"],
        &["c:11211"],
    ];
    assert_eq!(seen, expected);
    assert!(questions > 13);
}

#[tokio::test]
async fn a_name_is_resolved() {
    let nuthatch = Nuthatch::start(&[]).unwrap();
    let name = format!("localhost:{}", nuthatch.address().port());
    let builder = Client::builder().timeouts(patient());
    let client = builder
        .discover(Discovery::dns(name))
        .build()
        .await
        .unwrap();
    // An IPv6 address may be among them, where nobody listens.
    for number in 0..100 {
        let key = format!("k:{number}");
        if client.locate(&key).unwrap().starts_with("127.0.0.1") {
            client.set(&key, "v", Ttl::NEVER).await.unwrap();
        }
    }
}

#[tokio::test]
async fn without_an_answer_there_is_no_client() {
    let (address, _) = endpoint(vec![config(&[])]).await;
    let discovery = Discovery::config_endpoint(address);
    let refused = Client::builder().discover(discovery.clone()).build().await;
    assert!(matches!(refused, Err(Error::Config(_))));
    let both = Client::builder()
        .node("a")
        .discover(discovery)
        .build()
        .await;
    assert!(matches!(both, Err(Error::Config(_))));
}

#[tokio::test]
async fn a_configuration_has_an_end() {
    for (len, is_accepted) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let node = "1\nn|127.0.0.1|11211";
        let text = format!("{node}{}", " ".repeat(len - node.len()));
        let answer = format!("CONFIG cluster 0 {len}\r\n{text}\r\nEND\r\n");
        let (address, _) = endpoint(vec![answer]).await;
        let client = Client::builder().discover(Discovery::config_endpoint(address));
        let built = client.timeouts(patient()).build().await;
        assert_eq!(built.is_ok(), is_accepted, "{len}");
    }
}
