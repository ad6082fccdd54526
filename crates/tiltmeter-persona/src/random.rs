//! Random directions: what a vector's effect is compared with.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Directions of length 1, uniform over the sphere: normal numbers (Box and Muller, "A note on the generation of random
/// normal deviates", 1958), scaled. The same seed gives the same ones, in the same order.
pub fn random_directions(width: usize, seed: u64) -> impl Iterator<Item = Vec<f64>> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let mut uniform = || (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut normal = || {
            let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
            radius * angle.cos()
        };
        let direction: Vec<f64> = (0..width).map(|_| normal()).collect();
        let length = direction.iter().map(|value| value * value).sum::<f64>().sqrt();
        direction.into_iter().map(|value| value / length).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_have_length_one_and_share_nothing() {
        let directions: Vec<Vec<f64>> = random_directions(400, 3).take(20).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (number, direction) in directions.iter().enumerate() {
            assert!((dot(direction, direction) - 1.0).abs() < 1e-12);
            // Cosines of random directions have the standard deviation 1/20 here.
            assert!(directions[..number].iter().all(|other| dot(direction, other).abs() < 0.25));
        }
        let again: Vec<Vec<f64>> = random_directions(400, 3).take(20).collect();
        assert_eq!(directions, again);
        assert_ne!(directions.first(), random_directions(400, 4).next().as_ref());
    }
}
