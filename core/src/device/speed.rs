//! Measures a device's peak speed with matrix products and copies, smaller ones if its memory is nearly
//! full.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;
use std::time::Instant;

/// Bytes copied to measure memory bandwidth: more than any cache holds.
const COPIED: usize = 256 << 20;
/// Fewest bytes copied, if memory is short.
const LEAST_COPIED: usize = 1 << 20;
/// Sides of square products. A GPU goes on to the next size if the last took less than [`LONG`].
const ON_CPU: &[usize] = &[1536];
const ON_GPU: &[usize] = &[1024, 2048, 4096, 8192];
/// Time of a product that ends the series, seconds.
const LONG: f64 = 5e-3;
/// Maximum number of runs, of which the fastest counts, and seconds after which no further run starts.
const RUNS: usize = 6;
const ENOUGH: f64 = 1.0;

/// Measures products of `dtype`, operations per second.
pub fn product(device: &Device, dtype: DType) -> Result<f64> {
    let sides = if device.is_cpu() { ON_CPU } else { ON_GPU };
    let mut rate = 0f64;
    for &n in sides {
        let product = || {
            let a = Tensor::ones((n, n), dtype, device)?;
            best(device, || a.matmul(&a))
        };
        let seconds = match product() {
            Err(error) if rate > 0.0 && super::is_out_of_memory(&error) => break,
            seconds => seconds?,
        };
        rate = rate.max(2.0 * (n as f64).powi(3) / seconds);
        if seconds > LONG {
            break;
        }
    }
    Ok(rate)
}

/// Measures copying, bytes read and written per second.
pub fn copy(device: &Device) -> Result<f64> {
    let mut copied = COPIED;
    let seconds = match device.is_cpu() {
        true => {
            let (from, mut to) = (vec![1u8; COPIED], vec![0u8; COPIED]);
            best(device, || {
                let pieces = to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20));
                pieces.for_each(|(to, from)| to.copy_from_slice(from));
                Ok(())
            })?
        }
        false => loop {
            let copy = || {
                let from = Tensor::ones(copied, DType::U8, device)?;
                best(device, || from.copy())
            };
            match copy() {
                Err(error) if copied > LEAST_COPIED && super::is_out_of_memory(&error) => {
                    super::trim(device);
                    copied /= 2;
                }
                seconds => break seconds?,
            }
        },
    };
    Ok(2.0 * copied as f64 / seconds)
}

/// Runs `run` a few times; returns the shortest time in seconds.
fn best<T>(device: &Device, mut run: impl FnMut() -> Result<T>) -> Result<f64> {
    let (mut best, begun) = (f64::INFINITY, Instant::now());
    for _ in 0..RUNS {
        device.synchronize()?;
        let start = Instant::now();
        drop(run()?);
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
        if begun.elapsed().as_secs_f64() > ENOUGH {
            break;
        }
    }
    Ok(best)
}
