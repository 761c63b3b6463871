//! How many images the encoder takes at once.

use crate::net::Spec;

/// Share of the free memory that a chunk may take.
const SHARE: f64 = 0.5;
/// A longer chunk than this gains nothing.
const LONGEST: usize = 64;

/// Bytes that one image of `size`² takes in the encoder while its graph is held, in f32.
///
/// A block keeps about 13 maps of its own width (input, depthwise, norm, the fourfold MLP twice,
/// output) and its backward pass works on some more at a time.
pub fn bytes_per_image(spec: &Spec, size: usize) -> usize {
    let pixels = (size / 4) * (size / 4);
    let stages: usize =
        (0..4).map(|s| (pixels >> (2 * s)) * spec.dims[s] * (14 * spec.depths[s] + 4)).sum();
    let largest_transient = 16 * pixels * spec.dims[0];
    4 * (stages + largest_transient + size * size * spec.in_channels)
}

/// Images a chunk: all `total` of them where they fit into half of `free` bytes (one pass),
/// otherwise the largest power of two that does, 1 to 64.
pub fn chunk_size(spec: &Spec, size: usize, total: usize, free: u64) -> usize {
    let fit = (free as f64 * SHARE / bytes_per_image(spec, size) as f64) as usize;
    if fit >= total {
        return total;
    }
    let fit = fit.clamp(1, LONGEST);
    1 << fit.ilog2()
}

/// Free memory in bytes, a container's limit respected.
pub fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    match system.cgroup_limits() {
        // Not its `free_memory`: that counts the page cache as taken.
        Some(limits) => free.min(limits.total_memory.saturating_sub(limits.rss)),
        None => free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn one_pass_where_it_fits_and_powers_of_two_elsewhere() {
        let spec = Spec::new(&Config::load(None, false, &[]).unwrap());
        assert_eq!(chunk_size(&spec, 64, 210, 16 << 30), 210);
        let chunk = chunk_size(&spec, 224, 840, 8 << 30);
        assert!(chunk.is_power_of_two() && (16..=64).contains(&chunk), "{chunk}");
        assert_eq!(chunk_size(&spec, 224, 840, 0), 1);
    }
}
