//! [`View`]: what is on the terminal, from 80 columns and 24 lines on.

use super::columns::{COLUMNS, Column, cells, compared, percent};
use super::panel::{Panel, shortened};
use super::sample::{Rates, Row};
use crate::tools::shown;
use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

/// Moments that are kept for the sparklines: no terminal is wider.
const HISTORY_MAX: usize = 1000;

/// Columns of the labels before the sparklines.
const LABEL_WIDTH: u16 = 20;

/// Columns of all numbers of a server, and the fewest of its name.
const NUMBERS_WIDTH: usize = 61;
const NAME_WIDTH_MIN: usize = 10;

/// Behind the name of a server that drains, for who sees no colours; with a space behind it.
const DRAINS: &str = "*";
const GAP: usize = 2;

struct Server {
    address: String,
    /// `None` until it has answered.
    row: Option<Result<Row, String>>,
}

/// What is shown, and how.
pub(super) struct View {
    servers: Vec<Server>,
    interval: Duration,
    has_colours: bool,
    sorted_by: Column,
    /// Of the servers as they are sorted.
    selected: usize,
    panel: Panel,
    requests: VecDeque<u64>,
    hit_permille: VecDeque<u64>,
}

impl View {
    pub(super) fn new(addresses: Vec<String>, interval: Duration, has_colours: bool) -> Self {
        let servers = addresses.into_iter();
        Self {
            servers: servers
                .map(|address| Server { address, row: None })
                .collect(),
            interval,
            has_colours,
            sorted_by: Column::Server,
            selected: 0,
            panel: Panel::Latencies,
            requests: VecDeque::new(),
            hit_permille: VecDeque::new(),
        }
    }

    /// A server has answered, or not.
    pub(super) fn update(&mut self, index: usize, row: Result<Row, String>) {
        if let Some(server) = self.servers.get_mut(index) {
            server.row = Some(row);
        }
    }

    /// An interval has passed.
    pub(super) fn tick(&mut self) {
        let total = self.total();
        let permille = total.hit_ratio.unwrap_or_default() * 1000.0;
        for (history, number) in [
            (&mut self.requests, total.requests),
            (&mut self.hit_permille, permille),
        ] {
            if history.len() >= HISTORY_MAX {
                history.pop_front();
            }
            history.push_back(rounded(number));
        }
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyCode) {
        let last = self.servers.len().saturating_sub(1);
        match key {
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = self.selected.saturating_add(1).min(last),
            KeyCode::Char('s') => {
                let mut columns = COLUMNS.iter().map(|(column, ..)| *column).cycle();
                columns.find(|column| *column == self.sorted_by);
                self.sorted_by = columns.next().unwrap_or(Column::Server);
            }
            KeyCode::Char('n') => self.toggle(Panel::Namespaces),
            KeyCode::Char('h') => self.toggle(Panel::HotKeys),
            KeyCode::Char('l') => self.panel = Panel::Latencies,
            KeyCode::Char('?') => self.toggle(Panel::Help),
            // All others mean nothing.
            _ => {}
        }
    }

    fn toggle(&mut self, panel: Panel) {
        self.panel = if self.panel == panel {
            Panel::Latencies
        } else {
            panel
        };
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let list_len = self.servers.len() + usize::from(self.servers.len() > 1) + 1;
        let list_len = u16::try_from(list_len).unwrap_or(u16::MAX);
        let [title, _, requests, _, hits, _, list, _, panel] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Length(list_len.min(area.height / 2)),
            Constraint::Length(1),
            Constraint::Fill(1),
        ])
        .areas(area);
        self.draw_title(frame, title);
        let total = self.total();
        let per_second = ("requests/s", shown::count(total.requests));
        draw_label(frame, requests, &per_second);
        self.draw_history(frame, requests, &self.requests, None);
        draw_label(frame, hits, &("hit rate", percent(total.hit_ratio)));
        self.draw_history(frame, hits, &self.hit_permille, Some(1000));
        self.draw_servers(frame, list, &total);
        self.draw_panel(frame, panel);
    }

    fn draw_title(&self, frame: &mut Frame<'_>, area: Rect) {
        const KEYS: &str = "q quit  ? help";
        let count = self.servers.len();
        let servers = if count == 1 { "server" } else { "servers" };
        let title = format!("nuthatch top: {count} {servers}, every {:?}", self.interval);
        let gap = usize::from(area.width).saturating_sub(KEYS.len());
        let line = format!("{title:<gap$}{KEYS}");
        frame.render_widget(Line::styled(line, Modifier::BOLD), area);
    }

    fn draw_history(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        history: &VecDeque<u64>,
        max: Option<u64>,
    ) {
        let right = Layout::horizontal([Constraint::Length(LABEL_WIDTH), Constraint::Fill(1)]);
        let [_, right] = right.areas(area);
        // The newest is at the right edge.
        let width = usize::from(right.width);
        let shown = history.len().min(width);
        let mut data = vec![0; width - shown];
        data.extend(history.iter().skip(history.len() - shown));
        let sparkline = Sparkline::default()
            .style(self.colour(Color::Cyan))
            .data(&data);
        let highest = data.iter().copied().max().unwrap_or_default();
        frame.render_widget(sparkline.max(max.unwrap_or(highest).max(1)), right);
    }

    fn draw_servers(&self, frame: &mut Frame<'_>, area: Rect, total: &Rates) {
        let longest = self
            .servers
            .iter()
            .map(|server| server.address.chars().count());
        let name_width = usize::from(area.width)
            .saturating_sub(NUMBERS_WIDTH)
            .min(longest.max().unwrap_or_default().saturating_add(GAP))
            .max(NAME_WIDTH_MIN);
        let mut lines = vec![self.head(name_width)];
        let room = usize::from(area.height).saturating_sub(1);
        let is_summed = self.servers.len() > 1;
        let room_for_servers = room.saturating_sub(is_summed.into()).max(1);
        // The chosen one is always there to be seen.
        let first = self.selected.saturating_sub(room_for_servers - 1);
        let sorted = self.sorted();
        for (place, server) in sorted.iter().enumerate().skip(first).take(room_for_servers) {
            let line = self.line(server, name_width);
            lines.push(if place == self.selected && is_summed {
                line.patch_style(Modifier::REVERSED)
            } else {
                line
            });
        }
        if is_summed {
            let line = cells(&sum(&self.servers, total));
            let text = format!("{:<name_width$}{line}", "all");
            lines.push(Line::styled(text, Modifier::BOLD));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// The heads of the columns; an arrow is at the one that they are sorted by.
    fn head(&self, name_width: usize) -> Line<'static> {
        let heads = COLUMNS.iter().map(|(column, head, width)| {
            let arrow = if *column == self.sorted_by { "↓" } else { "" };
            let head = format!("{arrow}{head}");
            if *column == Column::Server {
                format!("{head:<name_width$}")
            } else {
                format!("{head:>width$}")
            }
        });
        Line::styled(heads.collect::<String>(), Modifier::UNDERLINED)
    }

    fn line(&self, server: &Server, name_width: usize) -> Line<'static> {
        let mut name = shortened(&server.address, name_width.saturating_sub(GAP));
        if matches!(&server.row, Some(Ok(row)) if row.is_draining) {
            name.push_str(DRAINS);
        }
        let name = format!("{name:<name_width$}");
        match &server.row {
            None => Line::raw(name + "  ..."),
            Some(Err(error)) => {
                // The address has been said, and what to do is below for the chosen one.
                let (_, error) = error.split_once(": ").unwrap_or(("", error));
                let (error, _) = error.split_once(". ").unwrap_or((error, ""));
                let style = self.colour(Color::Red);
                Line::from(vec![
                    Span::raw(name),
                    Span::styled(format!("  {error}"), style),
                ])
            }
            Some(Ok(row)) => {
                let style = if row.is_draining {
                    self.colour(Color::Yellow)
                } else {
                    Style::new()
                };
                Line::from(vec![Span::styled(name, style), Span::raw(cells(row))])
            }
        }
    }

    fn draw_panel(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines = match self.sorted().get(self.selected) {
            _ if self.panel == Panel::Help => Panel::help(),
            Some(Server {
                address,
                row: Some(Ok(row)),
            }) => self.panel.lines(address, row, area.width.into()),
            Some(Server {
                row: Some(Err(error)),
                ..
            }) => vec![error.clone()],
            Some(_) | None => Vec::new(),
        };
        let lines = lines.into_iter().enumerate().map(|(index, line)| {
            let style = if index == 0 && self.panel != Panel::Help {
                Modifier::BOLD
            } else {
                Modifier::empty()
            };
            Line::styled(line, style)
        });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
    }

    fn colour(&self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// What all servers together do.
    fn total(&self) -> Rates {
        let rows = self.rows().filter_map(|row| row.rates.as_ref());
        let mut total = rows.fold(Rates::default(), |sum, rates| Rates {
            requests: sum.requests + rates.requests,
            gets: sum.gets + rates.gets,
            hits: sum.hits + rates.hits,
            sets: sum.sets + rates.sets,
            evictions: sum.evictions + rates.evictions,
            hit_ratio: None,
        });
        total.hit_ratio = (total.gets > 0.0).then(|| total.hits / total.gets);
        total
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        let rows = self.servers.iter().filter_map(|server| server.row.as_ref());
        rows.filter_map(|row| row.as_ref().ok())
    }

    /// The servers, in the order of the column; those that do not answer come last.
    fn sorted(&self) -> Vec<&Server> {
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        servers.sort_by(|a, b| match (&a.row, &b.row) {
            (Some(Ok(a)), Some(Ok(b))) => compared(self.sorted_by, a, b),
            _ if self.sorted_by == Column::Server => Ordering::Equal,
            (Some(Ok(_)), _) => Ordering::Less,
            (_, Some(Ok(_))) => Ordering::Greater,
            _ => Ordering::Equal,
        });
        servers
    }
}

/// What is now, beside what has been.
fn draw_label(frame: &mut Frame<'_>, area: Rect, (label, now): &(&str, String)) {
    let label = Line::from(vec![
        Span::raw(format!("{label:<11}")),
        Span::styled(format!("{now:>7}"), Modifier::BOLD),
    ]);
    frame.render_widget(Paragraph::new(vec![Line::raw(""), label]), area);
}

/// All servers as if they were one.
fn sum(servers: &[Server], total: &Rates) -> Row {
    let rows = servers
        .iter()
        .filter_map(|server| server.row.as_ref()?.as_ref().ok());
    let sum = Row {
        rates: Some(*total),
        ..Row::default()
    };
    rows.fold(sum, |sum, row| Row {
        items: sum.items.saturating_add(row.items),
        bytes: sum.bytes.saturating_add(row.bytes),
        limit_bytes: sum.limit_bytes.saturating_add(row.limit_bytes),
        connections: sum.connections.saturating_add(row.connections),
        ..sum
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what does not fit is shown as the nearest that does"
)]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests;
