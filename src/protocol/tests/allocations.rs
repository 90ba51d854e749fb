//! Decoding and encoding allocate nothing.

use cap::Cap;
use nuthatch_protocol::{
    Decoded, DecodedReply, Key, ReplyDecoder, RequestDecoder, Response, ValueHeader,
};
use std::alloc::System;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// One test in this file: another one beside it would allocate from the same heap.
#[test]
fn no_request_and_no_reply_allocates() {
    let lines: [&[u8]; 6] = [
        b"get key\r\n",
        b"gets a b c d e f g h i j k l m n o p q r s t u v w x y z\r\n",
        b"set key 1 300 100\r\n",
        b"incr key 5\r\n",
        b"get \r\n",
        b"no such command\r\n",
    ];
    let key = Key::new(b"key").unwrap();
    let mut out = Vec::with_capacity(1024);
    let before = HEAP.total_allocated();
    let mut keys = 0;
    for line in lines {
        let decoded = RequestDecoder::new().decode(line);
        if let Decoded::Request {
            request: nuthatch_protocol::Request::Retrieve(get),
            ..
        } = decoded
        {
            keys += get.keys.into_iter().count();
        }
    }
    for response in [
        Response::Value(ValueHeader::new(key, 1, 100)),
        Response::Number(7),
        Response::End,
    ] {
        response.encode(&mut out);
    }
    let reply = ReplyDecoder::new().decode(&out);
    let allocated = HEAP.total_allocated() - before;
    assert_eq!(allocated, 0);
    assert_eq!(keys, 27);
    assert!(matches!(reply, DecodedReply::Response { .. }));
}
