//! Which demonstrations of a mixture have the set's own answers.

use rand_chacha::rand_core::Rng;

use super::draw::generator;
use crate::demonstration::{Mix, MixOrder};
use crate::id::{Canonical, ContentId};

/// The places among `count` whose answers are the set's own.
///
/// Where they are spread, the places of each eight in turn get the ranks 0 to 7, and those below the mixture's eighths are
/// the set's own. Ranks are positions with their bits reversed and then scrambled at random level by level (Owen,
/// "Randomly permuted (t, m, s)-nets and (t, s)-sequences", 1995): in each order, the first one, two, four of eight hold
/// their share, rounded; the beginning of a larger context is the smaller one; and places that are the set's own stay so in a
/// mixture of more eighths.
pub(super) fn own_places(
    mix: Mix,
    seed: u64,
    set: ContentId,
    draw: u32,
    own_draw: Option<u32>,
    count: usize,
) -> Vec<bool> {
    let own = mix.own_answers(count);
    match mix.order {
        MixOrder::Recent => (0..count).map(|place| place >= count - own).collect(),
        MixOrder::Early => (0..count).map(|place| place < own).collect(),
        MixOrder::Spread => {
            let key = Canonical::new("tiltmeter.mixture/1").integer(seed).id(&set).integer(draw.into());
            let key = match own_draw {
                Some(shots) => key.integer(shots.into()),
                None => key,
            };
            let mut generator = generator(key.finish());
            let mut flips = 0;
            let places = (0..count).map(|place| {
                if place % 8 == 0 {
                    flips = generator.next_u64();
                }
                rank(place % 8, flips) < mix.eighths.into()
            });
            places.collect()
        }
    }
}

/// The rank of a place among eight: its bits reversed, each flipped or not by the ones before it.
fn rank(place: usize, flips: u64) -> usize {
    let flip = |node: usize| usize::from(flips >> node & 1 == 1);
    let high = (place & 1) ^ flip(0);
    let middle = (place >> 1 & 1) ^ flip(1 + high);
    let low = (place >> 2 & 1) ^ flip(3 + 2 * high + middle);
    high << 2 | middle << 1 | low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::text_hash;

    fn places(eighths: u8, order: MixOrder, seed: u64, count: usize) -> Vec<bool> {
        own_places(Mix { eighths, order }, seed, text_hash("set"), 0, None, count)
    }

    fn own(places: &[bool]) -> usize {
        places.iter().filter(|is_own| **is_own).count()
    }

    proptest! {
        #[test]
        fn the_share_holds_and_contexts_nest(seed: u64, eighths in 1_u8..8, count in 0_usize..200) {
            let spread = places(eighths, MixOrder::Spread, seed, count);
            for length in (0..=count).filter(|length| length % 8 == 0 || [1, 2, 4].contains(length)) {
                let exact = length * usize::from(eighths);
                prop_assert!((exact / 8..=exact.div_ceil(8)).contains(&own(&spread[..length])));
            }
            prop_assert_eq!(&places(eighths, MixOrder::Spread, seed, count / 2)[..], &spread[..count / 2]);
            let more = places(eighths + 1, MixOrder::Spread, seed, count);
            prop_assert!(spread.iter().zip(&more).all(|(few, many)| !few || *many));
            for order in [MixOrder::Recent, MixOrder::Early] {
                let rounded = (count * usize::from(eighths) + 4) / 8;
                prop_assert_eq!(own(&places(eighths, order, seed, count)), rounded);
            }
        }
    }

    #[test]
    fn the_orders() {
        let shown =
            |order| places(4, order, 1, 8).iter().map(|own| if *own { 'x' } else { '.' }).collect::<String>();
        assert_eq!(shown(MixOrder::Recent), "....xxxx");
        assert_eq!(shown(MixOrder::Early), "xxxx....");
        // Every place is the set's own about as often as any other.
        let mut counts = [0_u32; 8];
        for seed in 0..4000 {
            for (count, is_own) in counts.iter_mut().zip(places(3, MixOrder::Spread, seed, 8)) {
                *count += u32::from(is_own);
            }
        }
        // 1,500 expected of each; six standard deviations are 184.
        assert!(counts.iter().all(|count| (1316..1684).contains(count)), "{counts:?}");
    }
}
