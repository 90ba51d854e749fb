//! The meta protocol: decode undoes encode for both sides, limits, keys that are not text.

use nuthatch_protocol::limits::{META_OPAQUE_LEN_MAX, META_TOKENS_MAX};
use nuthatch_protocol::{
    ArithmeticOp, Decoded, DecodedReply, ErrorReply, Exptime, Key, KeyBuffer, Meta, MetaFacts,
    MetaFlags, MetaMarks, MetaMode, MetaReply, MetaStatus, ReplyDecoder, Request, RequestDecoder,
    Response,
};
use proptest::prelude::*;

fn decode(line: &[u8]) -> Decoded<'_> {
    RequestDecoder::new().decode(line)
}

fn refusal(line: &str) -> Option<(ErrorReply<'static>, u64)> {
    match decode(line.as_bytes()) {
        Decoded::Refused { refusal, .. } => Some((refusal.reply, refusal.body_len)),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn requests_survive_the_wire(
        command in "mg|md|ma|ms", key in "[!-~]{1,250}", len in 0..2_147_483_645u64,
        flags in "( v| t| k| q| c)?( T-?[0-9]{1,9})?( N[0-9]{1,9})?( C[0-9]{1,18})?( O[!-~]{0,31})?( M[I])?",
    ) {
        let is_storage = command == "ms";
        prop_assume!(!is_storage || !flags.contains(" MI"));
        let len = if is_storage { format!(" {len}") } else { String::new() };
        let line = format!("{command} {key}{len}{flags}\r\n");
        let Decoded::Request { request, line_len } = decode(line.as_bytes()) else {
            return Err(TestCaseError::fail(line));
        };
        prop_assert_eq!(line_len, line.len());
        let mut encoded = Vec::new();
        request.encode(&mut encoded);
        prop_assert_eq!(encoded, line.as_bytes());
    }

    #[test]
    fn replies_survive_the_wire(
        key in prop::collection::vec(any::<u8>(), 1..=187), cas: u64, len: u32, left in -1..1_000_000i64,
        idle: u32, fetched: bool, encoded_key: bool, stale: bool, taken: bool, won: bool,
    ) {
        prop_assume!(encoded_key || !key.iter().any(|byte| b" \n\r".contains(byte)));
        let flags = MetaFlags::new(b"h l Oabc k c t s f").unwrap();
        let facts = MetaFacts {
            key: Some((&key, encoded_key)),
            value_len: Some(len.into()),
            client_flags: Some(len),
            cas: Some(cas),
            seconds_left: Some(left),
            seconds_idle: Some(idle.into()),
            fetched: Some(fetched),
        };
        let mut line = Vec::new();
        MetaStatus::Value(len.into()).encode(flags, &facts, MetaMarks { taken, stale, won }, &mut line);
        let DecodedReply::Response { response, line_len } = ReplyDecoder::new().decode(&line) else {
            return Err(TestCaseError::fail("no reply"));
        };
        prop_assert_eq!(line_len, line.len());
        let mut again = Vec::new();
        response.encode(&mut again);
        prop_assert_eq!(&again, &line);
        let Response::Meta(reply) = response else {
            return Err(TestCaseError::fail("no meta reply"));
        };
        prop_assert_eq!(reply.status, MetaStatus::Value(len.into()));
        let letters: Vec<u8> = reply.flags().map(|(letter, _)| letter).collect();
        let mut expected = b"hlOk".to_vec();
        expected.extend(encoded_key.then_some(b'b'));
        expected.extend(b"ctsf");
        expected.extend([(taken, b'Z'), (stale, b'X'), (won, b'W')].iter().filter(|mark| mark.0).map(|mark| mark.1));
        prop_assert_eq!(letters, expected);
        let told: Vec<_> = reply.flags().filter(|(letter, _)| *letter == b'c').collect();
        let cas = cas.to_string();
        prop_assert_eq!(told[0].1, cas.as_bytes());
    }

    #[test]
    fn nothing_that_looks_like_meta_panics(
        line in "(mg|ms|md|ma|me|mn)( {1,2}([a-zA-Z]{1,3}[0-9]{0,20}|-?[0-9]{1,22}|[\\x00-\\xff])){0,25} ?\r?\n"
    ) {
        if let Decoded::Request { request: Request::MetaGet(meta), .. } = decode(line.as_bytes()) {
            let mut buffer = KeyBuffer::default();
            prop_assert!(!meta.key_bytes(&mut buffer).is_empty());
        }
    }
}

#[test]
fn flags_are_read_by_their_letters() {
    let flags = MetaFlags::new(b"T-5 N0 R30 C7 E8 F9 D10 J11 MA").unwrap();
    assert_eq!(flags.new_exptime(), Some(Exptime::new(-5)));
    assert_eq!(flags.vivify(), Some(Exptime::NEVER));
    assert_eq!(flags.recache(), Some(Exptime::new(30)));
    assert_eq!((flags.compare_cas(), flags.new_cas()), (Some(7), Some(8)));
    assert_eq!(
        (flags.client_flags(), flags.delta(), flags.initial()),
        (9, 10, 11)
    );
    assert_eq!(flags.mode(), Ok(MetaMode::Append));
    assert_eq!(
        flags.arithmetic_mode(),
        Err(ErrorReply::META_INVALID_ARITHMETIC_MODE)
    );
    let none = MetaFlags::NONE;
    assert_eq!(
        (none.new_exptime(), none.delta(), none.mode()),
        (None, 1, Ok(MetaMode::Set))
    );
    assert_eq!(none.arithmetic_mode(), Ok(ArithmeticOp::Incr));
}

#[test]
fn a_line_has_20_tokens_and_an_opaque_32_bytes() {
    let flags = "v s t c f k l h O q u N1 T1 R1 C1 P L F1";
    assert_eq!(flags.split(' ').count() + 2, META_TOKENS_MAX);
    assert_eq!(refusal(&format!("mg k {flags}\r\n")), None);
    let too_many = Some((ErrorReply::META_TOO_MANY_FLAGS, 0));
    assert_eq!(refusal(&format!("mg k {flags} I\r\n")), too_many);
    let too_many = Some((ErrorReply::META_TOO_MANY_FLAGS, 3));
    assert_eq!(refusal(&format!("ms k 1 {flags}\r\n")), too_many);
    let opaque = "x".repeat(META_OPAQUE_LEN_MAX - 1);
    assert_eq!(refusal(&format!("mg k O{opaque}\r\n")), None);
    let too_long = Some((ErrorReply::META_OPAQUE_TOO_LONG, 0));
    assert_eq!(refusal(&format!("mg k O{opaque}x\r\n")), too_long);
}

#[test]
fn a_key_in_base64_may_be_any_bytes() {
    let key = Key::new(b"AAEgCg==").unwrap();
    let flags = MetaFlags::new(b"b").unwrap();
    let meta = Meta::with_flags(key, flags).unwrap();
    assert_eq!(meta.key_bytes(&mut KeyBuffer::default()), b"\0\x01 \n");
    for text in ["A", "A=", "====", "AAE", "AA*="] {
        let key = Key::new(text.as_bytes()).unwrap();
        assert_eq!(
            Meta::with_flags(key, flags),
            Err(ErrorReply::META_KEY_ENCODING),
            "{text}"
        );
    }
    // memcached's decoder does not look at what is left over.
    let key = Key::new(b"AB==").unwrap();
    assert_eq!(
        Meta::with_flags(key, flags)
            .unwrap()
            .key_bytes(&mut KeyBuffer::default()),
        b"\0"
    );
}

#[test]
fn the_last_number_that_is_none_is_told() {
    assert_eq!(
        MetaFlags::new(b"Tx Jx"),
        Err(ErrorReply::META_INVALID_INITIAL)
    );
    assert_eq!(MetaFlags::new(b"Jx Tx"), Err(ErrorReply::META_BAD_TOKEN));
    assert_eq!(MetaFlags::new(b"Fx"), Err(ErrorReply::BAD_FORMAT));
    assert_eq!(MetaFlags::new(b"Tx Fx"), Err(ErrorReply::META_BAD_TOKEN));
    // Unless something worse follows.
    assert_eq!(
        MetaFlags::new(b"Tx v v"),
        Err(ErrorReply::META_DUPLICATE_FLAG)
    );
}

#[test]
fn replies_without_flags() {
    for (line, status) in [
        ("HD\r\n", MetaStatus::Done),
        ("EN\r\n", MetaStatus::Miss),
        ("NF\r\n", MetaStatus::NotFound),
        ("NS\r\n", MetaStatus::NotStored),
        ("EX\r\n", MetaStatus::Exists),
    ] {
        let response = Response::Meta(MetaReply::new(status));
        let mut encoded = Vec::new();
        response.encode(&mut encoded);
        assert_eq!(encoded, line.as_bytes());
        let decoded = ReplyDecoder::new().decode(line.as_bytes());
        let line_len = line.len();
        assert_eq!(decoded, DecodedReply::Response { response, line_len });
    }
    let debug = ReplyDecoder::new().decode(b"ME k exp=-1\r\n");
    let response = Response::MetaDebug(b"k exp=-1");
    assert_eq!(
        debug,
        DecodedReply::Response {
            response,
            line_len: 13
        }
    );
    assert_eq!(
        ReplyDecoder::new().decode(b"VA x\r\n"),
        DecodedReply::Malformed
    );
}
