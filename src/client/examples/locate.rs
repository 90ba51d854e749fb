//! Answers which node a key belongs to: reads keys from standard input, one for each line, and prints
//! `key<TAB>node`.
//!
//! ```text
//! cargo run -p nuthatch-client --example locate -- \
//!     --node 10.0.0.1:11211=1 --node 10.0.0.2:11211=2 [--distribution ketama]
//! ```

use nuthatch_client::{Distribution, NodeAddress, Ring};
use std::error::Error;
use std::io::{self, BufRead as _, Write as _};

const DISTRIBUTIONS: [(&str, Distribution); 8] = [
    ("ketama", Distribution::Ketama),
    ("rendezvous", Distribution::Rendezvous),
    ("jump", Distribution::Jump),
    ("libmemcached-default", Distribution::LibmemcachedDefault),
    ("libmemcached-md5", Distribution::LibmemcachedMd5),
    ("twemproxy-fnv1a", Distribution::TwemproxyFnv1a),
    ("pymemcache", Distribution::Pymemcache),
    ("python-memcached", Distribution::PythonMemcached),
];

fn main() -> Result<(), Box<dyn Error>> {
    let (distribution, nodes) = arguments(std::env::args().skip(1))?;
    let ring = Ring::new(distribution, &nodes)?;
    let mut input = io::stdin().lock();
    let mut output = io::BufWriter::new(io::stdout().lock());
    let mut key = Vec::new();
    while input.read_until(b'\n', &mut key)? > 0 {
        if key.last() == Some(&b'\n') {
            key.pop();
        }
        let node = nodes
            .get(ring.locate(&key))
            .ok_or("a node outside the list")?;
        output.write_all(&key)?;
        writeln!(output, "\t{node}")?;
        key.clear();
    }
    output.flush()?;
    Ok(())
}

fn arguments(
    mut arguments: impl Iterator<Item = String>,
) -> Result<(Distribution, Vec<NodeAddress>), Box<dyn Error>> {
    let (mut distribution, mut nodes) = (Distribution::default(), Vec::new());
    while let Some(flag) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--node" => nodes.push(node(&value)?),
            "--distribution" => distribution = self::distribution(&value)?,
            _ => return Err(format!("no flag {flag}; there are --node and --distribution").into()),
        }
    }
    Ok((distribution, nodes))
}

/// `address=weight`, or the address alone.
fn node(text: &str) -> Result<NodeAddress, Box<dyn Error>> {
    let Some((address, weight)) = text.rsplit_once('=') else {
        return Ok(text.parse()?);
    };
    let weight = weight
        .parse()
        .map_err(|error| format!("the weight in {text}: {error}"))?;
    Ok(address.parse::<NodeAddress>()?.with_weight(weight))
}

fn distribution(name: &str) -> Result<Distribution, Box<dyn Error>> {
    let found = DISTRIBUTIONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, distribution)| *distribution).ok_or_else(|| {
        let names: Vec<&str> = DISTRIBUTIONS.iter().map(|(known, _)| *known).collect();
        format!("no distribution {name}; there are {}", names.join(", ")).into()
    })
}
