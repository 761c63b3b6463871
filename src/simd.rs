//! The widest vectors this processor has, chosen at run time.

use pulp::{Arch, WithSimd};

/// Runs a kernel, or a closure whose loops the compiler vectorises, with the widest vectors this
/// processor has (AVX-512, AVX2 + FMA, NEON, scalar). What the closure calls has to be inlined.
#[inline(always)]
pub(crate) fn vectorised<K: WithSimd>(kernel: K) -> K::Output {
    thread_local!(static ARCH: Arch = Arch::new());
    ARCH.with(|arch| arch.dispatch(kernel))
}
