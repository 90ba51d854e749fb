//! Properties of the codec: decode undoes encode, no input panics, and where a stream is cut does not
//! matter.

use nuthatch_protocol::limits::{GET_LINE_LEN_MAX, LINE_LEN_MAX, LINES_AHEAD_MAX, VALUE_LEN_MAX};
use nuthatch_protocol::{
    AdminCommand, Arithmetic, ArithmeticOp, Decoded, DecodedReply, Delete, ErrorReply, Exptime,
    FlushAll, FlushNamespace, Key, Keys, MemoryLimit, ReplyDecoder, Request, RequestDecoder,
    Response, Retrieve, Storage, StorageMode, Touch, ValueHeader, Verbosity, is_repeated,
    keys_ahead, repeats,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no separator", |byte| *byte != b' ' && *byte != b'\n');
    vec(byte, 1..=250).prop_filter("not taken for an option", |key| key != b"noreply")
}

fn exptime() -> impl Strategy<Value = Exptime> {
    any::<i32>().prop_map(Exptime::new)
}

fn storage_mode() -> impl Strategy<Value = StorageMode> {
    prop_oneof![
        Just(StorageMode::Set),
        Just(StorageMode::Add),
        Just(StorageMode::Replace),
        Just(StorageMode::Append),
        Just(StorageMode::Prepend),
        // Above 2^63 a sign would be refused; there is none here.
        any::<u64>().prop_map(StorageMode::Cas),
    ]
}

/// Encodes what `check` is given, decodes it, and compares.
fn round_trip(request: &Request<'_>) -> Result<(), TestCaseError> {
    let mut line = Vec::new();
    request.encode(&mut line);
    let line_len = line.len();
    line.extend_from_slice(b"what follows");
    prop_assert_eq!(
        RequestDecoder::new().decode(&line),
        Decoded::Request {
            request: *request,
            line_len
        }
    );
    Ok(())
}

fn reply_round_trip(response: &Response<'_>) -> Result<(), TestCaseError> {
    let mut line = Vec::new();
    response.encode(&mut line);
    let line_len = line.len();
    line.extend_from_slice(b"what follows");
    prop_assert_eq!(
        ReplyDecoder::new().decode(&line),
        DecodedReply::Response {
            response: *response,
            line_len
        }
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn storage_requests_survive_the_wire(
        key in key(), mode in storage_mode(), client_flags: u32, exptime in exptime(),
        value_len in 0..=VALUE_LEN_MAX, noreply: bool,
    ) {
        let mut request = Storage::new(mode, Key::new(&key).unwrap(), value_len);
        request.client_flags = client_flags;
        request.exptime = exptime;
        request.noreply = noreply;
        round_trip(&Request::Store(request))?;
    }

    #[test]
    fn retrievals_survive_the_wire(
        keys in vec(key(), 1..40), with_cas: bool, exptime in prop::option::of(exptime()),
    ) {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| Key::new(key).unwrap()).collect();
        let mut request = Retrieve::new(Keys::new(&keys).unwrap());
        request.with_cas = with_cas;
        request.exptime = exptime;
        round_trip(&Request::Retrieve(request))?;
    }

    #[test]
    fn requests_for_one_key_survive_the_wire(
        key in key(), exptime in exptime(), delta: u64, up: bool, noreply: bool,
    ) {
        let key = Key::new(&key).unwrap();
        let op = if up { ArithmeticOp::Incr } else { ArithmeticOp::Decr };
        let mut arithmetic = Arithmetic::new(op, key, delta);
        arithmetic.noreply = noreply;
        round_trip(&Request::Arithmetic(arithmetic))?;
        let mut delete = Delete::new(key);
        delete.noreply = noreply;
        round_trip(&Request::Delete(delete))?;
        let mut touch = Touch::new(key, exptime);
        touch.noreply = noreply;
        round_trip(&Request::Touch(touch))?;
        let mut flush_namespace = FlushNamespace::new(key);
        flush_namespace.noreply = noreply;
        round_trip(&Request::FlushNamespace(flush_namespace))?;
    }

    #[test]
    fn requests_without_a_key_survive_the_wire(
        delay in exptime(), level: u32, mebibytes in prop::option::of(any::<u32>()), noreply: bool,
    ) {
        let mut flush_all = FlushAll::default();
        flush_all.delay = delay;
        flush_all.noreply = noreply;
        round_trip(&Request::FlushAll(flush_all))?;
        let mut verbosity = Verbosity::new(level);
        verbosity.noreply = noreply;
        round_trip(&Request::Verbosity(verbosity))?;
        let mut memory_limit = MemoryLimit::new(0);
        memory_limit.mebibytes = mebibytes;
        memory_limit.noreply = noreply;
        round_trip(&Request::MemoryLimit(memory_limit))?;
        for request in [Request::Version, Request::Shutdown(b""), Request::Shutdown(b"graceful"),
            Request::Admin(AdminCommand::Config, b"get cluster"),
            Request::Admin(AdminCommand::Lru, b"mode flat"), Request::Admin(AdminCommand::Slabs, b""),
            Request::Quit, Request::Stats(b""),
            Request::Stats(b"detail on")]
        {
            round_trip(&request)?;
        }
    }

    #[test]
    fn replies_survive_the_wire(
        key in key(), client_flags: u32, value_len: u64, cas in prop::option::of(any::<u64>()),
        number: u64, name in "[a-z_]{1,30}", text in "[!-~][ -~]{0,40}[!-~]",
    ) {
        let mut header = ValueHeader::new(Key::new(&key).unwrap(), client_flags, value_len);
        header.cas = cas;
        let stat = Response::Stat { name: name.as_bytes(), value: text.as_bytes() };
        for response in [
            Response::Value(header), Response::End, Response::Stored, Response::NotStored,
            Response::Exists, Response::NotFound, Response::Deleted, Response::Touched, Response::Ok,
            Response::Reset, Response::Number(number), Response::Version(text.as_bytes()), stat,
            Response::Stat { name: name.as_bytes(), value: b"" },
            Response::Error(ErrorReply::UNKNOWN_COMMAND), Response::Error(ErrorReply::BAD_FORMAT),
            Response::Error(ErrorReply::NO_MEMORY), Response::Error(ErrorReply::SHUTDOWN_DISABLED),
            Response::Error(ErrorReply::MEMORY_LIMIT_TOO_SMALL),
        ] {
            reply_round_trip(&response)?;
        }
    }

    #[test]
    fn no_bytes_panic_and_each_line_is_used_up_once(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(keys_ahead(&bytes).count() <= 100);
        decode_all(&bytes);
        let _ = ReplyDecoder::new().decode(&bytes);
    }

    #[test]
    fn nothing_that_looks_like_a_request_panics(
        line in "(get|gets|set|cas|add|append|incr|decr|touch|gat|delete|flush_all|verbosity|stats\
                 |cache_memlimit|quit|version)( {1,3}([a-z]{1,3}|-?[0-9]{1,22}|noreply|[\\x00-\\xff])){0,7} ?\r?\n"
    ) {
        decode_all(line.as_bytes());
    }

    #[test]
    fn a_line_means_the_same_however_it_arrives(
        line in "(get|set|incr|gat) ?[a-z0-9 ]{0,40}\r?\n", cuts in vec(0usize..60, 0..5),
    ) {
        let whole = RequestDecoder::new().decode(line.as_bytes());
        let mut decoder = RequestDecoder::new();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < line.len()).collect();
        cuts.sort_unstable();
        for cut in cuts {
            prop_assert_eq!(decoder.decode(&line.as_bytes()[..cut]), Decoded::Incomplete);
        }
        prop_assert_eq!(decoder.decode(line.as_bytes()), whole);
    }
}

/// Decodes whatever comes, as a server does; every step must use at least one byte.
fn decode_all(mut bytes: &[u8]) {
    let mut decoder = RequestDecoder::new();
    while let Decoded::Request { line_len, .. } | Decoded::Refused { line_len, .. } =
        decoder.decode(bytes)
    {
        let (line, rest) = bytes.split_at(line_len);
        assert_eq!(line.last(), Some(&b'\n'));
        bytes = rest;
    }
}

#[test]
fn the_keys_of_whole_lines_are_known_ahead() {
    let input = b"get a\r\nset b 0 0 2\r\nxx\r\nversion\r\nget\r\ngets  c d\nincr e 1\r\nget \r\ndelete f\r\nget g";
    let keys: Vec<_> = keys_ahead(input).collect();
    let expected = [
        ("a", false),
        ("b", true),
        ("c", false),
        ("e", true),
        ("f", true),
    ];
    assert_eq!(keys, expected.map(|(key, writes)| (key.as_bytes(), writes)));
}

#[test]
fn a_line_is_repeated_if_the_next_is_the_same_to_its_end() {
    for (input, expected) in [
        ("incr a 1\r\nincr a 1\r\n", true),
        ("incr a 1\r\nincr a 1\r", false),
        ("incr a 1\r\nincr b 1\r\n", false),
        ("incr a 1\r\n", false),
        ("incr a 1", false),
    ] {
        assert_eq!(is_repeated(input.as_bytes(), 10), expected, "{input}");
    }
}

#[test]
fn a_line_is_repeated_as_often_as_it_comes_whole_and_at_most_64_times() {
    let line = b"incr a 1\r\n";
    for (times, rest, expected) in [
        (0, &b""[..], 0),
        (1, b"incr a 1", 0),
        (1, b"incr b 1\r\nincr a 1\r\n", 0),
        (3, b"incr a 1\r", 2),
        (3, b"incr a 1 noreply\r\n", 2),
        (LINES_AHEAD_MAX, b"", LINES_AHEAD_MAX - 1),
        (LINES_AHEAD_MAX + 1, b"", LINES_AHEAD_MAX),
        (LINES_AHEAD_MAX + 2, b"", LINES_AHEAD_MAX),
    ] {
        let input = [&line.repeat(times), rest].concat();
        assert_eq!(repeats(&input, line.len()), expected, "{times}");
    }
    assert_eq!(repeats(b"", 0), 0);
}

#[test]
fn no_more_than_64_lines_are_looked_at_ahead() {
    for (other_lines, keys) in [(LINES_AHEAD_MAX - 1, 1), (LINES_AHEAD_MAX, 0)] {
        let input = [&b"version\r\n".repeat(other_lines)[..], b"get a\r\n"].concat();
        assert_eq!(keys_ahead(&input).count(), keys);
    }
}

#[test]
fn an_unfinished_line_may_have_2048_bytes() {
    let line = vec![b'x'; LINE_LEN_MAX + 1];
    let mut decoder = RequestDecoder::new();
    assert_eq!(decoder.decode(&line[..LINE_LEN_MAX]), Decoded::Incomplete);
    assert_eq!(decoder.decode(&line), Decoded::Hangup);
}

#[test]
fn an_unfinished_get_may_have_two_mebibytes() {
    for start in ["get ", "gets ", "   get "] {
        let mut line = start.as_bytes().to_vec();
        line.resize(GET_LINE_LEN_MAX + 1, b'k');
        let mut decoder = RequestDecoder::new();
        assert_eq!(
            decoder.decode(&line[..GET_LINE_LEN_MAX]),
            Decoded::Incomplete
        );
        assert_eq!(decoder.decode(&line), Decoded::Hangup);
    }
    let mut line = b"gat 0 ".to_vec();
    line.resize(LINE_LEN_MAX + 1, b'k');
    assert_eq!(RequestDecoder::new().decode(&line), Decoded::Hangup);
}

#[test]
fn at_most_a_hundred_spaces_are_looked_past() {
    for (spaces, expected) in [(100, Decoded::Incomplete), (101, Decoded::Hangup)] {
        let mut line = vec![b' '; spaces];
        line.extend_from_slice(b"get ");
        line.resize(LINE_LEN_MAX + 1, b'k');
        assert_eq!(
            RequestDecoder::new().decode(&line),
            expected,
            "{spaces} spaces"
        );
    }
}

#[test]
fn a_finished_line_may_be_longer() {
    let line = [b"delete k ".as_slice(), &[b'x'; LINE_LEN_MAX], b"\r\n"].concat();
    assert!(matches!(
        RequestDecoder::new().decode(&line),
        Decoded::Request { .. }
    ));
}

#[test]
fn only_23_tokens_are_looked_at_for_a_noreply() {
    for (junk, noreply) in [(20, true), (21, false)] {
        let line = format!("delete k{} noreply\r\n", " x".repeat(junk));
        let Decoded::Request { request, .. } = RequestDecoder::new().decode(line.as_bytes()) else {
            panic!("a delete with surplus arguments is a delete");
        };
        assert_eq!(request.is_noreply(), noreply, "{junk} surplus arguments");
    }
}

#[test]
fn lines_under_four_bytes_are_malformed() {
    for line in ["\n", "\r\n", "a\r\n", "ab\n", " \r\n"] {
        let Decoded::Refused { refusal, line_len } = RequestDecoder::new().decode(line.as_bytes())
        else {
            panic!("{line:?} is no request");
        };
        assert_eq!(
            (refusal.reply, line_len),
            (ErrorReply::BAD_FORMAT, line.len()),
            "{line:?}"
        );
    }
    let Decoded::Refused { refusal, .. } = RequestDecoder::new().decode(b"ab\r\n") else {
        panic!("ab is no request");
    };
    assert_eq!(refusal.reply, ErrorReply::UNKNOWN_COMMAND);
}

#[test]
fn a_reply_line_of_8193_bytes_without_end_is_malformed() {
    let line = vec![b'S'; 8193];
    let mut decoder = ReplyDecoder::new();
    assert_eq!(decoder.decode(&line[..8192]), DecodedReply::Incomplete);
    assert_eq!(decoder.decode(&line), DecodedReply::Malformed);
}
