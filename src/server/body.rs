//! Reads the value of one storage command: small ones in place, large ones straight into their final
//! place, refused ones into nothing.

use crate::input::Input;
use bytes::{BufMut, Bytes};
use nuthatch_protocol::Storage;
use nuthatch_store::LARGE_VALUE_LEN_MIN;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a large value's buffer grows by at least.
const GROWTH_LEN_MIN: usize = 16 * 1024;

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
pub(crate) const fn body_len(request: &Storage<'_>) -> u64 {
    request.value_len.saturating_add(LINE_END.len() as u64)
}

/// Looks at the bytes behind the line.
pub(crate) fn arrived<'a>(request: &Storage<'_>, after_line: &'a [u8]) -> Arrived<'a> {
    let body = usize::try_from(body_len(request))
        .ok()
        .and_then(|len| after_line.get(..len));
    match body.map(|body| body.strip_suffix(LINE_END)) {
        Some(Some(value)) => Arrived::Value(value),
        Some(None) => Arrived::Unterminated,
        None if request.value_len >= LARGE_VALUE_LEN_MIN as u64 => Arrived::PartlyLarge,
        None => Arrived::Partly,
    }
}

/// Reads a large value, of which `begun` has arrived. `None` if no line end is behind it.
///
/// The buffer grows with the bytes received, never with the bytes announced: it is at most twice
/// what the client has really sent, or [`GROWTH_LEN_MIN`].
///
/// # Cancel safety
/// Not cancel-safe: what was read is lost. Only a closing connection cancels it.
pub(crate) async fn read_large<S>(
    stream: &mut S,
    request: &Storage<'_>,
    begun: &[u8],
) -> io::Result<Option<Bytes>>
where
    S: AsyncRead + Unpin,
{
    let body_len = usize::try_from(body_len(request)).unwrap_or(usize::MAX);
    let mut body = begun.to_vec();
    while body.len() < body_len {
        let missing = body_len.saturating_sub(body.len());
        if body.len() == body.capacity() {
            // Exactly: what is left over would stay with the item, and nobody would charge it.
            body.reserve_exact(missing.min(body.len().max(GROWTH_LEN_MIN)));
        }
        let room = body.capacity().saturating_sub(body.len());
        let read = stream
            .read_buf(&mut (&mut body).limit(missing.min(room)))
            .await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let value_len = body_len.saturating_sub(LINE_END.len());
    let terminated = body.ends_with(LINE_END);
    body.truncate(value_len);
    Ok(terminated.then(|| Bytes::from(body)))
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
    let skipped = tokio::io::copy(&mut stream.take(missing), &mut tokio::io::sink()).await?;
    if skipped < missing {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuthatch_protocol::{Key, StorageMode};
    use tokio::io::{AsyncWriteExt, duplex};

    /// What is read of a value when so much of it had come with its line.
    fn read(value_len: usize, begun_len: usize, line_end: &[u8]) -> io::Result<Option<Bytes>> {
        let request = Storage::new(StorageMode::Set, Key::new(b"k").unwrap(), value_len as u64);
        let body = [vec![7; value_len], line_end.to_vec()].concat();
        let (begun, rest) = body.split_at(begun_len);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = duplex(10_000);
            let write = async {
                client.write_all(rest).await.unwrap();
                drop(client);
            };
            tokio::join!(read_large(&mut server, &request, begun), write).0
        })
    }

    #[test]
    fn a_large_value_takes_no_more_memory_than_it_is_charged() {
        for value_len in [16_384, 50_000, 100_000, 1_000_000] {
            for begun_len in [0, 1, 9_999] {
                let value = read(value_len, begun_len, LINE_END).unwrap().unwrap();
                assert_eq!(value.len(), value_len);
                let capacity = value.try_into_mut().unwrap().capacity();
                assert!(capacity <= value_len + 2, "{value_len}: {capacity}");
            }
        }
    }

    #[test]
    fn a_value_without_its_line_end_is_no_value() {
        assert_eq!(read(20_000, 5, b"ab").unwrap(), None);
        assert_eq!(
            read(20_000, 5, b"\r").unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
