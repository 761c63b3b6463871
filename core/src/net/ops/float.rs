//! The element types of the CPU kernels, and their transcendental functions.

use candle_core::WithDType;
use pulp::Simd;

/// f32, fully vectorisable; or f64 with the platform's libm, for the tests.
pub(crate) trait Float: WithDType + Default + std::ops::Neg<Output = Self> {
    /// Converts a constant.
    fn of(x: f64) -> Self;
    /// a·b + c, fused if the processor has the instruction.
    fn fused(a: Self, b: Self, c: Self) -> Self;
    /// Square root.
    fn root(self) -> Self;
    /// e^x; f32: relative error below 2e-7 on -87..88, clamped outside, infinity for infinity.
    fn exp<S: Simd>(self) -> Self;
    /// The error function; f32: absolute error below 1.2e-7.
    fn erf<S: Simd>(self) -> Self;
    /// Hyperbolic tangent; f32: absolute error below 2e-7.
    fn tanh<S: Simd>(self) -> Self;

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid<S: Simd>(self) -> Self {
        Self::one() / (Self::one() + (-self).exp::<S>())
    }
}

/// a·b + c: fused under vector dispatch, plain in the scalar fall-back, where a fused operation would be
/// a call into libm.
#[inline(always)]
pub(crate) fn mul_add<S: Simd, R: Float>(a: R, b: R, c: R) -> R {
    if S::IS_SCALAR { a * b + c } else { R::fused(a, b, c) }
}

impl Float for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn fused(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn exp<S: Simd>(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn erf<S: Simd>(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }
    #[inline(always)]
    fn tanh<S: Simd>(self) -> Self {
        f64::tanh(self)
    }
}

/// Σ cᵢ·xⁱ by Horner's scheme, lowest order first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[N - 1];
    for i in (0..N - 1).rev() {
        sum = mul_add::<S, f32>(sum, x, c[i]);
    }
    sum
}

// The polynomials below are our own minimax fits (Lawson-weighted least squares in f64 on Chebyshev
// nodes), rounded to f32.
impl Float for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn fused(a: Self, b: Self, c: Self) -> Self {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    /// x = n·ln 2 + r with |r| ≤ ln 2 / 2; e^r by a polynomial, 2ⁿ by the exponent's bits.
    #[inline(always)]
    fn exp<S: Simd>(self) -> Self {
        // 1.5·2²³: adding it rounds to an integer in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // ln 2 in two parts, the first with few significant bits.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Comparisons written so that NaN stays NaN.
        let x = if self < -87.0 { -87.0 } else { self };
        let x = if x > 88.0 { 88.0 } else { x };
        let shifted = mul_add::<S, f32>(x, std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = mul_add::<S, f32>(n, -LN2_LOW, mul_add::<S, f32>(n, -LN2_HIGH, x));
        let tail = polynomial::<S, _>(
            r,
            [0.5, 0.166_665_76, 0.041_666_374, 0.008_363_18, 0.001_394_111_8],
        );
        let e = mul_add::<S, f32>(tail * r, r, r) + 1.0;
        let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
        // Clamping would give a finite number, but 0 · ∞ later must be NaN.
        if self == f32::INFINITY { self } else { e * scale }
    }

    /// An odd polynomial below 15/16, 1 - e^(-t - t·q(t)) above.
    #[inline(always)]
    fn erf<S: Simd>(self) -> Self {
        let t = self.abs();
        let s = self * self;
        let p = polynomial::<S, _>(
            s,
            [
                0.128_379_17,
                -0.376_126_32,
                0.112_836_86,
                -0.026_858_851,
                0.005_199_6,
                -0.000_812_580_6,
                8.296_61e-5,
            ],
        );
        let near = mul_add::<S, f32>(self, p, self);
        let t = if t > 4.0 { 4.0 } else { t };
        let q = polynomial::<S, _>(
            t,
            [
                -0.128_662,
                -0.635_096_3,
                -0.106_328_025,
                0.023_840_74,
                -0.003_679_735_4,
                0.000_331_989_3,
                -1.215_061_1e-5,
            ],
        );
        // `Float::exp`: plain `.exp()` is std's, a call into libm.
        let far = (1.0 - Float::exp::<S>(mul_add::<S, f32>(q, t, -t))).copysign(self);
        if t > 0.9375 { far } else { near }
    }

    /// An odd polynomial below 5/8, 1 - 2 / (e^2x + 1) above.
    #[inline(always)]
    fn tanh<S: Simd>(self) -> Self {
        let s = self * self;
        let p = polynomial::<S, _>(
            s,
            [-0.333_333_28, 0.133_327_95, -0.053_854_07, 0.021_010_084, -0.006_113_193_5],
        );
        let near = mul_add::<S, f32>(self * s, p, self);
        let far = 1.0 - 2.0 / (Float::exp::<S>(self.abs() * 2.0) + 1.0);
        if self.abs() > 0.625 { far.copysign(self) } else { near }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Scalar;

    /// Largest |f32 - f64| over a grid.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        (0..200_000)
            .map(|i| from + (to - from) * i as f32 / 200_000.0)
            .map(|x| (f64::from(f(x)) - exact(f64::from(x))).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn close_to_f64() {
        assert!(
            worst(<f32 as Float>::erf::<Scalar>, candle_core::cpu::erf::erf_f64, -6.0, 6.0)
                < 1.2e-7
        );
        assert!(worst(<f32 as Float>::tanh::<Scalar>, f64::tanh, -12.0, 12.0) < 2e-7);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(worst(<f32 as Float>::sigmoid::<Scalar>, sigmoid, -40.0, 40.0) < 2e-7);
        for i in 0..100_000 {
            let x = -87.0 + 175.0 * i as f32 / 100_000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(Float::exp::<Scalar>(x)) - exact).abs() / exact < 2e-7, "exp({x})");
        }
    }

    #[test]
    fn not_a_number_stays_so() {
        for f in [
            <f32 as Float>::exp::<Scalar>,
            <f32 as Float>::erf::<Scalar>,
            <f32 as Float>::tanh::<Scalar>,
        ] {
            assert!(f(f32::NAN).is_nan() && f(-f32::NAN).is_nan());
        }
        let (inf, sigmoid) = (f32::INFINITY, <f32 as Float>::sigmoid::<Scalar>);
        assert_eq!([sigmoid(inf), <f32 as Float>::tanh::<Scalar>(-inf)], [1.0, -1.0]);
        assert!(sigmoid(-inf) == 0.0 && sigmoid(f32::NAN).is_nan());
    }
}
