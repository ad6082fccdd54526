//! A token's row has the same bits however it gets into the model.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// A sequence that is cut into pieces.
#[derive(Clone, Debug)]
struct Plan {
    seed: u32,
    pieces: Vec<Piece>,
    threads: usize,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    length: usize,
    place: Place,
    /// Tokens of another sequence in the same pass, before and behind.
    strangers: (usize, usize),
}

/// Where a piece goes.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// To the end of the segment, in a pass of its own.
    Next,
    /// Into a child, before which so many tokens that it does not see are put behind the parent.
    Child { unseen: usize },
    /// Into a child, in the same pass as its parent's piece.
    ChildInPass,
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Next),
        (0_usize..70).prop_map(|unseen| Place::Child { unseen }),
        Just(Place::ChildInPass),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let strangers = prop_oneof![Just((0, 0)), (0_usize..40, 0_usize..40)];
    let piece = (1_usize..50, place(), strangers);
    let piece = piece.prop_map(|(length, place, strangers)| Piece { length, place, strangers });
    (0_u32..4, prop::collection::vec(piece, 1..6), 1_usize..=3).prop_map(|(seed, pieces, threads)| Plan {
        seed,
        pieces,
        threads,
    })
}

/// Reads the sequence as planned.
fn follow(model: &mut Model, plan: &Plan, sequence: &[u32]) -> Vec<Vec<f32>> {
    let stranger = tokens(99, 40);
    let mut segment = model.cache.root();
    let mut all = vec![segment];
    let mut in_segment = 0;
    let mut rows = Vec::new();
    let mut read = 0;
    let mut pieces = plan.pieces.iter().peekable();
    while let Some(piece) = pieces.next() {
        if let Place::Child { unseen } = piece.place {
            model.pass(&[(segment, &tokens(7, unseen))]);
            segment = model.cache.child(segment, in_segment);
            all.push(segment);
            in_segment = 0;
        }
        let (before, behind) = (model.cache.root(), model.cache.root());
        all.extend([before, behind]);
        let mut runs = vec![(before, &stranger[..piece.strangers.0])];
        let first = read;
        runs.push((segment, &sequence[read..][..piece.length]));
        read += piece.length;
        in_segment += piece.length;
        while let Some(child) = pieces.next_if(|piece| matches!(piece.place, Place::ChildInPass)) {
            segment = model.cache.child(segment, in_segment);
            all.push(segment);
            runs.push((segment, &sequence[read..][..child.length]));
            read += child.length;
            in_segment = child.length;
        }
        runs.push((behind, &stranger[..piece.strangers.1]));
        rows.extend(model.pass(&runs).drain(piece.strangers.0..).take(read - first));
    }
    for segment in all {
        model.cache.release(segment);
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_do_not_depend_on_how_they_are_read(
        plan in plan(),
        precision in prop::sample::select(vec![KeyValuePrecision::Single, KeyValuePrecision::Sixteen]),
    ) {
        static TINY: LazyLock<Tiny> = LazyLock::new(|| Tiny::new(Shape::default(), 3));
        let mut model = Model::with(&TINY, precision);
        let sequence = tokens(plan.seed, plan.pieces.iter().map(|piece| piece.length).sum());
        let expected = model.alone(&sequence);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(plan.threads).build().unwrap();
        let rows = pool.install(|| follow(&mut model, &plan, &sequence));
        prop_assert_eq!(bits(&rows), bits(&expected));
        prop_assert_eq!(model.cache.held(), 0);
        // Logits of a row neither depend on the rows beside it.
        let together = pool.install(|| model.decoder.logits(&rows));
        let last = model.decoder.logits(&rows[rows.len() - 1..]);
        prop_assert_eq!(bits(&together[rows.len() - 1..]), bits(&last));
    }
}

#[test]
fn threads_change_nothing() {
    // Heads of two panels, so that there is more for threads to share out.
    let shape =
        Shape { heads: 6, key_value_heads: 3, head_width: 40, rotated: 40, width: 96, ..Shape::default() };
    let tiny = Tiny::new(shape, 5);
    let sequence = tokens(1, 150);
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut model = Model::new(&tiny);
            let rows = model.alone(&sequence);
            (bits(&model.decoder.logits(&rows)), bits(&rows))
        })
    };
    let one = of(1);
    assert!(one == of(2) && one == of(3));
}

#[test]
fn answers_that_advance_together_are_as_if_alone() {
    // So many rows that strips have several blocks, each with the ends of a dozen sequences.
    let tiny = Tiny::new(Shape::default(), 8);
    let mut model = Model::with(&tiny, KeyValuePrecision::Sixteen);
    let context = tokens(0, 90);
    let answer = |index: usize| tokens(u32::try_from(index).unwrap() + 1, 3 + index % 40);
    let root = model.cache.root();
    model.pass(&[(root, &context)]);
    let leaves = [(); 70].map(|()| model.cache.child(root, context.len()));
    let answers: Vec<Vec<u32>> = (0..leaves.len()).map(answer).collect();
    let mut rows = vec![Vec::new(); leaves.len()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        for place in 0..42 {
            let going = (0..leaves.len()).filter(|&index| place < answers[index].len());
            let runs: Vec<_> =
                going.clone().map(|index| (leaves[index], &answers[index][place..=place])).collect();
            for (index, row) in going.zip(model.pass(&runs)) {
                rows[index].push(row);
            }
        }
    });
    for (answer, rows) in answers.iter().zip(&rows) {
        let expected = model.alone(&[&context[..], answer].concat());
        assert_eq!(bits(rows), bits(&expected[context.len()..]));
    }
}

#[test]
fn filling_leaves_the_same_keys_and_values_as_reading() {
    let tiny = Tiny::new(Shape::default(), 6);
    let mut model = Model::new(&tiny);
    let sequence = tokens(2, 70);
    let expected = model.alone(&sequence);
    let root = model.cache.root();
    let (filled, read) = sequence.split_at(45);
    let run = Run { segment: root, tokens: filled };
    model.decoder.pass(&mut model.cache, &[run], Purpose::Fill, &mut model.scratch);
    assert_eq!(bits(&model.pass(&[(root, read)])), bits(&expected[45..]));
}

#[test]
fn a_pass_without_tokens_is_nothing() {
    let mut model = Model::new(&Tiny::new(Shape::default(), 0));
    let root = model.cache.root();
    assert!(model.pass(&[]).is_empty() && model.pass(&[(root, &[])]).is_empty());
    assert!(model.decoder.logits(&[]).is_empty());
    assert_eq!(model.cache.length(root), 0);
}
