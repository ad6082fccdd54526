//! How many of each kind to look at.

/// Shares a total out over groups as evenly as their sizes allow: no group gets more than its size, and what a small one
/// cannot take goes to the larger ones, the larger first where it cannot be shared. The sum is the total, or that of the
/// sizes where it is less.
pub fn even_allocation(sizes: &[u64], total: u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&group| sizes[group]);
    let mut shares = vec![0; sizes.len()];
    let mut left = total;
    for (done, &group) in order.iter().enumerate() {
        let groups = (order.len() - done) as u64;
        shares[group] = sizes[group].min(left / groups);
        left -= shares[group];
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rare_groups_are_taken_whole() {
        assert_eq!(even_allocation(&[100, 5, 900], 65), [30, 5, 30]);
        assert_eq!(even_allocation(&[10, 10, 10], 8), [2, 3, 3]);
        assert_eq!(even_allocation(&[1, 2], 50), [1, 2]);
        assert_eq!(even_allocation(&[], 5), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn shares_are_even_and_add_up(sizes in prop::collection::vec(0_u64..50, 1..8), total in 0_u64..200) {
            let shares = even_allocation(&sizes, total);
            prop_assert_eq!(shares.iter().sum::<u64>(), total.min(sizes.iter().sum()));
            let most = shares.iter().max().copied().unwrap_or(0);
            for (share, size) in shares.iter().zip(&sizes) {
                prop_assert!(share <= size && (share == size || share + 1 >= most));
            }
        }
    }
}
