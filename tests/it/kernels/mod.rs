//! Compares the CUDA kernels with the CPU's ops, without a GPU: they are compiled by the host's C++
//! compiler and run thread by thread with the geometry of `net::ops::launch`.
//!
//!     cargo test --test it kernels:: -- --nocapture
//!
//! prints the error of each. Without a C++ compiler the tests say so and pass.

mod harness;
mod head;
mod lstm;
mod ops;
mod training;

use rsna_tui::net::ops::launch;

#[test]
fn every_kernel_has_its_launch() {
    let mut named: Vec<String> = vec![];
    for (name, _, typed) in launch::KERNELS {
        match typed {
            true => named.extend(harness::Type::ALL.map(|t| format!("{name}{}", t.suffix()))),
            false => named.push(name.into()),
        }
    }
    let mut found: Vec<String> = harness::KERNELS.keys().cloned().collect();
    named.sort();
    found.sort();
    assert_eq!(named, found);
}

/// As on a GPU: values too large for f16 become infinite, ties round to even, subnormals remain.
#[test]
fn conversions_round_to_even() {
    if !harness::compiler() {
        return;
    }
    let x: Vec<f64> = (0..4000)
        .map(|i| f64::from(f32::from_bits(i * 1_073_741 % 0x7f80_0000)))
        .chain([0.0, 1.0, 1.0 + 2f64.powi(-11), 1.0 + 3.0 * 2f64.powi(-11), 65504.0, 65519.9])
        .chain([65520.0, 1e9, 2f64.powi(-24), 2f64.powi(-25), 6.1e-5, 1.0 + 2f64.powi(-8)])
        .flat_map(|x| [x, -x])
        .collect();
    for ty in harness::Type::ALL {
        // Convert through the images kernel: byte 255 is 1, times a share.
        let out: Vec<f64> = x
            .chunks(1)
            .flat_map(|x| {
                let (own, out) = (harness::Buffer::new(&[255u8]), ty.unwritten(1));
                let args = [
                    harness::Arg::Of(&own),
                    harness::Arg::Null,
                    harness::Arg::Float(x[0] as f32),
                    harness::Arg::Float(0.0),
                    harness::Arg::Of(&out),
                    harness::Arg::Long(1),
                    harness::Arg::Int(0),
                    harness::Arg::Int(0),
                    harness::Arg::Int(0),
                ];
                harness::run(
                    launch::Launch { block: [32, 1, 1], ..launch::rows("images", 1, 1) },
                    ty,
                    &args,
                );
                ty.values(&out)
            })
            .collect();
        assert_eq!(out, ty.round(&x));
    }
}
