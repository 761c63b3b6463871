//! The slices that a view asked for: the newest of them.

use crate::run::event::{Found, Look, LookAt};
use std::collections::VecDeque;

/// Slices kept.
const MOST: usize = 64;
/// Bytes of their pictures that are kept, at the least the newest slice.
const MOST_BYTES: usize = 32 << 20;

/// Answers to what was asked, the newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Looks {
    looks: VecDeque<Look>,
}

impl Looks {
    /// Keeps `look`; those that were not asked for the longest go.
    pub fn add(&mut self, look: Look) {
        self.looks.retain(|old| old.wanted != look.wanted);
        self.looks.push_front(look);
        let mut bytes = 0;
        let fitting = self.looks.iter().take(MOST).take_while(|look| {
            bytes += size(&look.found);
            bytes <= MOST_BYTES
        });
        self.looks.truncate(fitting.count().max(1));
    }

    /// What there is to see of `wanted`, once it is answered.
    pub fn get(&self, wanted: &LookAt) -> Option<&Found> {
        self.looks.iter().find(|look| look.wanted == *wanted).map(|look| &look.found)
    }
}

fn size(found: &Found) -> usize {
    match found {
        Found::Slice { seen, raw, .. } => {
            [seen, raw].iter().map(|picture| picture.pixels.len() + picture.mask.len()).sum()
        }
        Found::Nothing(why) => why.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::Picture;

    fn look(slice: u8, bytes: usize) -> Look {
        let plane: std::sync::Arc<[u8]> = vec![0; bytes].into();
        let picture = Picture { pixels: plane.clone(), mask: plane };
        let found = Found::Slice { height: 1, width: bytes, seen: picture.clone(), raw: picture };
        let wanted = LookAt { fold: 0, epoch: 1, seed: 0, study: "1".into(), vertebra: 1, slice };
        Look { wanted, found }
    }

    #[test]
    fn few_are_kept_and_the_newest_of_each() {
        let mut looks = Looks::default();
        (0..100).for_each(|slice| looks.add(look(slice, 4)));
        looks.add(look(99, 5));
        assert_eq!(looks.looks.len(), MOST);
        assert!(looks.get(&look(35, 0).wanted).is_none());
        assert_eq!(looks.get(&look(99, 0).wanted), Some(&look(99, 5).found));
        (0..3).for_each(|slice| looks.add(look(slice, 3 << 20)));
        assert_eq!(looks.looks.len(), 2, "large ones are fewer");
        looks.add(look(7, 64 << 20));
        assert_eq!(looks.looks.len(), 1);
    }
}
