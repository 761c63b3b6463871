//! Matrix products.

use super::{Float, lanes::Lanes};

/// c [m, n] = (c if `add`) + a [m, k] · b [k, n], each with (row, column) strides, on one thread.
#[allow(clippy::too_many_arguments)]
pub(crate) fn product<R: Float>(
    size: (usize, usize, usize),
    c: &mut [R],
    c_row: usize,
    a: &[R],
    a_strides: (usize, usize),
    b: &[R],
    b_strides: (usize, usize),
    add: bool,
) {
    shared_product(Lanes(1), size, c, c_row, a, a_strides, b, b_strides, add);
}

/// [`product`] on several threads. A value does not depend on the thread that computes it.
#[allow(clippy::too_many_arguments)]
pub(crate) fn shared_product<R: Float>(
    lanes: Lanes,
    (m, n, k): (usize, usize, usize),
    c: &mut [R],
    c_row: usize,
    a: &[R],
    (a_row, a_col): (usize, usize),
    b: &[R],
    (b_row, b_col): (usize, usize),
    add: bool,
) {
    let last = |rows: usize, cols: usize, row: usize, col: usize| {
        rows.saturating_sub(1) * row + cols.saturating_sub(1) * col
    };
    assert!(m > 0 && n > 0 && k > 0);
    assert!(last(m, n, c_row, 1) < c.len());
    assert!(last(m, k, a_row, a_col) < a.len() && last(k, n, b_row, b_col) < b.len());
    let parallelism = match lanes.0 {
        1 => gemm::Parallelism::None,
        n => gemm::Parallelism::Rayon(n),
    };
    // SAFETY: the asserts keep every access inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            add,
            a.as_ptr(),
            a_col as isize,
            a_row as isize,
            b.as_ptr(),
            b_col as isize,
            b_row as isize,
            R::one(),
            R::one(),
            false,
            false,
            false,
            parallelism,
        );
    }
}
