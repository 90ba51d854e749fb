//! Keys lie where the real clients put them: golden vectors of their libraries, for every compatible mode.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use nuthatch_client::{Distribution, Error, NODES_MAX, NodeAddress, Ring, WEIGHT_MAX};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("ketama-golden.json")).unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

fn nodes(ring: &Value) -> Vec<NodeAddress> {
    let weights = ring["weights"].as_array().unwrap();
    texts(&ring["nodes"])
        .into_iter()
        .zip(weights)
        .map(|(node, weight)| {
            let weight = u32::try_from(weight.as_u64().unwrap()).unwrap();
            node.parse::<NodeAddress>().unwrap().with_weight(weight)
        })
        .collect()
}

/// Compares every ring that the file has an answer for; the number of them.
fn compare(distribution: Distribution, column: &str) -> usize {
    let golden = golden();
    let keys = texts(&golden["keys"]);
    assert_eq!(keys.len(), 2000);
    let mut rings = 0;
    for (name, golden) in golden["rings"].as_object().unwrap() {
        let Some(expected) = golden["assign"][column].as_str() else {
            continue;
        };
        rings += 1;
        let ring = Ring::new(distribution, &nodes(golden)).unwrap();
        let found: String = keys
            .iter()
            .map(|key| {
                let node = u32::try_from(ring.locate(key.as_bytes())).unwrap();
                char::from_digit(node, 36).unwrap()
            })
            .collect();
        let different = found.chars().zip(expected.chars()).filter(|(a, b)| a != b);
        assert_eq!(different.count(), 0, "{distribution:?} on {name}");
        assert_eq!(found.len(), expected.len());
    }
    rings
}

#[test]
fn ketama_places_keys_as_libmemcached_php_and_twemproxy_do() {
    assert_eq!(compare(Distribution::Ketama, "ketama"), 4);
}

#[test]
fn the_named_modes_place_keys_as_their_models_do() {
    use Distribution::{
        LibmemcachedDefault, LibmemcachedMd5, Pymemcache, PythonMemcached, TwemproxyFnv1a,
    };
    assert_eq!(compare(LibmemcachedDefault, "lm_ketama_default"), 4);
    assert_eq!(compare(LibmemcachedMd5, "lm_ketama_md5"), 4);
    assert_eq!(compare(TwemproxyFnv1a, "twemproxy_fnv1a_64"), 4);
    assert_eq!(compare(Pymemcache, "pymemcache"), 3);
    assert_eq!(compare(PythonMemcached, "python_memcached"), 4);
}

fn many(count: usize) -> Vec<NodeAddress> {
    (0..count)
        .map(|number| NodeAddress::tcp(format!("10.0.0.{number}"), 11211))
        .collect()
}

/// How many of 20,000 keys each node has.
fn shares(distribution: Distribution, nodes: &[NodeAddress]) -> Vec<usize> {
    let ring = Ring::new(distribution, nodes).unwrap();
    let mut shares = vec![0; nodes.len()];
    for number in 0..20_000 {
        shares[ring.locate(format!("key:{number}").as_bytes())] += 1;
    }
    shares
}

#[test]
fn rendezvous_and_jump_spread_evenly_and_weights_count() {
    for distribution in [Distribution::Rendezvous, Distribution::Jump] {
        for share in shares(distribution, &many(10)) {
            assert!((1850..2150).contains(&share), "{distribution:?}: {share}");
        }
    }
    let mut nodes = many(3);
    nodes[2] = nodes[2].clone().with_weight(2);
    let shares = shares(Distribution::Rendezvous, &nodes);
    assert!((9700..10_300).contains(&shares[2]), "{shares:?}");
}

#[test]
fn when_a_node_leaves_only_its_keys_move() {
    for distribution in [Distribution::Rendezvous, Distribution::Jump] {
        let ten = Ring::new(distribution, &many(10)).unwrap();
        let nine = Ring::new(distribution, &many(9)).unwrap();
        for number in 0..20_000 {
            let key = format!("key:{number}");
            let (before, after) = (ten.locate(key.as_bytes()), nine.locate(key.as_bytes()));
            assert!(before == after || before == 9, "{distribution:?} {key}");
        }
    }
}

#[test]
fn the_places_of_our_own_distributions_never_change() {
    let nodes = many(10);
    for (distribution, expected) in [
        (Distribution::Rendezvous, "1731594627"),
        (Distribution::Jump, "0189885128"),
    ] {
        let ring = Ring::new(distribution, &nodes).unwrap();
        let found: String = (0..10)
            .map(|number| ring.locate(format!("key:{number}").as_bytes()).to_string())
            .collect();
        assert_eq!(found, expected, "{distribution:?}");
    }
}

#[test]
fn a_ring_has_limits() {
    let new = |nodes: &[NodeAddress]| Ring::new(Distribution::Ketama, nodes);
    assert!(matches!(new(&[]), Err(Error::Config(_))));
    assert!(new(&many(NODES_MAX)).is_ok());
    assert!(matches!(new(&many(NODES_MAX + 1)), Err(Error::Config(_))));
    let twice = [NodeAddress::tcp("a", 1), NodeAddress::tcp("a", 1)];
    assert!(matches!(new(&twice), Err(Error::Config(_))));
    let heavy = |weight| {
        [
            NodeAddress::tcp("a", 1).with_weight(weight),
            NodeAddress::tcp("b", 1),
        ]
    };
    assert!(new(&heavy(WEIGHT_MAX)).is_ok());
    assert!(matches!(new(&heavy(WEIGHT_MAX + 1)), Err(Error::Config(_))));
    for distribution in [Distribution::Jump, Distribution::Pymemcache] {
        let refused = Ring::new(distribution, &heavy(2));
        assert!(matches!(refused, Err(Error::Config(_))));
    }
}

#[test]
fn twenty_five_equal_nodes_have_156_points_each() {
    // With 160 points about 2 % of the keys lie elsewhere. These ten are libmemcached 1.0.16's answers.
    let ring = Ring::new(Distribution::Ketama, &many(25)).unwrap();
    let found: Vec<usize> = (0..10)
        .map(|number| ring.locate(format!("key:{number}").as_bytes()))
        .collect();
    assert_eq!(found, [14, 11, 11, 0, 16, 14, 11, 13, 7, 0]);
}
