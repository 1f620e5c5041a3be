//! Medians, ratios of interleaved pairs and how sure they are. Pure.
//! Invariant: the same figures give the same interval; the resampling has a seed of its own.

use serde::Serialize;

/// Resamplings behind an interval.
const RESAMPLINGS: usize = 2000;

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A median of per-pair ratios and where 95 of 100 resamplings put it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Ratio {
    /// Of `ours` over `theirs`, pair by pair; `None` without a pair or where a denominator is zero.
    pub fn of_pairs(ours: &[f64], theirs: &[f64]) -> Option<Ratio> {
        if theirs.contains(&0.0) {
            return None;
        }
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let median_of_all = median(&ratios)?;
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut medians: Vec<f64> = (0..RESAMPLINGS)
            .filter_map(|_| {
                let drawn: Vec<f64> = ratios.iter().map(|_| ratios[draw(&mut state, ratios.len())]).collect();
                median(&drawn)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let at = |quantile: f64| medians[((medians.len() - 1) as f64 * quantile).round() as usize];
        Some(Ratio { median: median_of_all, low: at(0.025), high: at(0.975) })
    }
}

/// xorshift64: an index below `count`.
fn draw(state: &mut u64, count: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state % count as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::NAN, 1.0]), Some(1.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_is_of_pairs_and_one_wild_pair_does_not_move_it() {
        // The machine was ten times slower during the third pair, for both.
        let ratio = Ratio::of_pairs(&[1.0, 1.1, 10.0, 0.9, 1.0], &[10.0, 11.0, 100.0, 9.0, 10.0]).unwrap();
        assert!((ratio.median - 0.1).abs() < 1e-12 && (ratio.high - ratio.low) < 1e-12, "{ratio:?}");
        let wild = Ratio::of_pairs(&[1.0, 1.0, 1.0, 1.0, 9.0], &[10.0; 5]).unwrap();
        assert_eq!((wild.median, wild.low), (0.1, 0.1));
        assert!(wild.high <= 0.9);
    }

    #[test]
    fn no_ratio_without_pairs_or_over_zero() {
        assert_eq!(Ratio::of_pairs(&[], &[]), None);
        assert_eq!(Ratio::of_pairs(&[1.0], &[0.0]), None);
    }
}
