//! What it costs to decode a request and to encode a reply.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nuthatch_protocol::{Decoded, Key, RequestDecoder, Response, ValueHeader};
use std::hint::black_box;

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let multiget = format!("get{}\r\n", " a-key-of-usual-length".repeat(100));
    for (name, line) in [
        ("get", "get a-key-of-usual-length\r\n"),
        ("set", "set a-key-of-usual-length 0 300 100\r\n"),
        ("incr", "incr a-key-of-usual-length 1\r\n"),
        ("get of 100 keys", multiget.as_str()),
    ] {
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |bencher| {
            let mut decoder = RequestDecoder::new();
            bencher.iter(|| {
                matches!(
                    decoder.decode(black_box(line.as_bytes())),
                    Decoded::Request { .. }
                )
            });
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let Ok(key) = Key::new(b"a-key-of-usual-length") else {
        return;
    };
    let header = Response::Value(ValueHeader::new(key, 0, 100));
    let mut out = Vec::with_capacity(1024);
    criterion.bench_function("encode/VALUE", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&header).encode(&mut out);
        });
    });
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
