//! Answers that may have no end: lists of all items, and what happens.

use crate::connection::Peer;
use crate::counters::Count;
use crate::dump::Dump;
use crate::socket::Transport;
use crate::stats_conns::State;
use crate::turn::Turn;
use crate::watch::{self, Streams, Watching};
use nuthatch_protocol::{ErrorReply, Response};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a step of a list takes of a turn's keys: about what showing a segment full of items costs.
const KEYS_PER_LIST_STEP: u32 = 1024;

impl<'w, S> Peer<'w, S>
where
    S: Transport,
{
    /// Sends a list of all items.
    pub(crate) async fn list(&mut self, turn: &mut Turn<'w>, dump: &mut Dump) -> io::Result<()> {
        self.output.make_room(self.worker.buffers());
        self.output.put_text(dump.begin());
        let mut text = Vec::new();
        let mut more = true;
        while more {
            text.clear();
            more = dump.step(self.worker.shared(), turn.context.now, &mut text);
            self.output.make_room(self.worker.buffers());
            self.output.put_text(&text);
            turn.keys_left = turn.keys_left.saturating_sub(KEYS_PER_LIST_STEP);
            self.give_way(turn).await?;
        }
        self.output.make_room(self.worker.buffers());
        self.output.put_text(dump.end());
        turn.requests_left = turn.requests_left.saturating_sub(1);
        Ok(())
    }

    /// Tells what happens until the client leaves, whatever it says; returns whether that has begun.
    pub(crate) async fn watch(
        &mut self,
        turn: &mut Turn<'w>,
        streams: Streams,
    ) -> io::Result<bool> {
        let worker = self.worker;
        let Some(watching) = Watching::begin(worker.shared(), streams) else {
            self.reply(Response::Error(ErrorReply::TOO_MANY_WATCHERS), false);
            return Ok(false);
        };
        self.reply(Response::Ok, false);
        self.flush(turn).await?;
        self.show(State::Watching);
        let mut ignored = [0; 512];
        loop {
            tokio::select! {
                () = watching.ready() => {}
                read = self.stream.read(&mut ignored) => {
                    if read? == 0 {
                        return Ok(true);
                    }
                    continue;
                }
            }
            let text = watching.take();
            self.stream.write_all(&text).await?;
            self.stream.flush().await?;
            worker
                .counters()
                .add(Count::BytesWritten, text.len() as u64);
            tokio::time::sleep(watch::PAUSE).await;
        }
    }
}
