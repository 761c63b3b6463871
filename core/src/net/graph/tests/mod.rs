//! Gradients by differences, and values that are not finite.

mod finite_differences;
mod not_finite;
