//! The kernels of the network's operations and of their backward passes, over contiguous values.
//!
//! On the CPU they are generic over f32 (training) and f64 (compared with finite differences); loops are
//! written for the compiler to vectorise, and run under [`pulp`]'s run-time dispatch (AVX-512, AVX2 + FMA,
//! NEON, scalar). Sums are taken in a fixed order: the same input gives the same bits on the same number
//! of threads. On a GPU they are our own (`gpu`, `*.cu`).

pub(crate) mod bias_gelu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub(crate) mod depthwise;
mod float;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub(crate) mod head;
pub(crate) mod lanes;
#[doc(hidden)]
pub mod launch;
pub(crate) mod layer_norm;
#[cfg(feature = "cuda")]
pub(crate) mod multi;
pub(crate) mod product;
pub(crate) mod recurrence;
pub(crate) mod scale_residual;

#[cfg(test)]
mod tests;

pub(crate) use float::Float;
