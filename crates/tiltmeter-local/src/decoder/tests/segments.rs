//! The tree of segments: forks share nothing but what they follow, and nothing is kept for nobody.

use super::*;

fn model() -> Model {
    Model::new(&Tiny::new(Shape::default(), 4))
}

#[test]
fn forks_do_not_meet() {
    let mut model = model();
    let context = tokens(0, 41);
    let tails = [tokens(1, 37), tokens(2, 5), tokens(3, 64)];
    let expected: Vec<_> = tails
        .iter()
        .map(|tail| bits(&model.alone(&[&context[..], tail].concat())[context.len()..]))
        .collect();
    let root = model.cache.root();
    model.pass(&[(root, &context)]);
    let forks = [(); 3].map(|()| model.cache.child(root, context.len()));
    // Each in its turn a few tokens, and all of them in one pass.
    let mut rows = [Vec::new(), Vec::new(), Vec::new()];
    for from in (0..64).step_by(16) {
        let parts = tails.each_ref().map(|tail| {
            let end = tail.len().min(from + 16);
            tail.get(from..end).unwrap_or_default()
        });
        let runs: Vec<_> = forks.into_iter().zip(parts).collect();
        let mut read = model.pass(&runs).into_iter();
        for (rows, part) in rows.iter_mut().zip(parts) {
            rows.extend(read.by_ref().take(part.len()));
        }
    }
    for (rows, expected) in rows.iter().zip(&expected) {
        assert_eq!(&bits(rows), expected);
    }
    // The context can go on: its children do not see it.
    model.pass(&[(root, &tokens(8, 30))]);
    let late = model.cache.child(root, context.len());
    assert_eq!(&bits(&model.pass(&[(late, &tails[0])])), &expected[0]);
    assert_eq!(model.cache.start(late), context.len());
    assert_eq!(model.cache.length(late), 37);
}

#[test]
fn what_is_cut_off_is_forgotten() {
    let mut model = model();
    for kept in [0, 1, 31, 32, 33, 60] {
        let sequence = tokens(1, 90);
        let expected = bits(&model.alone(&sequence)[kept..]);
        let root = model.cache.root();
        model.pass(&[(root, &sequence[..kept]), (root, &[])]);
        model.pass(&[(root, &tokens(2, 80))]);
        model.cache.truncate(root, kept);
        assert_eq!(model.cache.length(root), kept);
        assert_eq!(bits(&model.pass(&[(root, &sequence[kept..])])), expected, "{kept}");
        model.cache.truncate(root, 1_000);
        assert_eq!(model.cache.length(root), 90);
        model.cache.release(root);
    }
    assert_eq!(model.cache.held(), 0);
}

#[test]
fn a_copy_goes_its_own_way() {
    let mut model = model();
    for shared in [0, 1, 31, 32, 33, 64] {
        let original = tokens(1, 100);
        let other = [&original[..shared], &tokens(2, 50)].concat();
        let expected = (bits(&model.alone(&original)[70..]), bits(&model.alone(&other)[shared..]));
        let root = model.cache.root();
        model.pass(&[(root, &original[..70])]);
        let copy = model.cache.copy(root, shared);
        assert_eq!((model.cache.length(copy), model.cache.start(copy)), (shared, 0));
        assert_eq!(bits(&model.pass(&[(copy, &other[shared..])])), expected.1, "{shared}");
        assert_eq!(bits(&model.pass(&[(root, &original[70..])])), expected.0, "{shared}");
        // Nor does it need the original.
        model.cache.release(root);
        assert_eq!(model.cache.held(), 1);
        model.cache.truncate(copy, shared);
        assert_eq!(bits(&model.pass(&[(copy, &other[shared..])])), expected.1, "{shared}");
        model.cache.release(copy);
    }
    assert_eq!(model.cache.held(), 0);
}

#[test]
fn a_segment_is_freed_with_its_last_child() {
    let mut model = model();
    let cache = &mut model.cache;
    let root = cache.root();
    let (a, b) = (cache.child(root, 0), cache.child(root, 0));
    let deep = cache.child(a, 0);
    assert_eq!(cache.held(), 4);
    cache.release(root);
    cache.release(a);
    assert_eq!(cache.held(), 4, "the deep one still follows both");
    cache.release(deep);
    assert_eq!(cache.held(), 2, "the root is followed by the other child");
    // A place that became free is used again, and the old name does not free it.
    let fresh = cache.child(b, 0);
    assert_eq!(cache.held(), 3);
    cache.release(b);
    cache.release(fresh);
    assert_eq!(cache.held(), 0);
    cache.release(fresh);
    assert_eq!(cache.held(), 0);
}

#[test]
fn ancestors_that_lend_nothing_are_left_out() {
    let mut model = model();
    let root = model.cache.root();
    model.pass(&[(root, &tokens(0, 10))]);
    let empty = model.cache.child(root, 4);
    let leaf = model.cache.child(empty, 0);
    assert_eq!(model.cache.ancestors(leaf), [(root, 4)]);
    assert_eq!(model.cache.start(leaf), 4);
    let sequence = [&tokens(0, 4)[..], &tokens(5, 9)].concat();
    let expected = bits(&model.alone(&sequence)[4..]);
    assert_eq!(bits(&model.pass(&[(leaf, &sequence[4..])])), expected);
}
