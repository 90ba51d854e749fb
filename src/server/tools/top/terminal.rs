//! The terminal: one thread asks each server, this one draws and listens to keys.

use super::sample::{Row, Sampler};
use super::view::View;
use crate::clock::Clock;
use crate::tools::paint::Paint;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a key may wait before it is noticed.
const KEY_PAUSE: Duration = Duration::from_millis(50);

/// Answers that wait to be drawn.
const WAITING_MAX: usize = 1024;

type Sampled = (usize, Result<Row, String>);

/// Draws until somebody has seen enough, or as many times as there shall be.
pub(super) fn run(
    samplers: Vec<Sampler>,
    interval: Duration,
    count: Option<u32>,
) -> io::Result<()> {
    let addresses = samplers.iter().map(|sampler| sampler.address().to_string());
    let mut view = View::new(addresses.collect(), interval, Paint::stdout().is_on());
    let mut terminal = ratatui::try_init()?;
    let result = draw_all(&mut terminal, &mut view, samplers, (interval, count));
    ratatui::try_restore()?;
    result
}

fn draw_all(
    terminal: &mut ratatui::DefaultTerminal,
    view: &mut View,
    samplers: Vec<Sampler>,
    (interval, count): (Duration, Option<u32>),
) -> io::Result<()> {
    let (sender, sampled) = queue();
    for (index, sampler) in samplers.into_iter().enumerate() {
        let sender = sender.clone();
        // They end with the process, or when nobody listens any more.
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || sample(index, sampler, interval, &sender))?;
    }
    let clock = Clock::machine();
    let (mut next_tick, mut ticks) = (interval, 0u32);
    let mut has_changed = true;
    loop {
        if has_changed {
            terminal.draw(|frame| view.draw(frame))?;
        }
        has_changed = event::poll(KEY_PAUSE)?;
        if has_changed && is_end(&event::read()?, view) {
            return Ok(());
        }
        for (index, row) in sampled.try_iter() {
            view.update(index, row);
            has_changed = true;
        }
        if clock.precise() >= next_tick {
            next_tick = next_tick.saturating_add(interval).max(clock.precise());
            view.tick();
            has_changed = true;
            ticks = ticks.saturating_add(1);
            if count.is_some_and(|count| ticks >= count) {
                return Ok(());
            }
        }
    }
}

fn queue() -> (SyncSender<Sampled>, Receiver<Sampled>) {
    sync_channel(WAITING_MAX)
}

fn sample(index: usize, mut sampler: Sampler, interval: Duration, sender: &SyncSender<Sampled>) {
    loop {
        let row = sampler.sample().map_err(|error| error.to_string());
        if sender.send((index, row)).is_err() {
            return;
        }
        thread::sleep(interval);
    }
}

/// Tells the view of a key; returns whether that was the end.
fn is_end(event: &Event, view: &mut View) -> bool {
    let Event::Key(key) = event else {
        // The window has another size.
        return false;
    };
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let is_interrupt =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    if is_interrupt || key.code == KeyCode::Char('q') {
        return true;
    }
    view.press(key.code);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_1024_answers_wait_to_be_drawn() {
        let (sender, drawn) = queue();
        for index in 0..1024 {
            sender.try_send((index, Ok(Row::default()))).unwrap();
        }
        assert!(sender.try_send((1024, Ok(Row::default()))).is_err());
        assert_eq!(drawn.try_iter().count(), WAITING_MAX);
        sender.try_send((1024, Ok(Row::default()))).unwrap();
    }
}
