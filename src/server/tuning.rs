//! [`Tuning`]: what operators tune at runtime in memcached's slabs and LRUs. There are none here: the numbers are
//! checked, kept and shown by `stats settings`, and mean nothing else.

use nuthatch_protocol::{ErrorReply, Response, Tokens, parse_u32};

/// Most microseconds that a crawler may sleep.
const CRAWLER_SLEEP_MAX: u32 = 1_000_000;

/// Most of the memory that hot and warm items may take, in percent.
const PERCENT_MAX: u32 = 80;

/// Classes that memcached can have; items here are of class 1.
pub(crate) const CLASSES: u32 = 64;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tuning {
    pub(crate) crawler: bool,
    pub(crate) crawler_sleep: u32,
    pub(crate) crawler_to_crawl: u32,
    pub(crate) segmented: bool,
    pub(crate) hot_percent: u32,
    pub(crate) warm_percent: u32,
    pub(crate) hot_factor: f64,
    pub(crate) warm_factor: f64,
    pub(crate) temporary: bool,
    pub(crate) temporary_ttl: u32,
    pub(crate) automove: u32,
    pub(crate) automove_ratio: f64,
    pub(crate) automove_free_ratio: f64,
    pub(crate) automove_window: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            crawler: true,
            crawler_sleep: 100,
            crawler_to_crawl: 0,
            segmented: true,
            hot_percent: 20,
            warm_percent: 40,
            hot_factor: 0.2,
            warm_factor: 2.0,
            temporary: false,
            temporary_ttl: 61,
            automove: 1,
            automove_ratio: 0.8,
            automove_free_ratio: 0.01,
            automove_window: 30,
        }
    }
}

impl Tuning {
    /// `lru tune|mode|temp_ttl`.
    pub(crate) fn lru(&mut self, arguments: &[u8]) -> Response<'static> {
        let words: Vec<&[u8]> = Tokens::new(arguments).collect();
        let done = match *words {
            [tune, hot, warm, hot_factor, warm_factor, ..] if is_short_for(tune, b"tune") => {
                return self.tune([hot, warm], [hot_factor, warm_factor]);
            }
            [mode, b"flat", ..] if is_short_for(mode, b"mode") => {
                self.segmented = false;
                true
            }
            [mode, b"segmented", ..] if is_short_for(mode, b"mode") => {
                self.segmented = true;
                true
            }
            [ttl, seconds, ..] if is_short_for(ttl, b"temp_ttl") => self.temp_ttl(seconds),
            _ => false,
        };
        ok_or_unknown(done)
    }

    fn tune(&mut self, percents: [&[u8]; 2], factors: [&[u8]; 2]) -> Response<'static> {
        let (Some(hot), Some(warm), Some(hot_factor), Some(warm_factor)) = (
            percents.first().and_then(|word| parse_u32(word)),
            percents.last().and_then(|word| parse_u32(word)),
            factors.first().and_then(|word| parse_factor(word)),
            factors.last().and_then(|word| parse_factor(word)),
        ) else {
            return Response::Error(ErrorReply::UNKNOWN_COMMAND);
        };
        if hot.saturating_add(warm) > PERCENT_MAX {
            return Response::Error(ErrorReply::LRU_PERCENTS);
        }
        if hot_factor <= 0.0 || warm_factor <= 0.0 {
            return Response::Error(ErrorReply::LRU_FACTORS);
        }
        (self.hot_percent, self.warm_percent) = (hot, warm);
        (self.hot_factor, self.warm_factor) = (hot_factor, warm_factor);
        Response::Ok
    }

    fn temp_ttl(&mut self, seconds: &[u8]) -> bool {
        let seconds = std::str::from_utf8(seconds).ok();
        let Some(seconds) = seconds.and_then(|text| text.parse::<i32>().ok()) else {
            return false;
        };
        self.temporary = seconds >= 0;
        if let Ok(seconds) = u32::try_from(seconds) {
            self.temporary_ttl = seconds;
        }
        true
    }

    /// `slabs reassign|automove`.
    pub(crate) fn slabs(&mut self, arguments: &[u8]) -> Response<'static> {
        let words: Vec<&[u8]> = Tokens::new(arguments).collect();
        match *words {
            [word, source, destination] if is_short_for(word, b"reassign") => {
                reassign(source, destination)
            }
            [word, level, ..] if is_short_for(word, b"automove") => {
                self.automove(level, words.get(2).copied())
            }
            _ => Response::Error(ErrorReply::UNKNOWN_COMMAND),
        }
    }

    fn automove(&mut self, level: &[u8], number: Option<&[u8]>) -> Response<'static> {
        if is_short_for(level, b"ratio") {
            let ratio = number.and_then(parse_factor);
            self.automove_ratio = ratio.unwrap_or(self.automove_ratio);
            return ok_or_unknown(ratio.is_some());
        }
        if is_short_for(level, b"freeratio") {
            let ratio = number.and_then(parse_factor);
            self.automove_free_ratio = ratio.unwrap_or(self.automove_free_ratio);
            return ok_or_unknown(ratio.is_some());
        }
        let is_window = is_short_for(level, b"window");
        let Some(number) = if is_window { number } else { Some(level) }.and_then(parse_u32) else {
            return Response::Error(ErrorReply::BAD_FORMAT);
        };
        if is_window {
            self.automove_window = number;
        } else if number <= 2 {
            self.automove = number;
        } else {
            return Response::Error(ErrorReply::UNKNOWN_COMMAND);
        }
        Response::Ok
    }

    /// `lru_crawler` but for its dumps: sweeps go on by themselves and need nobody to start them.
    pub(crate) fn lru_crawler(&mut self, arguments: &[u8]) -> Response<'static> {
        let words: Vec<&[u8]> = Tokens::new(arguments).collect();
        match *words {
            [word, classes] if is_short_for(word, b"crawl") => self.crawl(classes),
            [word, number] if is_short_for(word, b"tocrawl") => match parse_u32(number) {
                Some(number) => {
                    self.crawler_to_crawl = number;
                    Response::Ok
                }
                None => Response::Error(ErrorReply::BAD_FORMAT),
            },
            [word, micros] if is_short_for(word, b"sleep") => match parse_u32(micros) {
                Some(micros) if micros <= CRAWLER_SLEEP_MAX => {
                    self.crawler_sleep = micros;
                    Response::Ok
                }
                Some(_) => Response::Error(ErrorReply::CRAWLER_SLEEP_TOO_LONG),
                None => Response::Error(ErrorReply::BAD_FORMAT),
            },
            [word] if is_short_for(word, b"enable") => {
                self.crawler = true;
                Response::Ok
            }
            [word] if is_short_for(word, b"disable") => {
                self.crawler = false;
                Response::Ok
            }
            _ => Response::Error(ErrorReply::UNKNOWN_COMMAND),
        }
    }

    fn crawl(&self, classes: &[u8]) -> Response<'static> {
        if !self.crawler {
            Response::Error(ErrorReply::CRAWLER_DISABLED)
        } else if are_classes(classes) {
            Response::Ok
        } else {
            Response::Error(ErrorReply::INVALID_CLASS)
        }
    }
}

/// Whether `word` is `name` or begins it, as memcached 1.6.45 compares.
pub(crate) fn is_short_for(word: &[u8], name: &[u8]) -> bool {
    name.starts_with(word)
}

/// Whether these are all classes, or some by commas.
pub(crate) fn are_classes(classes: &[u8]) -> bool {
    let is_class =
        |class: &[u8]| parse_u32(class).is_some_and(|class| (1..CLASSES).contains(&class));
    classes == b"all" || classes == b"hash" || classes.split(|byte| *byte == b',').all(is_class)
}

fn reassign(source: &[u8], destination: &[u8]) -> Response<'static> {
    let class = |word: &[u8]| {
        let text = std::str::from_utf8(word).ok()?;
        text.parse::<i32>().ok()
    };
    let (Some(source), Some(destination)) = (class(source), class(destination)) else {
        return Response::Error(ErrorReply::BAD_FORMAT);
    };
    let is_class = |class: i32| u32::try_from(class).is_ok_and(|class| class < CLASSES);
    Response::Error(if source == destination {
        ErrorReply::SAME_CLASS
    } else if is_class(source) && is_class(destination) {
        ErrorReply::NO_SPARE_PAGES
    } else {
        ErrorReply::INVALID_CLASSES
    })
}

fn parse_factor(word: &[u8]) -> Option<f64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

const fn ok_or_unknown(done: bool) -> Response<'static> {
    if done {
        Response::Ok
    } else {
        Response::Error(ErrorReply::UNKNOWN_COMMAND)
    }
}
