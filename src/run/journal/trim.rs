//! A journal cut back to what checkpoints know.

use super::*;

/// Progress of a fold in its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Number of the fold.
    pub fold: usize,
    /// Epochs done.
    pub epochs: usize,
    /// Steps done in the next.
    pub steps: usize,
}

impl Known {
    /// Whether training repeats an event of `kind` at `at`, because the checkpoint does not include it.
    fn lacks(&self, kind: &str, at: Position) -> bool {
        let next = self.epochs.saturating_add(1);
        let later = at.epoch > next;
        match kind {
            "step" | "checkpoint" | "fold" | "left_out" => {
                later || (at.epoch == next && at.step > self.steps)
            }
            "epoch_started" => later || (at.epoch == next && at.step >= self.steps),
            "epoch" | "worst" | "valid_step" => at.epoch > self.epochs,
            _ => false,
        }
    }
}

/// Removes events after the folds' checkpoints, whose steps are repeated, and an unfinished last line.
/// Returns the run's seconds at the end, and the device that last trained it.
///
/// Errors: when it cannot be read or written, is no journal, or is of a newer version.
pub fn trim(path: &Path, known: &[Known]) -> Result<(f64, Option<String>), Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    if !path.exists() {
        return Ok((0.0, None));
    }
    let of = |line: &[u8]| -> Option<(&'static str, Position)> {
        Some((scan::kind(line)?, scan::at(line)?))
    };
    // Only events after a fold's last restart belong to the training that continues.
    let mut begun: BTreeMap<usize, u64> = BTreeMap::new();
    let (mut seconds, mut device, mut end) = (0.0, None, 0);
    let mut lines = Lines::open(path, None)?;
    end = end.max(lines.next_start());
    while let Some((start, line)) = lines.next().map_err(failed)? {
        if let (Some("again"), Some(at)) = (scan::kind(line), scan::at(line))
            && known.iter().any(|k| k.fold == at.fold)
        {
            begun.insert(at.fold, start);
        }
        if let Some(elapsed) = scan::elapsed(line) {
            seconds = elapsed;
        }
        if line.starts_with(br#"{"type":"run_started""#)
            && let Some(Stamped { event: Event::RunStarted(plan), .. }) = parse(line)
        {
            device = Some(plan.device);
        }
        end = start + line.len() as u64 + 1;
    }
    let beyond = |start: u64, line: &[u8]| {
        of(line).is_some_and(|(kind, at)| {
            start >= begun.get(&at.fold).copied().unwrap_or(0)
                && known.iter().any(|k| k.fold == at.fold && k.lacks(kind, at))
        })
    };
    let mut lines = Lines::open(path, Some(end))?;
    let mut any = false;
    while let Some((start, line)) = lines.next().map_err(failed)? {
        any |= beyond(start, line);
    }
    if !any {
        let file = bounded::open_with(path, File::options().write(true)).map_err(failed)?;
        file.set_len(end).map_err(failed)?;
        return Ok((seconds, device));
    }
    let write = || -> io::Result<()> {
        let mut out = Unfinished::create(path)?;
        let mut lines = Lines::open(path, Some(end)).map_err(io::Error::other)?;
        out.write_all(&lines.head)?;
        while let Some((start, line)) = lines.next()? {
            if !beyond(start, line) {
                out.write_all(line)?;
                out.write_all(b"\n")?;
            }
        }
        out.finish()
    };
    write().map_err(failed)?;
    Ok((seconds, device))
}
