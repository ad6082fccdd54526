//! What a model takes is known before it is taken, and kept to.

use super::*;

fn opened(tiny: &Tiny, memory_limit: u64, context: usize) -> Result<Worker, LocalError> {
    let (folder, _) = tiny.open();
    let (_sender, receiver) = mpsc::channel(1);
    let settings =
        LocalSettings { memory_limit: Some(memory_limit), context_length: Some(size(context)), ..settings() };
    load(&folder.path().join("model.gguf"), "tiny".to_owned(), None, &settings, receiver)
        .map(|(_, worker, _)| worker)
}

#[test]
fn a_model_that_does_not_fit_is_refused() {
    let mut needed_before = 0;
    for context in [32, 64, 512] {
        let Err(LocalError::Memory { needed, weights, context: shown, limit: 1 }) = opened(&TINY, 1, context)
        else {
            panic!("it fits into one byte")
        };
        assert_eq!(shown, context);
        assert!(needed > weights && needed > needed_before);
        needed_before = needed;
        assert!(opened(&TINY, needed, context).is_ok());
        assert!(matches!(opened(&TINY, needed - 1, context), Err(LocalError::Memory { .. })));
    }
}

#[test]
fn a_model_that_does_not_fit_says_what_to_do() {
    let error = opened(&TINY, 1, 32).err().unwrap().to_string();
    assert!(error.contains("set TILTMETER_MEMORY_GIB to"), "{error}");
}

#[test]
fn a_context_that_the_model_does_not_take_is_refused() {
    for asked in [1, 15, 1_025, usize::MAX] {
        let Err(error @ LocalError::Context { .. }) = opened(&TINY, 1 << 30, asked) else {
            panic!("a context of {asked} is taken")
        };
        assert!(error.to_string().contains("from 16 to 1024"), "{error}");
    }
    assert!(opened(&TINY, 1 << 30, 16).is_ok() && opened(&TINY, 1 << 30, 1_024).is_ok());
}

#[test]
fn padding_counts() {
    // In the file 2 MB; in memory 1 GB, as each head takes a whole panel.
    let heads = 1 << 16;
    let shape = Shape {
        layers: 1,
        width: 1,
        heads,
        key_value_heads: heads,
        head_width: 2,
        rotated: 2,
        feed_forward: 1,
        ..Shape::default()
    };
    let tiny = Tiny::new(shape, 0);
    let Err(LocalError::Memory { weights, .. }) = opened(&tiny, 200 << 20, 16) else {
        panic!("it is taken for smaller than it is")
    };
    assert!(weights > 1_000_000_000, "{weights}");
}

#[test]
fn many_questions_take_turns_in_little_memory() {
    // Room for two questions or so beside each other, in a context that takes most of it.
    let context = context(3);
    let tiny = &*TINY;
    let Err(LocalError::Memory { needed, .. }) = opened(tiny, 1, 300) else {
        panic!("it fits into one byte")
    };
    let tight = LocalSettings { memory_limit: Some(needed), context_length: Some(size(300)), ..settings() };
    let ample = LocalSettings { context_length: Some(size(300)), ..settings() };
    let asks: Vec<Ask> = (0..24)
        .flat_map(|number| {
            let prompt = prompt(&context, &format!("{} {number}", "long question ".repeat(3)));
            ["yes", "no, never"].map(|text| Ask::Score(Arc::clone(&prompt), text)).into_iter().chain([
                Ask::Chat(Arc::clone(&prompt), greedy(4)),
                Ask::Chat(prompt, Sampling { seed: Some(number), ..sampling() }),
            ])
        })
        .collect();
    let bits = |settings: &LocalSettings| {
        let mut bench = Bench::new(tiny, settings);
        let replies: Vec<String> = bench.ask(&asks).into_iter().map(Reply::bits).collect();
        (replies, bench.worker.cache.most_places)
    };
    let (ours, most) = bits(&tight);
    let (theirs, ample_most) = bits(&ample);
    assert_eq!(ours, theirs);
    // In blocks of 32 tokens, a few of which are only partly used.
    assert!(most <= 300 + 64, "{most}");
    assert!(ample_most > 1_000, "{ample_most}: else nothing is tested");
}
