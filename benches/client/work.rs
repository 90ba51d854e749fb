//! [`Work`]: tasks of one thread that ask one caller each, one request after the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nuthatch_load::cpu_time;
use nuthatch_load::{Outcome, Window};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::Failure;
use crate::contender::{Batch, Caller};

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Work {
    /// A key at random.
    Get(Vec<String>),
    /// Many keys at once; one of these lists at random.
    GetMany(Vec<Batch>),
}

impl Work {
    /// How many keys a request asks for.
    pub(crate) fn keys_each(&self) -> usize {
        match self {
            Self::Get(_) => 1,
            Self::GetMany(batches) => batches.first().map_or(1, |batch| batch.keys.len()),
        }
    }

    /// Asks once; all of the keys have to be there.
    pub(crate) async fn ask(&self, caller: &mut Caller, random: u32) -> Result<(), Failure> {
        let found = match self {
            Self::Get(keys) => {
                let key = choose(keys, random)?;
                usize::from(caller.get(key).await? > 0)
            }
            Self::GetMany(batches) => caller.get_many(choose(batches, random)?).await?,
        };
        if found == self.keys_each() {
            Ok(())
        } else {
            Err(format!("{found} of {} keys", self.keys_each()).into())
        }
    }

    /// All callers for a while, each in a task of its own; gives them back.
    #[expect(clippy::disallowed_methods, reason = "this measures time")]
    pub(crate) async fn turn(
        self: &Arc<Self>,
        callers: Vec<Caller>,
        window: Window,
    ) -> Result<(Vec<Caller>, Outcome), Failure> {
        let outcome = Arc::new(Mutex::new(Outcome::new()?));
        let mut tasks = Vec::new();
        let begin = Instant::now() + window.warmup;
        let end = begin + window.measured;
        for (seed, mut caller) in (0..).zip(callers) {
            let (work, outcome) = (Arc::clone(self), Arc::clone(&outcome));
            let mut random = SmallRng::seed_from_u64(seed);
            tasks.push(tokio::spawn(async move {
                let mut asked = Instant::now();
                while asked < end {
                    work.ask(&mut caller, random.random()).await?;
                    let answered = Instant::now();
                    if asked >= begin && answered < end {
                        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                        outcome.record(answered - asked);
                    }
                    asked = answered;
                }
                Ok::<_, Failure>(caller)
            }));
        }
        tokio::time::sleep_until(begin.into()).await;
        let before = cpu_time(Some(std::process::id()));
        tokio::time::sleep_until(end.into()).await;
        let used = cpu_time(Some(std::process::id())).saturating_sub(before);
        let mut callers = Vec::new();
        for task in tasks {
            callers.push(task.await??);
        }
        let mut outcome = outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        outcome.elapsed = window.measured;
        outcome.client_cpu = used;
        Ok((callers, outcome))
    }
}

fn choose<T>(all: &[T], random: u32) -> Result<&T, Failure> {
    let place = random as usize % all.len().max(1);
    all.get(place).ok_or_else(|| "nothing to ask for".into())
}

/// How long one run of `what` takes, when it is run for a while.
#[expect(clippy::disallowed_methods, reason = "this measures time")]
pub(crate) fn time_of(mut what: impl FnMut(usize), runs: usize) -> Duration {
    let began = Instant::now();
    (0..runs).for_each(&mut what);
    began.elapsed() / u32::try_from(runs.max(1)).unwrap_or(u32::MAX)
}
