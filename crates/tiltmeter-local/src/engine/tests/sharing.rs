//! What requests share goes through the model once.

use super::*;
use crate::engine::prefix::common;
use crate::text::ChatTemplate;

fn tokens(prompt: &Prompt) -> Vec<u32> {
    let (_folder, gguf) = TINY.open();
    let vocabulary = Vocabulary::from_gguf(&gguf).unwrap();
    ChatTemplate::from_gguf(&gguf).unwrap().encode(prompt, &vocabulary).unwrap()
}

fn shared(prompts: &[Vec<u32>]) -> usize {
    prompts.iter().map(|other| common(&prompts[0], other)).min().unwrap()
}

#[test]
fn a_context_is_computed_once() {
    let context = context(8);
    let prompts = ["What?", "Why?", "Who"].map(|question| prompt(&context, question));
    let lengths = prompts.each_ref().map(|prompt| tokens(prompt));
    let shared = shared(&lengths);
    assert!(shared > 150, "{shared}");
    let own: usize = lengths.iter().map(|tokens| tokens.len() - shared).sum();
    for batch_tokens in [16, 512] {
        let mut bench = Bench::new(&TINY, &LocalSettings { batch_tokens: size(batch_tokens), ..settings() });
        // Two texts of a question, the last token of which is not read: "abc" and "d" without merges.
        let asks: Vec<Ask> = prompts
            .iter()
            .flat_map(|prompt| ["abc", "d"].map(|text| Ask::Score(Arc::clone(prompt), text)))
            .collect();
        let computed = bench.computed(|bench| drop(bench.ask(&asks)));
        assert_eq!(computed, shared + own + 3 * 2);
        // The context is kept.
        let computed = bench.computed(|bench| drop(bench.ask(&asks)));
        assert_eq!(computed, own + 3 * 2);
    }
}

#[test]
fn nested_contexts_go_on_from_each_other() {
    let questions = ["What?", "Why?"];
    let of = |k| questions.map(|question| prompt(&context(k), question));
    let mut bench = Bench::new(&TINY, &settings());
    let mut kept: Vec<u32> = Vec::new();
    // Each context goes on from the one before. The first again, from the last, is free.
    for k in [1, 2, 4, 8, 16, 4] {
        let prompts = of(k);
        let lengths = prompts.each_ref().map(|prompt| tokens(prompt));
        let shared = shared(&lengths);
        let reused = common(&kept, &lengths[0][..shared]);
        let asks = prompts.map(|prompt| Ask::Score(prompt, "a"));
        let computed = bench.computed(|bench| drop(bench.ask(&asks)));
        let own: usize = lengths.iter().map(|tokens| tokens.len() - shared).sum();
        assert_eq!(computed, shared - reused + own, "{k}");
        // The header of a question follows each context, and is the same for all.
        assert!(kept.is_empty() || reused + 20 > kept.len().min(shared), "{k}: {reused} of {}", kept.len());
        if k == 16 || shared > kept.len() {
            kept = lengths[0][..shared].to_vec();
        }
    }
}

#[test]
fn answers_of_a_prompt_share_it() {
    let prompt = prompt(&context(4), "What?");
    let length = tokens(&prompt).len();
    let mut bench = Bench::new(&TINY, &settings());
    let asks: Vec<Ask> = (0..6)
        .map(|seed| Ask::Chat(Arc::clone(&prompt), Sampling { seed: Some(seed), ..sampling() }))
        .collect();
    let mut replies = Vec::new();
    let computed = bench.computed(|bench| replies = bench.ask(&asks));
    let usages: Vec<_> = replies
        .into_iter()
        .map(|reply| match reply {
            Reply::Chat(response) => response.unwrap().usage,
            other => panic!("{other:?}"),
        })
        .collect();
    // The last token of an answer is not read.
    let drawn: u64 = usages.iter().map(|usage| usage.output_tokens - 1).sum();
    assert_eq!(computed as u64, length as u64 + drawn);
    // The first pays for the prompt. The last token of it is computed again for each in the provider's view.
    let input = length as u64;
    assert!(usages.iter().all(|usage| usage.input_tokens == input));
    let cached: Vec<u64> = usages.iter().map(|usage| usage.cached_input_tokens).collect();
    assert_eq!(cached, [&[0][..], &[input - 1; 5]].concat());
}

#[test]
fn all_is_freed_that_is_not_kept() {
    let mut bench = Bench::new(&TINY, &LocalSettings { prefix_cache_bytes: 0, ..settings() });
    for k in [0, 3, 9] {
        let prompts = ["x", "y", "z"].map(|question| prompt(&context(k), question));
        let asks: Vec<Ask> = prompts
            .iter()
            .flat_map(|prompt| {
                [Ask::Score(Arc::clone(prompt), "abc"), Ask::Chat(Arc::clone(prompt), sampling())]
            })
            .collect();
        bench.ask(&asks);
        assert_eq!(bench.worker.cache.held(), 1, "the context that was used last");
    }
}
