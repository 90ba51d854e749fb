//! Reads the value of one storage command: small ones in place, large ones straight into their final
//! place, refused ones into nothing.

use crate::buffer_pool::BUFFER_LEN;
use crate::input::Input;
use crate::socket::Transport;
use crate::storing::Storing;
use bytes::Bytes;
use nuthatch_store::{Arriving, LARGE_VALUE_LEN_MIN};
use std::future::poll_fn;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a large value's buffer grows by at least.
const GROWTH_LEN_MIN: usize = 16 * 1024;

/// What may be read behind a value.
const BEHIND_LEN_MAX: usize = BUFFER_LEN;

/// What must be behind a value.
pub(crate) const LINE_END: &[u8] = b"\r\n";

/// What of a storage command has arrived.
#[derive(Debug)]
pub(crate) enum Arrived<'a> {
    /// The value, whole and properly ended.
    Value(&'a [u8]),
    /// As many bytes as were announced, but no line end behind them.
    Unterminated,
    /// Not everything, and it is small: wait for the rest.
    Partly,
    /// Not everything, and it is large: see [`read_large`].
    PartlyLarge,
}

/// The bytes behind the line that belong to the command.
pub(crate) const fn body_len(request: &Storing<'_>) -> u64 {
    request.value_len().saturating_add(LINE_END.len() as u64)
}

/// Looks at the bytes behind the line.
pub(crate) fn arrived<'a>(request: &Storing<'_>, after_line: &'a [u8]) -> Arrived<'a> {
    let body = usize::try_from(body_len(request))
        .ok()
        .and_then(|len| after_line.get(..len));
    match body.map(|body| body.strip_suffix(LINE_END)) {
        Some(Some(value)) => Arrived::Value(value),
        Some(None) => Arrived::Unterminated,
        None if request.value_len() >= LARGE_VALUE_LEN_MIN as u64 => Arrived::PartlyLarge,
        None => Arrived::Partly,
    }
}

/// A large value that has been read.
#[derive(Debug)]
pub(crate) enum Received {
    /// The value, properly ended.
    Value(Bytes),
    /// No line end was behind it.
    Unterminated,
    /// There was no memory for it.
    NoMemory,
}

/// Reads a large value, of which `begun` has arrived; returns what has been read behind it, too.
///
/// The buffer is one that another value has left, or it grows with the bytes received, never with the bytes announced:
/// it is at most twice what the client has really sent, or [`GROWTH_LEN_MIN`]. All of it is charged to `arriving`.
///
/// # Cancel safety
/// Not cancel-safe: what was read is lost. Only a closing connection cancels it.
pub(crate) async fn read_large<S: Transport>(
    stream: &mut S,
    request: &Storing<'_>,
    begun: &[u8],
    mut arriving: Arriving<'_>,
) -> io::Result<(Received, Vec<u8>)> {
    let body_len = usize::try_from(body_len(request)).unwrap_or(usize::MAX);
    let mut body = arriving.take_buffer(body_len).unwrap_or_default();
    if body.capacity() > 0 {
        body.shrink_to(body_len.saturating_add(BEHIND_LEN_MAX));
        body.extend_from_slice(begun);
    }
    while body.len() < body_len {
        let missing = body_len.saturating_sub(body.len());
        if body.len() == body.capacity() {
            let growth = missing.min(body.len().max(begun.len()).max(GROWTH_LEN_MIN));
            if !arriving.grow(growth as u64) {
                let arrived = body.len().max(begun.len());
                drop((body, arriving));
                skip_from(stream, body_len.saturating_sub(arrived) as u64).await?;
                return Ok((Received::NoMemory, Vec::new()));
            }
            // Exactly: what is left over would stay with the item, and nobody would charge it.
            body.reserve_exact(growth);
            if body.is_empty() {
                body.extend_from_slice(begun);
                continue;
            }
        }
        if poll_fn(|context| stream.poll_receive(context, &mut body)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // A buffer that another value has left may be longer.
    let behind = body.split_off(body_len);
    body.shrink_to(body_len);
    let received = if body.ends_with(LINE_END) {
        body.truncate(body_len.saturating_sub(LINE_END.len()));
        Received::Value(Bytes::from(body))
    } else {
        Received::Unterminated
    };
    Ok((received, behind))
}

/// Skips `len` bytes: what of them has arrived, then what is still to come. Returns how many had to
/// be read.
///
/// # Cancel safety
/// Not cancel-safe: the count is lost. Only a closing connection cancels it.
pub(crate) async fn skip<S>(stream: &mut S, input: &mut Input, len: u64) -> io::Result<u64>
where
    S: AsyncRead + Unpin,
{
    let arrived = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .min(input.unread().len());
    input.consume(arrived);
    let missing = len.saturating_sub(arrived as u64);
    skip_from(stream, missing).await?;
    Ok(missing)
}

async fn skip_from<S>(stream: &mut S, len: u64) -> io::Result<()>
where
    S: AsyncRead + Unpin,
{
    let skipped = tokio::io::copy(&mut stream.take(len), &mut tokio::io::sink()).await?;
    if skipped < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_protocol::{Key, Storage, StorageMode};
    use nuthatch_store::{Config, Expiry, NewItem, NewValue, Store, Time};
    use tokio::io::{AsyncWriteExt, duplex};

    fn store(memory_limit_bytes: u64) -> Store {
        Store::new(&Config {
            memory_limit_bytes,
            ..Config::default()
        })
    }

    /// What is read of a value when so much of it had come with its line, and what follows it.
    fn read(
        store: &Store,
        value_len: usize,
        begun_len: usize,
        line_end: &[u8],
    ) -> io::Result<(Received, Vec<u8>)> {
        let request = Storage::new(StorageMode::Set, Key::new(b"k").unwrap(), value_len as u64);
        let request = Storing::Classic(request);
        let body = [vec![7; value_len], line_end.to_vec()].concat();
        let (begun, rest) = body.split_at(begun_len);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = duplex(1 << 20);
            let write = async {
                client.write_all(rest).await.unwrap();
                drop(client);
            };
            let read = async {
                let arriving = store.arriving();
                let read = read_large(&mut server, &request, begun, arriving).await?;
                let (received, mut rest) = read;
                assert!(rest.len() <= BEHIND_LEN_MAX);
                server.read_to_end(&mut rest).await?;
                Ok((received, rest))
            };
            tokio::join!(write, read).1
        })
    }

    #[test]
    fn what_is_behind_a_value_in_the_longer_buffer_of_another_is_kept_up_to_64_kib() {
        let store = store(64 << 20);
        for (other_len, value_len, behind_len) in [
            (90_000, 60_000, 4),
            (900_000, 600_000, BEHIND_LEN_MAX),
            (900_000, 600_000, BEHIND_LEN_MAX + 1),
        ] {
            let other = NewItem {
                client_flags: 0,
                expiry: Expiry::Never,
                value: NewValue::Copied(&vec![7; other_len]),
            };
            let _ = store.set(b"other", other, Time::from_millis(0));
            assert!(store.delete(b"other", Time::from_millis(0)));
            assert!(store.snapshot().spare_bytes >= other_len as u64);
            let behind = vec![b'n'; behind_len];
            let (received, rest) =
                read(&store, value_len, 10, &[LINE_END, &behind].concat()).unwrap();
            assert!(matches!(received, Received::Value(value) if value == vec![7; value_len]));
            assert!(rest == behind);
            assert_eq!(store.snapshot().spare_bytes, 0);
        }
    }

    #[test]
    fn a_large_value_takes_no_more_memory_than_it_is_charged() {
        let store = store(64 << 20);
        for value_len in [16_384, 50_000, 100_000, 1_000_000] {
            for begun_len in [0, 1, 9_999, 16_384] {
                let (received, _) = read(&store, value_len, begun_len, LINE_END).unwrap();
                let Received::Value(value) = received else {
                    panic!("{received:?}");
                };
                assert_eq!(value, vec![7; value_len]);
                let capacity = value.try_into_mut().unwrap().capacity();
                assert!(capacity <= value_len + 2, "{value_len}: {capacity}");
            }
        }
        assert_eq!(store.snapshot().arriving_bytes, 0);
    }

    #[test]
    fn a_value_without_its_line_end_is_no_value() {
        let store = store(64 << 20);
        let (received, _) = read(&store, 20_000, 5, b"ab").unwrap();
        assert!(matches!(received, Received::Unterminated));
        assert_eq!(
            read(&store, 20_000, 5, b"\r").unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_value_without_memory_is_read_to_its_end() {
        // Half of it is for values that are arriving.
        let store = store(2 * 100_002);
        for (value_len, is_refused) in [(100_000, false), (100_001, true)] {
            for begun_len in [0, 60_000] {
                let end = b"\r\nget";
                let (received, rest) = read(&store, value_len, begun_len, end).unwrap();
                assert_eq!(matches!(received, Received::NoMemory), is_refused);
                assert_eq!(rest, b"get");
                assert_eq!(store.snapshot().arriving_bytes, 0);
            }
        }
        let error = read(&store, 200_000, 5, b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
