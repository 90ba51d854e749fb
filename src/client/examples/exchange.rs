//! Reads and writes values for programs in other languages, which test that both sides understand each other.
//!
//! Lines on standard input: `get KEY`, or `set KEY KIND VALUE` with a kind of `bytes`, `text` or `integer`. The answer to
//! a get is a line `KIND VALUE`, `miss`, or `error ...`; to a set, `stored`.
//!
//! ```text
//! cargo run -p nuthatch-client --features zlib --example exchange -- \
//!     [--codec python|php|dalli|native] 10.0.0.1:11211=1 10.0.0.2:11211=2
//! ```

use bytes::Bytes;
use nuthatch_client::{Builder, Client, Codec, Error, Kind, Payload, Ttl};
use std::io::{self, Write as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = settings(std::env::args().skip(1))?.build().await?;
    for line in io::stdin().lines() {
        let line = line?;
        let answer = match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
            ["get", key] => answer(client.get(key).await),
            ["set", key, kind, value] => {
                let payload = Payload::new(self::kind(kind)?, Bytes::from((*value).to_owned()));
                client.set(key, &payload, Ttl::NEVER).await?;
                "stored".to_owned()
            }
            _ => return Err(format!("neither get nor set: {line}").into()),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn settings(arguments: impl Iterator<Item = String>) -> Result<Builder, String> {
    let (mut builder, mut is_codec) = (Client::builder(), false);
    for argument in arguments {
        if is_codec {
            builder = builder.codec(match argument.as_str() {
                "python" => Codec::Python,
                "php" => Codec::Php,
                "dalli" => Codec::Dalli,
                "native" => Codec::Native,
                _ => return Err(format!("no codec {argument}")),
            });
        } else if argument != "--codec" {
            let (address, weight) = argument.rsplit_once('=').unwrap_or((&argument, "1"));
            let weight = weight
                .parse()
                .map_err(|error| format!("{argument}: {error}"))?;
            builder = builder.weighted(address, weight);
        }
        is_codec = argument == "--codec";
    }
    Ok(builder)
}

fn answer(found: Result<Option<Payload>, Error>) -> String {
    match found {
        Ok(Some(payload)) => {
            let kind = format!("{:?}", payload.kind).to_lowercase();
            format!("{kind} {}", String::from_utf8_lossy(&payload.bytes))
        }
        Ok(None) => "miss".to_owned(),
        Err(error) => format!("error {error}"),
    }
}

fn kind(word: &str) -> Result<Kind, String> {
    match word {
        "bytes" => Ok(Kind::Bytes),
        "text" => Ok(Kind::Text),
        "integer" => Ok(Kind::Integer),
        _ => Err(format!("no kind {word}")),
    }
}
