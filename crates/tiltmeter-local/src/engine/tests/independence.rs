//! A result has the same bits whatever else is asked, in which order, with which settings, and after what.

use proptest::prelude::*;

use super::taps::{all_taps, interventions};
use super::*;

/// All that is asked in these tests: with and without interventions, of which some change what is kept of a context.
static ASKS: LazyLock<Vec<Ask>> = LazyLock::new(|| {
    let apart = RenderedContext::render([("?", "!")], Placement::ChatTurns, QuestionFormat::Plain).into();
    let mut asks = Vec::new();
    for (number, context) in [context(0), context(2), context(4), apart].iter().enumerate() {
        for (question, system) in [("How?", None), ("Ho", None), ("w?", Some("Be brief."))] {
            let prompt = Prompt::new(Arc::clone(context), system.map(Into::into), question);
            let prompt = Arc::new(prompt);
            for text in ["a", "Then other things.", "<|im_end|>ü"] {
                asks.push(Ask::Score(Arc::clone(&prompt), text));
            }
            let seed = Some(u32::try_from(number).unwrap());
            let drawn = Sampling { seed, top_log_probabilities: Some(2), ..sampling() };
            let stopped = Sampling { seed: None, stop: vec!["e".to_owned()], max_tokens: 40, ..sampling() };
            for sampling in [drawn.clone(), stopped, greedy(5)] {
                asks.push(Ask::Chat(Arc::clone(&prompt), sampling));
            }
            for (index, intervention) in interventions().into_iter().enumerate() {
                let ask = match (number + index) % 3 {
                    0 => Ask::Score(Arc::clone(&prompt), "Then other things."),
                    1 => Ask::Chat(Arc::clone(&prompt), drawn.clone()),
                    _ => Ask::Read(Arc::clone(&prompt), "Then other things.", all_taps()),
                };
                asks.push(Ask::Under(intervention.into(), Box::new(ask)));
            }
            asks.push(Ask::Read(prompt, "Yes: xyz.", all_taps()));
        }
    }
    asks
});

/// The reply to each when a new worker is asked nothing else.
static ALONE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let alone = |ask| Bench::new(&TINY, &settings()).ask(std::slice::from_ref(ask)).remove(0).bits();
    ASKS.iter().map(alone).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn results_depend_on_the_request_alone(
        waves in prop::collection::vec(prop::collection::vec(0..ASKS.len(), 1..14), 1..4),
        batch_tokens in prop::sample::select(vec![1, 7, 33, 100, 512]),
        batch_sequences in prop::sample::select(vec![1, 3, 32]),
        prefix_cache_bytes in prop::sample::select(vec![0, 100_000, 512 << 20]),
        threads in 1_usize..=3,
    ) {
        let settings = LocalSettings {
            threads: Some(size(threads)),
            batch_tokens: size(batch_tokens),
            batch_sequences: size(batch_sequences),
            prefix_cache_bytes,
            ..settings()
        };
        let mut bench = Bench::new(&TINY, &settings);
        for wave in waves {
            let asks: Vec<Ask> = wave.iter().map(|&index| ASKS[index].clone()).collect();
            for (index, reply) in wave.into_iter().zip(bench.ask(&asks)) {
                prop_assert_eq!(&reply.bits(), &ALONE[index], "{:?}", ASKS[index]);
            }
        }
    }
}

#[test]
fn the_questions_of_the_property_are_answered_and_differ() {
    let failed = ALONE.iter().find(|reply| !reply.contains("(Ok("));
    assert_eq!(failed, None);
    let different: std::collections::BTreeSet<&String> = ALONE.iter().collect();
    assert!(different.len() > ALONE.len() * 3 / 4, "{} of {}", different.len(), ALONE.len());
}

#[tokio::test]
async fn an_open_model_answers_as_a_worker_does() {
    let (folder, _) = TINY.open();
    let source = ModelSource::File(folder.path().join("model.gguf"));
    let model = open(&source, LocalSettings { queue: size(2), ..settings() }, &()).await.unwrap();
    let ask = |ask: Ask| {
        let (model, ask) = match ask {
            Ask::Under(intervention, ask) => {
                (model.with_intervention((*intervention).clone()).unwrap(), *ask)
            }
            ask => (model.clone(), ask),
        };
        tokio::spawn(async move {
            match ask {
                Ask::Under(..) => panic!("two interventions"),
                Ask::Read(prompt, text, taps) => {
                    Reply::Read(model.hidden_states(&prompt, &text.into(), &taps).await)
                }
                Ask::Chat(prompt, sampling) => {
                    Reply::Chat(model.chat(&ChatRequest { prompt, sampling }).await)
                }
                Ask::Score(prompt, text) => {
                    Reply::Score(model.score(&ScoreRequest { prompt, continuation: text.into() }).await)
                }
            }
        })
    };
    let replies: Vec<_> = ASKS.iter().cloned().map(ask).collect();
    for (reply, expected) in replies.into_iter().zip(&*ALONE) {
        // The name is that of the file.
        assert_eq!(reply.await.unwrap().bits().replace("model F32", "tiny F32"), *expected);
    }
}
