//! Cache of the newest slices that a view requested.

use crate::run::event::{SliceContent, SliceReply, SliceRequest};
use std::collections::VecDeque;

/// Maximum number of slices kept.
const MOST: usize = 64;
/// Maximum size of their pictures in bytes; the newest slice is always kept.
const MOST_BYTES: usize = 32 << 20;

/// Replies to requests, newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SliceCache {
    replies: VecDeque<SliceReply>,
}

impl SliceCache {
    /// Adds `reply`, evicting the oldest replies.
    pub fn add(&mut self, reply: SliceReply) {
        self.replies.retain(|old| old.wanted != reply.wanted);
        self.replies.push_front(reply);
        let mut bytes = 0;
        let fitting = self.replies.iter().take(MOST).take_while(|reply| {
            bytes += size(&reply.found);
            bytes <= MOST_BYTES
        });
        self.replies.truncate(fitting.count().max(1));
    }

    /// Content of the requested slice, if it has been answered.
    pub fn get(&self, wanted: &SliceRequest) -> Option<&SliceContent> {
        self.replies.iter().find(|reply| reply.wanted == *wanted).map(|reply| &reply.found)
    }
}

fn size(found: &SliceContent) -> usize {
    match found {
        SliceContent::Slice { seen, raw, .. } => {
            [seen, raw].iter().map(|picture| picture.pixels.len() + picture.mask.len()).sum()
        }
        SliceContent::Nothing(why) => why.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::Picture;

    fn reply(slice: u8, bytes: usize) -> SliceReply {
        let plane: std::sync::Arc<[u8]> = vec![0; bytes].into();
        let picture = Picture { pixels: plane.clone(), mask: plane };
        let found =
            SliceContent::Slice { height: 1, width: bytes, seen: picture.clone(), raw: picture };
        let wanted =
            SliceRequest { fold: 0, epoch: 1, seed: 0, study: "1".into(), vertebra: 1, slice };
        SliceReply { wanted, found }
    }

    #[test]
    fn few_are_kept_and_the_newest_of_each() {
        let mut cache = SliceCache::default();
        (0..100).for_each(|slice| cache.add(reply(slice, 4)));
        cache.add(reply(99, 5));
        assert_eq!(cache.replies.len(), MOST);
        assert!(cache.get(&reply(35, 0).wanted).is_none());
        assert_eq!(cache.get(&reply(99, 0).wanted), Some(&reply(99, 5).found));
        (0..3).for_each(|slice| cache.add(reply(slice, 3 << 20)));
        assert_eq!(cache.replies.len(), 2, "large ones are fewer");
        cache.add(reply(7, 64 << 20));
        assert_eq!(cache.replies.len(), 1);
    }
}
