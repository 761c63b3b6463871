//! The encoder's weights as slices, and the sums of their gradients.

pub(super) use crate::net::description::{Encoder as Net, Weight};
use crate::net::{device_ops::cpu::Sum, ops::Float, parameters::Parameter, views::Views};
use candle_core::Result;

/// Views of the encoder's weights, which are the first of a network's.
pub(super) fn views<'a>(parameters: &'a [Parameter], of: &Net<Weight>) -> Views<'a> {
    let mut count = 0;
    of.each(|_| count += 1);
    Views::new(&parameters[..count])
}

/// Returns the encoder's weights as slices.
///
/// Errors: when they are not on the CPU or not of type `R`.
pub(super) fn net<'v, R: Float>(views: &'v Views, of: &Net<Weight>) -> Result<Net<&'v [R]>> {
    let mut slices = views.slices()?.into_iter();
    Ok(of.map(|_| slices.next().expect("one for each weight")))
}

/// Wraps `values`, one buffer per weight in order, as sums that are all `empty` or all begun.
pub(super) fn sums<'a, R: Float>(
    values: &'a mut [Vec<R>],
    of: &Net<Weight>,
    empty: bool,
) -> Net<Sum<'a, R>> {
    let mut values = values.iter_mut();
    of.map(|_| {
        let values = &mut values.next().expect("one for each weight")[..];
        Sum::new(values, empty)
    })
}
