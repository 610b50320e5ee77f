//! Exponentials and logarithms that are the same on every machine.
//!
//! The methods of `f64` call the machine's C library, whose versions differ in the last digit. A record would then be decided
//! otherwise on the machine of whoever looks into it, and a seed of the simulator would tell another story there. Those of the `libm` crate are plain
//! arithmetic. What is more, the daemon then has no mathematical library to load: 0.6 MB of a client's resident set, of which it needed four
//! functions.
//!
//! (`powi` and `sqrt` are no matter of the C library.)

pub(super) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// `exp(x) - 1`, exact near zero.
pub(super) fn exp_m1(x: f64) -> f64 {
    libm::expm1(x)
}

pub(super) fn ln(x: f64) -> f64 {
    libm::log(x)
}

pub(super) fn powf(x: f64, exponent: f64) -> f64 {
    libm::pow(x, exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_same_to_the_last_bit_wherever_this_runs() {
        let bits = [exp(-0.7), exp_m1(0.3), ln(10.0), powf(7.3, 0.75)].map(f64::to_bits);
        assert_eq!(
            bits,
            [
                0x3fdf_c80d_b9dd_5542,
                0x3fd6_6416_3230_6a56,
                0x4002_6bb1_bbb5_5516,
                0x4011_c3b3_fcfe_fb24,
            ]
        );
    }
}
