//! [`Ttl`]: how long an item shall live.

use crate::clock;
use nuthatch_protocol::Exptime;
use nuthatch_protocol::limits::EXPTIME_RELATIVE_MAX;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An item stored with it is dead at once: the first moment, long ago, that is no number of seconds from now on. A
/// negative number says the same, but twemproxy takes none.
pub(crate) const EXPIRED: Exptime = Exptime::new(2_592_001);

/// How long an item shall live. Servers count whole seconds.
///
/// ```
/// use nuthatch_client::Ttl;
///
/// let an_hour = Ttl::secs(3600);
/// // Items that are stored together need not expire together.
/// let about_an_hour = an_hour.jitter(0.1);
/// # let _ = (about_an_hour, Ttl::NEVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ttl {
    life: Life,
    jitter: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Never,
    For(Duration),
    Until(Duration),
}

impl Ttl {
    /// Until it is deleted or evicted.
    pub const NEVER: Self = Self::new(Life::Never);

    const fn new(life: Life) -> Self {
        Self { life, jitter: 0.0 }
    }

    /// This many seconds; 0 is expired at once. More than 30 days travel as a point in time, as the protocol wants it.
    pub const fn secs(seconds: u32) -> Self {
        Self::new(Life::For(Duration::from_secs(seconds as u64)))
    }

    /// This long, rounded up to whole seconds.
    pub const fn after(duration: Duration) -> Self {
        Self::new(Life::For(duration))
    }

    /// Until then; a time that is past is expired at once.
    pub fn at(time: SystemTime) -> Self {
        Self::new(Life::Until(
            time.duration_since(UNIX_EPOCH).unwrap_or_default(),
        ))
    }

    /// Up to this share longer or shorter, at random, each time it is used; at most 1, and nothing for
    /// [`NEVER`](Self::NEVER) and [`at`](Self::at).
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    pub(crate) fn exptime(self) -> Exptime {
        self.exptime_at(clock::unix_time(), fastrand::f64())
    }

    fn exptime_at(self, now: Duration, random: f64) -> Exptime {
        let absolute = |time: Duration| {
            // Servers keep 31 bits; what is beyond them lasts as long as anything can.
            let seconds = i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
            Exptime::new(seconds)
        };
        match self.life {
            Life::Never => Exptime::NEVER,
            Life::For(Duration::ZERO) => EXPIRED,
            Life::For(life) => {
                let factor = 1.0 + self.jitter * (2.0 * random - 1.0);
                let life = Duration::try_from_secs_f64(life.as_secs_f64() * factor);
                let life = life.unwrap_or(Duration::MAX);
                let seconds = ceil_secs(life).max(1);
                match i32::try_from(seconds) {
                    Ok(relative) if relative.unsigned_abs() <= EXPTIME_RELATIVE_MAX => {
                        Exptime::new(relative)
                    }
                    _ => absolute(now.saturating_add(Duration::from_secs(seconds))),
                }
            }
            Life::Until(time) if time <= now => EXPIRED,
            // Smaller numbers would be taken for a duration.
            Life::Until(time) => absolute(time),
        }
    }
}

/// Whole seconds, rounded up: a life of half a second shall not be none.
pub(crate) const fn ceil_secs(duration: Duration) -> u64 {
    let more = if duration.subsec_nanos() > 0 { 1 } else { 0 };
    duration.as_secs().saturating_add(more)
}

/// The same, but at most this long from now on.
pub(crate) fn at_most(exptime: Exptime, life_max: Duration) -> Exptime {
    at_most_from(clock::unix_time(), exptime, life_max)
}

fn at_most_from(now: Duration, exptime: Exptime, life_max: Duration) -> Exptime {
    let Ok(given) = u32::try_from(exptime.get()) else {
        return exptime;
    };
    let left = match given {
        0 => u64::MAX,
        relative if relative <= EXPTIME_RELATIVE_MAX => relative.into(),
        absolute => u64::from(absolute).saturating_sub(now.as_secs()),
    };
    if left <= ceil_secs(life_max) {
        return exptime;
    }
    Ttl::after(life_max).exptime_at(now, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_hours(500_000);

    fn wire(ttl: Ttl) -> i32 {
        ttl.exptime_at(NOW, 0.5).get()
    }

    #[test]
    fn thirty_days_travel_as_they_are_and_more_as_a_point_in_time() {
        assert_eq!(wire(Ttl::NEVER), 0);
        assert_eq!(wire(Ttl::secs(0)), 2_592_001);
        assert_eq!(wire(Ttl::secs(1)), 1);
        assert_eq!(wire(Ttl::after(Duration::from_millis(1001))), 2);
        assert_eq!(wire(Ttl::secs(2_592_000)), 2_592_000);
        assert_eq!(wire(Ttl::secs(2_592_001)), 1_802_592_001);
        assert_eq!(wire(Ttl::secs(u32::MAX)), i32::MAX);
        assert_eq!(wire(Ttl::after(Duration::MAX)), i32::MAX);
        assert_eq!(wire(Ttl::at(UNIX_EPOCH + NOW)), 2_592_001);
        assert_eq!(wire(Ttl::at(UNIX_EPOCH)), 2_592_001);
        let later = UNIX_EPOCH + NOW + Duration::from_secs(1);
        assert_eq!(wire(Ttl::at(later)), 1_800_000_001);
    }

    #[test]
    fn a_life_has_an_end_where_it_must() {
        let at_most =
            |seconds| at_most_from(NOW, Exptime::new(seconds), Duration::from_secs(10)).get();
        assert_eq!(at_most(0), 10);
        assert_eq!(at_most(-1), -1);
        assert_eq!(at_most(10), 10);
        assert_eq!(at_most(11), 10);
        assert_eq!(at_most(1_800_000_010), 1_800_000_010);
        assert_eq!(at_most(1_800_000_011), 10);
        assert_eq!(at_most(1_799_999_999), 1_799_999_999);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let ttl = Ttl::secs(100).jitter(0.1);
        assert_eq!(ttl.exptime_at(NOW, 0.0).get(), 90);
        assert_eq!(ttl.exptime_at(NOW, 0.5).get(), 100);
        assert_eq!(ttl.exptime_at(NOW, 0.999_999).get(), 110);
        assert_eq!(Ttl::secs(1).jitter(7.0).exptime_at(NOW, 0.0).get(), 1);
    }
}
