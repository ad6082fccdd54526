//! Seeded draws of demonstrations.
//!
//! The generator is `ChaCha8`, keyed by a hash of what the draw is for; bounded integers and permutations are
//! made here, because a library's own methods may change between versions, and a draw must not.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::id::{Canonical, ContentId};

/// Draws `count` of `rows` row indices without replacement, in order, for one draw of a set.
///
/// With `own_draw` absent, the draws of smaller counts are the beginnings of those of larger ones (nested);
/// with it, each value of k has a draw of its own.
pub fn draw_rows(
    seed: u64,
    set: ContentId,
    draw: u32,
    own_draw: Option<u32>,
    rows: usize,
    count: usize,
) -> Vec<usize> {
    let key = Canonical::new("tiltmeter.draw/1").integer(seed).id(&set).integer(draw.into());
    let key = match own_draw {
        Some(shots) => key.integer(shots.into()),
        None => key,
    };
    let mut generator = generator(key.finish());
    let mut order: Vec<usize> = (0..rows).collect();
    let count = count.min(rows);
    for place in 0..count {
        let chosen = place + below(&mut generator, rows - place);
        order.swap(place, chosen);
    }
    order.truncate(count);
    order
}

/// Permutes rows so that none stays in its place (Sattolo's algorithm: one single cycle).
pub(super) fn shuffled(seed: u64, set: ContentId, draw: u32, rows: &[usize]) -> Vec<usize> {
    let mut key = Canonical::new("tiltmeter.shuffle/1").integer(seed).id(&set).integer(draw.into());
    for &row in rows {
        key = key.integer(row as u64);
    }
    let mut generator = generator(key.finish());
    let mut order = rows.to_vec();
    for place in (1..order.len()).rev() {
        let chosen = below(&mut generator, place);
        order.swap(place, chosen);
    }
    order
}

/// Places of `size` among `count` demonstrations, ascending: a random part of a context.
pub(super) fn part(key: ContentId, count: usize, size: usize) -> Vec<usize> {
    let mut generator = generator(key);
    let mut order: Vec<usize> = (0..count).collect();
    let size = size.min(count);
    for place in 0..size {
        let chosen = place + below(&mut generator, count - place);
        order.swap(place, chosen);
    }
    order.truncate(size);
    order.sort_unstable();
    order
}

pub(super) fn generator(key: ContentId) -> ChaCha8Rng {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(key.as_bytes());
    ChaCha8Rng::from_seed(seed)
}

/// A uniform integer below `bound` (at least 1), by rejection.
pub(crate) fn below(generator: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = bound.max(1) as u64;
    let limit = u64::MAX - u64::MAX % bound;
    loop {
        let value = generator.next_u64();
        if value < limit {
            return usize::try_from(value % bound).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::text_hash;
    use proptest::prelude::*;

    #[test]
    fn a_known_draw_never_changes() {
        assert_eq!(draw_rows(0, text_hash("set"), 0, None, 128, 8), [108, 2, 9, 71, 43, 24, 82, 74]);
    }

    proptest! {
        #[test]
        fn draws_are_without_replacement_and_nest(seed: u64, draw in 0_u32..50, rows in 1_usize..300, count in 0_usize..300) {
            let set = text_hash("set");
            let large = draw_rows(seed, set, draw, None, rows, count);
            prop_assert_eq!(large.len(), count.min(rows));
            let mut unique = large.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), large.len());
            prop_assert!(large.iter().all(|row| *row < rows));
            let small = draw_rows(seed, set, draw, None, rows, count / 2);
            prop_assert_eq!(&large[..small.len()], &small[..]);
        }

        #[test]
        fn no_answer_stays_with_its_prompt(seed: u64, count in 2_usize..100) {
            let set = text_hash("set");
            let rows = draw_rows(seed, set, 0, None, 100, count);
            let answers = shuffled(seed, set, 0, &rows);
            prop_assert!(rows.iter().zip(&answers).all(|(row, answer)| row != answer));
            let sorted = |mut list: Vec<usize>| { list.sort_unstable(); list };
            prop_assert_eq!(sorted(rows), sorted(answers));
        }
    }

    #[test]
    fn every_row_is_drawn_about_equally_often() {
        let set = text_hash("set");
        let mut counts = [0_u32; 10];
        for draw in 0..10_000 {
            counts[draw_rows(7, set, draw, None, 10, 1)[0]] += 1;
        }
        // 1,000 expected of each; six standard deviations are 180.
        assert!(counts.iter().all(|count| (820..1180).contains(count)), "{counts:?}");
    }
}
