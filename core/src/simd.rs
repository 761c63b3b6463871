//! Selects the widest vector instructions of this processor at run time.

use pulp::{Arch, WithSimd};
use std::cell::Cell;

thread_local!(static ARCH: Cell<Arch> = Cell::new(Arch::new()));

/// Runs a kernel, or a closure whose loops the compiler vectorises, with the processor's widest vectors
/// (AVX-512, AVX2 + FMA, NEON, scalar). Everything the closure calls must be inlined.
#[inline(always)]
pub(crate) fn vectorised<K: WithSimd>(kernel: K) -> K::Output {
    ARCH.get().dispatch(kernel)
}

/// Runs `f` on this thread with `arch` in place of the widest vectors.
#[cfg(test)]
pub(crate) fn on<T>(arch: Arch, f: impl FnOnce() -> T) -> T {
    let widest = ARCH.replace(arch);
    let result = f();
    ARCH.set(widest);
    result
}

/// Vector instruction sets of this processor.
#[cfg(test)]
pub(crate) fn paths() -> Vec<(&'static str, Arch)> {
    let mut paths = vec![("the widest vectors", Arch::new())];
    #[cfg(target_arch = "x86_64")]
    paths.extend(pulp::x86::V3::try_new().map(|v3| ("AVX2 + FMA", Arch::V3(v3))));
    paths
}
