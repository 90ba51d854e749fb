//! [`Ring`]: which node a key belongs to. No I/O; the same answer in every process, release and language.

use crate::hash;
use crate::{Error, NodeAddress};

/// How keys are spread over nodes.
///
/// A fleet must agree on it, or its members do not find what the others stored. `Ketama` is what other
/// languages can agree to; the rest of the names say whose rule each is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Distribution {
    /// libmemcached's weighted ketama: `ketama_weighted` in pylibmc, `OPT_LIBKETAMA_COMPATIBLE` in PHP,
    /// `hash: md5` with `distribution: ketama` in twemproxy.
    #[default]
    Ketama,
    /// Highest random weight with XXH3: for fleets of this client alone. Spreads keys more evenly than
    /// ketama, and moves none but those of the node that comes or goes.
    Rendezvous,
    /// Jump consistent hash with XXH3, over the position in the list: only the last node may leave.
    /// Without weights.
    Jump,
    /// libmemcached without further settings but `ketama`: `{"ketama": True}` in pylibmc, which is not
    /// ketama: one-at-a-time hashes and 100 points for each node.
    LibmemcachedDefault,
    /// The same with `hash` set to `md5`.
    LibmemcachedMd5,
    /// twemproxy with `distribution: ketama` and its default hash, `fnv1a_64`.
    TwemproxyFnv1a,
    /// pymemcache's `HashClient`: rendezvous with `MurmurHash3`. Without weights.
    Pymemcache,
    /// python-memcached: CRC-32, modulo the number of nodes.
    PythonMemcached,
}

/// Most nodes of one ring.
pub const NODES_MAX: usize = 1024;

/// Largest weight of a node.
pub const WEIGHT_MAX: u32 = 65_536;

/// libmemcached `MEMCACHED_POINTS_PER_SERVER_KETAMA`.
const POINTS_WEIGHTED: f32 = 160.0;

/// libmemcached `MEMCACHED_POINTS_PER_SERVER`.
const POINTS_PLAIN: u32 = 100;

/// Keys to nodes, for one list of nodes.
///
/// ```
/// use nuthatch_client::{Distribution, NodeAddress, Ring};
///
/// let nodes = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"];
/// let nodes = nodes.map(|node| node.parse::<NodeAddress>().unwrap());
/// let ring = Ring::new(Distribution::Ketama, &nodes)?;
/// assert_eq!(ring.locate(b"user:1"), 1);
/// # Ok::<(), nuthatch_client::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Ring(Places);

#[derive(Clone, Debug)]
enum Places {
    /// A single node has every key.
    One,
    /// Sorted points; a key belongs to the first point at or after its hash.
    Continuum {
        key_hash: fn(&[u8]) -> u32,
        points: Vec<Point>,
    },
    /// Hash and weight of each node.
    Rendezvous(Vec<(u64, f64)>),
    /// How many nodes.
    Jump(usize),
    /// The name that each key's hash begins with.
    Pymemcache(Vec<String>),
    /// A node for each unit of weight.
    Buckets(Vec<usize>),
}

#[derive(Clone, Copy, Debug)]
struct Point {
    value: u32,
    node: usize,
}

impl Ring {
    /// A ring of these nodes; [`locate`](Self::locate) answers with their positions.
    ///
    /// # Errors
    /// [`Error::Config`]: no node, more than [`NODES_MAX`], two with one name, a weight above
    /// [`WEIGHT_MAX`], or weights where the distribution has none.
    pub fn new(distribution: Distribution, nodes: &[NodeAddress]) -> Result<Self, Error> {
        check(distribution, nodes)?;
        if nodes.len() == 1 {
            return Ok(Self(Places::One));
        }
        Ok(Self(match distribution {
            Distribution::Ketama => Places::Continuum {
                key_hash: hash::md5,
                points: weighted_points(nodes, &positions(nodes)),
            },
            Distribution::TwemproxyFnv1a => Places::Continuum {
                key_hash: hash::fnv1a_truncated,
                points: weighted_points(nodes, &positions_by_name(nodes)),
            },
            Distribution::LibmemcachedDefault => libmemcached(nodes, hash::one_at_a_time),
            Distribution::LibmemcachedMd5 => libmemcached(nodes, hash::md5),
            Distribution::Rendezvous => Places::Rendezvous(
                nodes
                    .iter()
                    .map(|node| {
                        let identity = hash::xxh3(node.full_identity().as_bytes());
                        (identity, f64::from(node.weight()))
                    })
                    .collect(),
            ),
            Distribution::Jump => Places::Jump(nodes.len()),
            Distribution::Pymemcache => {
                Places::Pymemcache(nodes.iter().map(NodeAddress::full_identity).collect())
            }
            Distribution::PythonMemcached => Places::Buckets(
                (0..)
                    .zip(nodes)
                    .flat_map(|(position, node)| {
                        std::iter::repeat_n(position, node.weight() as usize)
                    })
                    .collect(),
            ),
        }))
    }

    /// The position of the key's node in the list that the ring was made from.
    pub fn locate(&self, key: &[u8]) -> usize {
        match &self.0 {
            Places::One => 0,
            Places::Continuum { key_hash, points } => {
                let hash = key_hash(key);
                let next = points.partition_point(|point| point.value < hash);
                let point = points.get(next).or_else(|| points.first());
                point.map_or(0, |point| point.node)
            }
            Places::Rendezvous(nodes) => rendezvous(nodes, hash::xxh3(key)),
            Places::Jump(count) => jump(hash::xxh3(key), *count),
            Places::Pymemcache(names) => pymemcache(names, key),
            Places::Buckets(buckets) => {
                let hash = ((hash::crc32(key) >> 16) & 0x7fff).max(1) as usize;
                let bucket = hash.checked_rem(buckets.len()).unwrap_or_default();
                buckets.get(bucket).copied().unwrap_or_default()
            }
        }
    }
}

fn check(distribution: Distribution, nodes: &[NodeAddress]) -> Result<(), Error> {
    if nodes.is_empty() || nodes.len() > NODES_MAX {
        return Err(Error::config(format!(
            "{} nodes; a ring has 1 to {NODES_MAX}",
            nodes.len()
        )));
    }
    let mut names: Vec<String> = nodes.iter().map(NodeAddress::full_identity).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(Error::config(format!("{name} is in the list twice")));
    }
    if nodes.iter().any(|node| node.weight() > WEIGHT_MAX) {
        return Err(Error::config(format!("a weight is at most {WEIGHT_MAX}")));
    }
    let without_weights = matches!(distribution, Distribution::Jump | Distribution::Pymemcache);
    if without_weights && nodes.iter().any(|node| node.weight() != 1) {
        return Err(Error::config(format!(
            "{distribution:?} has no weights; leave them out or choose Rendezvous"
        )));
    }
    Ok(())
}

/// The rank that decides between nodes with an equal point: the order of the list.
fn positions(nodes: &[NodeAddress]) -> Vec<usize> {
    (0..nodes.len()).collect()
}

/// twemproxy sorts its nodes by name first.
fn positions_by_name(nodes: &[NodeAddress]) -> Vec<usize> {
    let mut order = positions(nodes);
    order.sort_by_key(|position| nodes.get(*position).map(NodeAddress::libmemcached_identity));
    order
}

/// The points of libmemcached's `update_continuum` in its weighted mode, all in `f32` as there: in `f64`
/// equal nodes would get 160 points each where libmemcached gives them 156.
fn weighted_points(nodes: &[NodeAddress], order: &[usize]) -> Vec<Point> {
    const POINTS_PER_HASH: f32 = 4.0;
    let weights: u64 = nodes.iter().map(|node| u64::from(node.weight())).sum();
    let points = order.iter().filter_map(|position| {
        let node = nodes.get(*position)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "libmemcached casts to float; all are below 2^27"
        )]
        let (weight, weights, count) = (node.weight() as f32, weights as f32, nodes.len() as f32);
        let hashes = weight / weights * POINTS_WEIGHTED / POINTS_PER_HASH * count + 1e-10;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 40 for each node"
        )]
        let hashes = hashes.floor() as u32;
        let identity = node.libmemcached_identity();
        Some((0..hashes).flat_map(move |number| {
            hash::md5_words(format!("{identity}-{number}").as_bytes()).map(|value| Point {
                value,
                node: *position,
            })
        }))
    });
    sorted(points.flatten().collect())
}

/// libmemcached's unweighted ring, which becomes the weighted one once any weight is above 1.
fn libmemcached(nodes: &[NodeAddress], key_hash: fn(&[u8]) -> u32) -> Places {
    if nodes.iter().any(|node| node.weight() > 1) {
        return Places::Continuum {
            key_hash,
            points: weighted_points(nodes, &positions(nodes)),
        };
    }
    let points = nodes.iter().enumerate().flat_map(|(node, address)| {
        let identity = address.libmemcached_identity();
        (0..POINTS_PLAIN).map(move |number| Point {
            value: key_hash(format!("{identity}-{number}").as_bytes()),
            node,
        })
    });
    Places::Continuum {
        key_hash,
        points: sorted(points.collect()),
    }
}

/// The sort is stable: of equal points the first stays first, and wins.
fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by_key(|point| point.value);
    points
}

fn rendezvous(nodes: &[(u64, f64)], key: u64) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (position, (identity, weight)) in nodes.iter().enumerate() {
        // 53 bits, so that the quotient is exact, and never 0.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let uniform = ((hash::mix(key ^ identity) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let score = -weight / uniform.ln();
        if score > best.1 {
            best = (position, score);
        }
    }
    best.0
}

/// Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.
fn jump(mut key: u64, count: usize) -> usize {
    let mut bucket = 0;
    let mut next = 0;
    while next < count {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "as published; a quotient that is too large ends the loop"
        )]
        {
            next = ((bucket as f64 + 1.0) * ((1u64 << 31) as f64 / ((key >> 33) as f64 + 1.0)))
                as usize;
        }
    }
    bucket
}

/// The greatest hash wins, and of equal ones the greatest name. Of each character of a key, pymemcache hashes
/// the low byte of its code point.
fn pymemcache(names: &[String], key: &[u8]) -> usize {
    let key = match str::from_utf8(key) {
        Ok(text) => text.chars().map(|character| character as u8).collect(),
        // It is given such keys as bytes, whose Python literal it would hash: nobody else can find those.
        Err(_) => key.to_vec(),
    };
    let scores = names.iter().enumerate().map(|(position, name)| {
        let text = [name.as_bytes(), b"-", &key].concat();
        (hash::murmur3(&text), name, position)
    });
    scores.max().map_or(0, |(_, _, position)| position)
}
