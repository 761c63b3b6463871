//! Claims: which process trains a fold of a run that several processes share.
//!
//! A claim is a file in the fold's folder: `claims/1.json`, then `claims/2.json` and so on; the one with the
//! highest number counts. It is made by linking a complete file to the next number, which fails if
//! another process was first. So no two processes hold a fold, on any file system with atomic links or
//! exclusive creation, and without locks. The files together are the log of who held the fold.
//!
//! The holder touches its file every [`Timing::beat`]. Another process takes the fold over once the
//! holder is certainly gone (see [`Life`]), or, where that cannot be found out, after
//! [`Timing::quiet`] without a touch. Ages are differences of the file server's own times, and are
//! confirmed by watching the file, so that clocks of hosts do not matter. A holder that was taken over
//! notices before it writes: see [`Claim::check`].

use super::{
    holder::{Holder, Life},
    status,
    unfinished::write_atomically,
};
use crate::bounded;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded as channel};
use file::{FORMAT, LONGEST, age, awake, file, folder, make, newest, touch};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

mod file;
#[cfg(test)]
mod tests;

pub use file::{Newest, Record};

/// How often a claim is renewed, and when it counts as abandoned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Time between two touches by the holder.
    pub beat: Duration,
    /// Age after which an untouched claim may be taken over, if nothing better is known of its holder.
    pub quiet: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self::of_quiet(Duration::from_secs(600))
    }
}

impl Timing {
    /// Timing with this `quiet`; thirty beats fit into it.
    pub fn of_quiet(quiet: Duration) -> Self {
        Self { beat: quiet / 30, quiet }
    }

    /// How long a claim is watched before it is taken over, whatever its age: three beats.
    fn watched(self) -> Duration {
        self.beat * 3
    }
}

/// What came of an attempt to claim a fold.
#[derive(Debug)]
pub enum Attempt {
    /// It is this process's.
    Claimed(Claim),
    /// Another process holds it.
    Held(Held),
}

/// A fold that another process holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Who, in words.
    pub by: String,
    /// `None`: the holder lives. Otherwise nothing is known of it, and it has not been heard of for so long.
    pub silent: Option<Duration>,
}

/// Attempts to claim folds, and remembers what it saw of others' claims.
pub struct Claimer {
    holder: Holder,
    timing: Timing,
    lost: Arc<dyn Fn(&str) + Send + Sync>,
    /// Claims watched: fold's folder, number, time of its last touch, and since when it is unchanged.
    watched: Vec<(PathBuf, u64, Option<SystemTime>, Instant)>,
}

impl Claimer {
    /// Claims for `holder`, usually [`Holder::here`]. `lost` is called by whichever thread finds that
    /// another process has taken a claim over. It should end the process: nothing may be written any more.
    pub fn new(
        holder: Holder,
        timing: Timing,
        lost: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self { holder, timing, lost: Arc::new(lost), watched: Vec::new() }
    }

    /// Tries to claim the fold whose folder is `dir`.
    ///
    /// Errors: when the claims cannot be read or written.
    pub fn claim(&mut self, dir: &Path) -> io::Result<Attempt> {
        let claims = folder(dir);
        match fs::create_dir(&claims) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        loop {
            let (number, took_over) = match Newest::read(dir)? {
                None => (1, None),
                Some(newest) => match self.judge(dir, &newest)? {
                    Ok(took_over) => (newest.number + 1, took_over),
                    Err(held) => return Ok(Attempt::Held(held)),
                },
            };
            let record = Record {
                format: FORMAT.into(),
                holder: self.holder.clone(),
                claimed: status::now(),
                released: None,
                took_over,
            };
            if make(&file(&claims, number), &record, &self.holder)? {
                let claim = Claim::start(claims, number, record, self.timing, self.lost.clone())?;
                return Ok(Attempt::Claimed(claim));
            }
            // Another process was first: look at its claim.
        }
    }

    /// Decides whether the fold may be claimed after `newest`: why it is taken over, or who holds it.
    fn judge(&mut self, dir: &Path, newest: &Newest) -> io::Result<Result<Option<String>, Held>> {
        if newest.record.as_ref().is_some_and(|record| record.released.is_some()) {
            return Ok(Ok(None));
        }
        let (by, life) = match &newest.record {
            Some(record) => (record.holder.to_string(), record.holder.life_seen_by(&self.holder)),
            None => ("a process that has just begun".into(), Life::Unknown),
        };
        match life {
            Life::Alive => return Ok(Err(Held { by, silent: None })),
            Life::Gone(why) => return Ok(Ok(Some(format!("{by}: {why}")))),
            Life::Unknown => {}
        }
        let silent = age(&folder(dir), newest.touched, &self.holder)?;
        let unchanged = self.watch(dir, newest);
        if silent >= self.timing.quiet && unchanged >= self.timing.watched()
            || unchanged >= self.timing.quiet
        {
            let silent = silent.max(unchanged).as_secs();
            return Ok(Ok(Some(format!("{by}: not heard of for {silent} s"))));
        }
        Ok(Err(Held { by, silent: Some(silent.max(unchanged)) }))
    }

    /// Notes the claim, and returns for how long it has been seen unchanged.
    fn watch(&mut self, dir: &Path, newest: &Newest) -> Duration {
        let now = (newest.number, newest.touched);
        match self.watched.iter_mut().find(|(path, ..)| path == dir) {
            Some((_, number, touched, since)) if (*number, *touched) == now => since.elapsed(),
            Some((_, number, touched, since)) => {
                (*number, *touched, *since) = (now.0, now.1, Instant::now());
                Duration::ZERO
            }
            None => {
                self.watched.push((dir.into(), now.0, now.1, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// How long a fold may have to be watched until it is known whether it is abandoned.
    pub fn timing(&self) -> Timing {
        self.timing
    }
}

/// A fold held by this process. Released when dropped.
pub struct Claim {
    held: Arc<HeldHere>,
    going_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("number", &self.held.number).finish_non_exhaustive()
    }
}

struct HeldHere {
    claims: PathBuf,
    number: u64,
    record: Record,
    timing: Timing,
    lost: Arc<dyn Fn(&str) + Send + Sync>,
    /// When the claim was last seen to be the newest, in milliseconds of [`awake`].
    seen: AtomicU64,
}

impl Claim {
    fn start(
        claims: PathBuf,
        number: u64,
        record: Record,
        timing: Timing,
        lost: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> io::Result<Self> {
        let seen = AtomicU64::new(awake());
        let held = Arc::new(HeldHere { claims, number, record, timing, lost, seen });
        let (going_on, end) = channel::<()>(0);
        let renewed = held.clone();
        let renew = move || {
            while end.recv_timeout(renewed.timing.beat) == Err(RecvTimeoutError::Timeout) {
                // A file server that does not answer now may do so later.
                if renewed.check().is_ok() {
                    let _ = touch(&file(&renewed.claims, renewed.number));
                }
            }
        };
        let thread = std::thread::Builder::new().name("claim".into()).spawn(renew)?;
        Ok(Self { held, going_on: Some(going_on), thread: Some(thread) })
    }

    /// A check for those who write on behalf of the claim.
    pub fn guard(&self) -> Guard {
        Guard(self.held.clone())
    }

    /// Number of the claim, from 1.
    pub fn number(&self) -> u64 {
        self.held.number
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.going_on = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if self.held.check().is_ok() {
            let released = Record { released: Some(status::now()), ..self.held.record.clone() };
            // If this fails, others find out that the process is gone.
            if let Ok(bytes) = serde_json::to_vec(&released) {
                let _ = write_atomically(&file(&self.held.claims, self.held.number), &bytes);
            }
        }
    }
}

/// Whether a claim still holds. Cheap to clone.
#[derive(Clone)]
pub struct Guard(Arc<HeldHere>);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Guard").field(&self.0.number).finish()
    }
}

impl Guard {
    /// Number of the claim, from 1.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Reads the claims. For large files, before they are put into place.
    ///
    /// Errors: when the claim is lost, or cannot be read.
    pub fn check(&self) -> io::Result<()> {
        self.0.check()
    }

    /// Like [`Self::check`], but trusts what was seen less than two beats ago: nobody takes over a
    /// claim that young. For frequent writes.
    pub fn check_soon(&self) -> io::Result<()> {
        let age = awake().saturating_sub(self.0.seen.load(Ordering::Relaxed));
        match Duration::from_millis(age) < self.0.timing.beat * 2 {
            true => Ok(()),
            false => self.0.check(),
        }
    }
}

impl HeldHere {
    fn check(&self) -> io::Result<()> {
        let now = awake();
        let newest = newest(&self.claims)?;
        if newest == Some(self.number) {
            self.seen.store(now, Ordering::Relaxed);
            return Ok(());
        }
        let by = newest.and_then(|number| {
            let bytes = bounded::read(&file(&self.claims, number), LONGEST).ok()?;
            Some(Record::of_bytes(&bytes)?.holder.to_string())
        });
        let by = by.unwrap_or_else(|| "another process".into());
        let why = format!(
            "{} is no longer this process's: {by} has taken it over",
            self.claims.display()
        );
        (self.lost)(&why);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}
