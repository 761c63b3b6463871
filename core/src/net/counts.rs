//! Counts of the network's values and multiplications.

use super::description::{Block, Network, Weight};
use super::spec::Spec;

impl Spec {
    /// Returns the number of trainable values of the encoder, and of the LSTMs and heads.
    pub fn parameters(&self) -> (usize, usize) {
        let Network { encoder, lstm, head, lstm2, head2 } = Network::new(self);
        let others = lstm.count() + head.count() + lstm2.count() + head2.count();
        (encoder.count(), others)
    }

    /// Pixels of one image's map in stage `s`, for an image of `size`².
    pub fn pixels(&self, size: usize, s: usize) -> usize {
        ((size / 4) >> s) * ((size / 4) >> s)
    }

    /// Values of one image's map in stage `s`, for an image of `size`².
    pub fn map(&self, size: usize, s: usize) -> usize {
        self.pixels(size, s) * self.dims[s]
    }

    /// Counts the multiplications in the forward pass's products and convolutions for one image of
    /// `size`²: in the encoder, and in LSTMs and heads.
    pub fn multiplications(&self, size: usize) -> (u64, u64) {
        let Network { encoder, lstm, head, lstm2, .. } = Network::new(self);
        let first = self.pixels(size, 0);
        let mut sum = match &encoder.second {
            None => first * encoder.stem.weight.count(),
            // The first convolution's map has twice the side of the second's.
            Some(second) => first * (4 * encoder.stem.weight.count() + second.weight.count()),
        };
        for (s, stage) in encoder.stages.iter().enumerate() {
            let downsample = stage.downsample.iter().map(|(_, product)| product.weight.count());
            let block = |b: &Block<Weight>| {
                [&b.depthwise, &b.fc1, &b.fc2].iter().map(|p| p.weight.count()).sum::<usize>()
            };
            let blocks = stage.blocks.iter().map(block);
            sum += self.pixels(size, s) * downsample.chain(blocks).sum::<usize>();
        }
        let directions = [lstm, lstm2].into_iter().flat_map(|lstm| lstm.layers).flatten();
        let recurrent = directions.map(|d| d.w_ih.count() + d.w_hh.count()).sum::<usize>();
        let tail = recurrent + head.hidden.weight.count() + head.out.weight.count();
        (sum as u64, tail as u64)
    }
}
