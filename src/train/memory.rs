//! How many images the encoder takes at once.

use crate::net::{Spec, encoder::kept_per_image};

/// Share of the free memory that a chunk may take.
const SHARE: f64 = 0.5;
/// A longer chunk than this gains nothing.
const LONGEST: usize = 64;

/// Bytes that one image of `size`² takes from the encoder's forward pass to its backward pass, in
/// f32: the inputs of all layers.
pub fn bytes_per_image(spec: &Spec, size: usize) -> usize {
    4 * kept_per_image(spec, size)
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
