//! Encodes a pane's pictures in the background.

use super::{Encoded, Pictures, Wanted};
use crate::run::Latest;
use crossbeam_channel::{Receiver, unbounded};
use std::thread;

/// Encodes a pane's pictures on a thread of its own, only the newest request; until they are ready,
/// the pane keeps the previous ones. `T`: what the pane draws next to the pictures, which must
/// belong to the same request.
pub struct Encoder<T> {
    pictures: Pictures,
    /// Number of the pane's first picture in kitty's protocol.
    first: u32,
    /// Background encoding; with `None`, used in tests, pictures are ready immediately.
    aside: Option<Aside<T>>,
    asked: Option<Job<T>>,
    ready: Option<Ready<T>>,
    /// Number of requests so far.
    turn: u32,
}

/// A request.
#[derive(Clone, PartialEq)]
struct Job<T> {
    of: T,
    wanted: Vec<Wanted>,
}

/// Encoded pictures.
pub struct Ready<T> {
    /// What to draw next to them.
    pub of: T,
    /// The pictures, in the order of the request.
    pub pictures: Vec<Encoded>,
}

struct Aside<T> {
    jobs: Latest<(Job<T>, u32)>,
    done: Receiver<Ready<T>>,
}

/// Maximum number of pictures in a pane.
const MOST: u32 = 64;

impl<T: Clone + PartialEq + Send + 'static> Encoder<T> {
    /// Creates an encoder that works on the drawing thread. `pane`: number of the pane, unique
    /// among those with pictures.
    pub fn new(pictures: Pictures, pane: u8) -> Self {
        // The process id keeps apart dashboards behind the same multiplexer. A picture's number is
        // written as a 24-bit colour, which must not be black. Each picture alternates between two
        // numbers: if a new picture reused the number of the one that it replaces, only the changed
        // cells would be drawn.
        let process = std::process::id() & 0x3fff;
        let first = (1 << 23) | (process << 9) | ((u32::from(pane) & 3) * 2 * MOST);
        Self { pictures, first, aside: None, asked: None, ready: None, turn: 0 }
    }

    /// Moves encoding to a thread of its own, if one can be started, which calls `wake` when
    /// pictures are ready.
    pub fn go_aside(&mut self, wake: impl Fn() + Send + 'static) {
        let (jobs, (sender, done)) = (Latest::<(Job<T>, u32)>::default(), unbounded());
        let (taker, pictures) = (jobs.taker(), self.pictures);
        let work = move || {
            for (job, first) in taker {
                if sender.send(encode(pictures, job, first)).is_err() {
                    return;
                }
                wake();
            }
        };
        let started = thread::Builder::new().name("pictures".into()).spawn(work);
        self.aside = started.ok().map(|_| Aside { jobs, done });
    }

    /// Requests `wanted`, to be drawn with `of`, unless that is the newest request already. Returns
    /// the newest pictures that are ready, possibly of an earlier request.
    pub fn show(&mut self, of: T, wanted: Vec<Wanted>) -> Option<&Ready<T>> {
        let job = Job { of, wanted };
        if self.asked.as_ref() != Some(&job) {
            self.turn = self.turn.wrapping_add(1);
            let first = self.first + self.turn % 2;
            self.asked = Some(job.clone());
            match &self.aside {
                Some(aside) => aside.jobs.put((job, first)),
                None => self.ready = Some(encode(self.pictures, job, first)),
            }
        }
        self.take();
        self.ready.as_ref()
    }

    /// The newest pictures that are ready, without a new request.
    pub fn last(&mut self) -> Option<&Ready<T>> {
        self.take();
        self.ready.as_ref()
    }

    /// Whether newer pictures are ready to be drawn.
    pub fn take(&mut self) -> bool {
        let Some(aside) = &self.aside else { return false };
        let newest = aside.done.try_iter().last();
        let came = newest.is_some();
        self.ready = newest.or(self.ready.take());
        came
    }

    /// Encodes everything again, after the terminal has lost its contents.
    pub fn forget(&mut self) {
        self.asked = None;
    }

    /// Technique for drawing the pictures.
    pub fn pictures(&self) -> Pictures {
        self.pictures
    }
}

fn encode<T>(pictures: Pictures, job: Job<T>, first: u32) -> Ready<T> {
    let ids = (0..MOST).map(|i| first + 2 * i);
    let encoded = job.wanted.iter().zip(ids).map(|(w, id)| Encoded::new(pictures, w, id));
    Ready { pictures: encoded.collect(), of: job.of }
}

#[cfg(test)]
mod tests {
    use super::super::{Contrast, Slice};
    use super::*;
    use crate::run::event::Picture;
    use ratatui::layout::Size;
    use std::time::{Duration, Instant};

    fn wanted(grey: u8) -> Vec<Wanted> {
        let plane: std::sync::Arc<[u8]> = vec![grey; 64].into();
        let picture = Picture { pixels: plane.clone(), mask: plane };
        let slice = Slice { height: 8, width: 8, picture };
        let size = Size::new(8, 4);
        vec![Wanted { slice, size, outline: true, contrast: Contrast::default() }]
    }

    #[test]
    fn in_one_thread_they_are_ready_at_once() {
        let mut encoder = Encoder::new(Pictures::Blocks, 0);
        let ready = encoder.show("a", wanted(9)).unwrap();
        assert_eq!((ready.of, ready.pictures.len()), ("a", 1));
        assert_eq!(encoder.show("b", Vec::new()).unwrap().of, "b");
    }

    #[test]
    fn aside_the_newest_comes_and_until_then_the_old_is_kept() {
        let mut encoder = Encoder::new(Pictures::Blocks, 0);
        assert_eq!(encoder.show(0, wanted(0)).map(|ready| ready.of), Some(0));
        let (woken, wakes) = unbounded();
        encoder.go_aside(move || {
            let _ = woken.send(());
        });
        for i in 1..=200 {
            assert!(encoder.show(i, wanted(i as u8)).is_some_and(|ready| ready.of <= i));
        }
        let start = Instant::now();
        while encoder.show(200, wanted(200)).is_none_or(|ready| ready.of != 200) {
            assert!(start.elapsed() < Duration::from_secs(30), "nothing came");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!encoder.take());
        assert!(!wakes.is_empty());
    }
}
