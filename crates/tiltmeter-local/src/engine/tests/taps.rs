//! What is read from the residual stream, and what comes of changing it.

use super::*;
use crate::taps::{ReasoningMarks, Reduction, Span, Tap, TapReading, TokenSelection};

const WIDTH: usize = 40;

fn vector(seed: usize) -> Vec<f32> {
    (0..WIDTH).map(|index| ((index * 31 + seed * 7) % 13) as f32 / 6.0 - 1.0).collect()
}

/// Reasoning from the answer's start to the first full stop or comma.
fn sentence() -> ReasoningMarks {
    ReasoningMarks { open: String::new(), close: "t".to_owned() }
}

pub(super) fn interventions() -> Vec<Intervention> {
    let steer = |layer, coefficient, span| Intervention::steer(layer, &vector(1), coefficient, span).unwrap();
    vec![
        steer(1, 2.0, Span::Answer),
        steer(1, -2.0, Span::Answer),
        steer(2, 1.5, Span::Reasoning(sentence())),
        steer(1, 0.7, Span::All),
        steer(1, 0.7, Span::Prompt),
        steer(2, 3.0, Span::Positions(vec![3..9, 20..400])),
        Intervention::ablate(1, &vector(2), Span::All).unwrap(),
        Intervention::ablate(2, &vector(2), Span::Answer).unwrap(),
    ]
}

fn tap(tokens: TokenSelection, reduction: Reduction) -> Tap {
    Tap { layers: [2, 0, 1].into(), tokens, reduction }
}

pub(super) fn all_taps() -> Arc<[Tap]> {
    [
        tap(TokenSelection::PromptLast, Reduction::Each),
        tap(TokenSelection::Answer, Reduction::Mean),
        tap(TokenSelection::Reasoning(sentence()), Reduction::Each),
        tap(TokenSelection::Positions(vec![0..2, 40..47]), Reduction::Mean),
    ]
    .into()
}

fn read(bench: &mut Bench, ask: Ask) -> HiddenStates {
    match bench.ask(&[ask]).remove(0) {
        Reply::Read(states) => states.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// All tokens at all indices.
fn everything(
    bench: &mut Bench,
    prompt: &Arc<Prompt>,
    text: &'static str,
    under: Option<&Intervention>,
) -> TapReading {
    let taps = [Tap { layers: [0, 1, 2].into(), tokens: TokenSelection::All, reduction: Reduction::Each }];
    let ask = Ask::Read(Arc::clone(prompt), text, taps.into());
    let ask = match under {
        Some(intervention) => Ask::Under(Arc::new(intervention.clone()), Box::new(ask)),
        None => ask,
    };
    read(bench, ask).taps.remove(0)
}

#[test]
fn taps_read_what_they_are_asked_for() {
    let mut bench = Bench::new(&TINY, &settings());
    let prompt = prompt(&context(3), "How?");
    let text = "abc the.";
    let all = everything(&mut bench, &prompt, text, None);
    let states = read(&mut bench, Ask::Read(Arc::clone(&prompt), text, all_taps()));
    let (before, answer) = (states.prompt_tokens, states.answer_tokens);
    assert_eq!(all.positions, (0..before + answer).collect::<Vec<_>>());
    let expected: [Vec<usize>; 4] = [
        vec![before - 1],
        (before..before + answer).collect(),
        // "a", "b", "c", " ", "the" holds the mark.
        (before..before + 4 + usize::from(answer > 4)).collect(),
        (0..2).chain(40..47).collect(),
    ];
    for (reading, expected) in states.taps.iter().zip(&expected) {
        assert_eq!(&reading.positions, expected);
    }
    for (place, index) in [2, 0, 1].into_iter().enumerate() {
        assert_eq!(states.taps[0].layers[place], [all.layers[index][before - 1].clone()]);
        for (tap, positions) in [(1, &expected[1]), (3, &expected[3])] {
            for value in 0..WIDTH {
                let sum: f64 = positions.iter().map(|&at| f64::from(all.layers[index][at][value])).sum();
                let mean = f64::from(states.taps[tap].layers[place][0][value]);
                assert!((mean - sum / positions.len() as f64).abs() < 1e-6, "{tap} {index} {value}");
            }
        }
    }
    // Nothing is selected of an answer that is empty.
    let empty = read(&mut bench, Ask::Read(prompt, "", all_taps()));
    assert_eq!((empty.taps[1].layers.clone(), empty.answer_tokens), (vec![Vec::<Vec<f32>>::new(); 3], 0));
}

#[test]
fn an_index_that_is_not_there_is_refused() {
    let mut bench = Bench::new(&TINY, &settings());
    let taps = [Tap { layers: [3].into(), ..tap(TokenSelection::PromptLast, Reduction::Each) }];
    match bench.ask(&[Ask::Read(prompt(&context(0), "x"), "", taps.into())]).remove(0) {
        Reply::Read(Err(error)) => assert!(error.message.contains("0 to 2"), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Which positions an intervention changes at its own index, of a prompt of 100 tokens, say, and an answer.
fn covers(span: &Span, position: usize, prompt: usize, reasoning: usize) -> bool {
    match span {
        Span::Answer => position >= prompt - 1,
        Span::Reasoning(_) => (prompt - 1..prompt - 1 + reasoning).contains(&position),
        Span::Prompt => position < prompt,
        Span::All => true,
        Span::Positions(ranges) => ranges.iter().any(|range| range.contains(&position)),
    }
}

#[test]
fn an_intervention_changes_its_tokens_by_what_it_says() {
    let mut bench = Bench::new(&TINY, &LocalSettings { batch_tokens: size(16), ..settings() });
    let prompt = prompt(&context(3), "How?");
    let text = "abc the.";
    let plain = everything(&mut bench, &prompt, text, None);
    let answer = read(&mut bench, Ask::Read(Arc::clone(&prompt), text, all_taps()));
    // The mark's own token is predicted as reasoning, and what follows it is not.
    let reasoning = answer.taps[2].positions.len();
    for intervention in interventions() {
        let changed = everything(&mut bench, &prompt, text, Some(&intervention));
        let layer = intervention.edit().blocks;
        let direction = &intervention.edit().direction;
        let project = |row: &[f32]| -> f64 {
            row.iter().zip(direction).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        for position in 0..plain.positions.len() {
            let of = |reading: &TapReading, layer: usize| reading.layers[layer][position].clone();
            // What is below the change stays as it was.
            assert_eq!(of(&changed, layer - 1), of(&plain, layer - 1));
            let (before, after) = (project(&of(&plain, layer)), project(&of(&changed, layer)));
            let is_covered = covers(intervention.span(), position, answer.prompt_tokens, reasoning);
            match (is_covered, intervention.expected_shift()) {
                (false, _) => {
                    assert_eq!(of(&changed, layer), of(&plain, layer), "{intervention:?} {position}");
                }
                (true, Some(shift)) => {
                    assert!((after - before - shift).abs() < 1e-4, "{before} {after} {shift}");
                }
                (true, None) => assert!(after.abs() < 1e-4, "{before} {after}"),
            }
        }
        let last = changed.layers[2].last() == plain.layers[2].last();
        // A change before the last block reaches later tokens through their attention.
        assert!(layer == 2 || !last, "{intervention:?}");
        let scored = bench.ask(&[Ask::Under(
            Arc::new(intervention.clone()),
            Box::new(Ask::Score(Arc::clone(&prompt), text)),
        )]);
        let Reply::Score(Ok(score)) = &scored[0] else { panic!("{scored:?}") };
        let shift = score.shift.unwrap();
        // The answer's last token is predicted and not read.
        let counted = (answer.prompt_tokens - 1..plain.positions.len() - 1)
            .filter(|&position| covers(intervention.span(), position, answer.prompt_tokens, reasoning));
        assert_eq!(shift.tokens, counted.count() as u64, "{intervention:?}");
        if let Some(expected) = intervention.expected_shift() {
            assert!((shift.after - shift.before - expected).abs() < 1e-4, "{shift:?}");
        } else {
            assert!(shift.after.abs() < 1e-4 && shift.before != 0.0, "{shift:?}");
        }
    }
}

#[test]
fn steering_changes_what_is_said_and_is_told() {
    let mut bench = Bench::new(&TINY, &settings());
    let prompt = prompt(&context(3), "How?");
    let plain = bench.chat(&prompt, greedy(8)).unwrap();
    assert_eq!(plain.shift, None);
    let under = |bench: &mut Bench, intervention: Intervention| {
        let ask = Ask::Under(intervention.into(), Box::new(Ask::Chat(Arc::clone(&prompt), greedy(8))));
        match bench.ask(&[ask]).remove(0) {
            Reply::Chat(response) => response.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let none = under(&mut bench, Intervention::steer(1, &vector(1), 0.0, Span::Answer).unwrap());
    assert_eq!(none.text, plain.text);
    let strong = under(&mut bench, Intervention::steer(1, &vector(1), 30.0, Span::Answer).unwrap());
    assert_ne!(strong.text, plain.text);
    let shift = strong.shift.unwrap();
    // The prompt's last token, and all that were drawn but the last.
    assert_eq!(shift.tokens, strong.usage.output_tokens);
    let length: f64 = vector(1).iter().map(|&value| f64::from(value * value)).sum::<f64>().sqrt();
    assert!((shift.after - shift.before - 30.0 * length).abs() < 1e-3, "{shift:?}");
}

#[test]
fn contexts_are_not_shared_across_interventions_that_change_them() {
    let mut bench = Bench::new(&TINY, &settings());
    let prompt = prompt(&context(8), "What?");
    let ask = |intervention: &Intervention| {
        Ask::Under(Arc::new(intervention.clone()), Box::new(Ask::Score(Arc::clone(&prompt), "abc")))
    };
    let whole = bench.computed(|bench| drop(bench.score(&prompt, "abc")));
    let again = bench.computed(|bench| drop(bench.score(&prompt, "abc")));
    assert!(again < 10 && whole > 150, "{again} of {whole}");
    for intervention in interventions() {
        let first = bench.computed(|bench| drop(bench.ask(&[ask(&intervention)])));
        let then = bench.computed(|bench| drop(bench.ask(&[ask(&intervention)])));
        let is_shared = matches!(intervention.span(), Span::Answer | Span::Reasoning(_));
        assert_eq!((first, then), (if is_shared { again } else { whole }, again), "{intervention:?}");
    }
    let unchanged = bench.computed(|bench| drop(bench.score(&prompt, "abc")));
    assert_eq!(unchanged, again);
}

#[tokio::test]
async fn a_model_refuses_what_does_not_fit_it() {
    let (folder, _) = TINY.open();
    let model = open(&ModelSource::File(folder.path().join("model.gguf")), settings(), &()).await.unwrap();
    assert_eq!((model.description().layers, model.description().width), (2, WIDTH));
    for (layer, width) in [(0, WIDTH), (3, WIDTH), (1, WIDTH - 1)] {
        let intervention = Intervention::ablate(layer, &vector(1)[..width], Span::All).unwrap();
        assert!(model.with_intervention(intervention).is_err(), "{layer} {width}");
    }
}
