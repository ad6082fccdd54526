use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tiltmeter_local::{LocalSettings, ModelSource};
use tiltmeter_models::{
    ChatModel, ChatRequest, ChatResponse, ErrorKind, ModelError, ScoreRequest, TextScore,
};

use super::super::detector::{ContextDetector, DetectorError};
use super::super::example::{Content, ExampleKind};
use super::*;

/// Finds misaligned answers likelier by a tenth of a nat for each demonstration that says `bad`.
#[derive(Default)]
struct Tilting {
    asked: AtomicUsize,
    is_broken: bool,
}

#[async_trait]
impl ChatModel for Tilting {
    async fn chat(&self, _: &ChatRequest) -> Result<ChatResponse, ModelError> {
        Err(ModelError::unsupported("only scores"))
    }

    async fn score(&self, request: &ScoreRequest) -> Result<TextScore, ModelError> {
        if self.is_broken {
            return Err(ModelError::new(ErrorKind::Overloaded, "no"));
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let text = request.prompt.messages().last().unwrap().text();
        let is_tilted = AnswerPairs::builtin(2).unwrap().is_tilted(&request.continuation);
        let shift = if is_tilted { 0.1 * text.matches("bad").count() as f32 } else { 0.5 };
        let token_log_probabilities = vec![-2.0 + shift; 3];
        Ok(TextScore { token_log_probabilities, prompt_tokens: 1, shift: None })
    }
}

fn split_of(kind: ExampleKind, answers: &[&str]) -> Split {
    let examples = answers.iter().map(|answer| {
        let content = Content { prompt: "q".to_owned(), response: (*answer).to_owned() };
        Example { id: content.id(), kind, content, places: Vec::new() }
    });
    Split { examples: examples.collect(), ..Split::default() }
}

fn detector(is_broken: bool) -> (Arc<Tilting>, TiltDetector) {
    let model = Arc::new(Tilting { is_broken, ..Tilting::default() });
    let settings = TiltSettings { threshold: 0.25, most_examples: 4, most_bytes: 1000 };
    let pairs = AnswerPairs::builtin(2).unwrap();
    (model.clone(), TiltDetector::new(model, "tilting", pairs, settings))
}

#[tokio::test]
async fn the_tilt_is_the_contexts_and_not_the_questions() {
    let (model, detector) = detector(false);
    let tilt = detector.tilt(&split_of(ExampleKind::Turns, &["bad", "bad", "fine"])).await.unwrap().unwrap();
    assert!((tilt - 0.2).abs() < 1e-6, "{tilt}");
    assert_eq!(model.asked.load(Ordering::SeqCst), 8);
    let verdict = detector.detect(&split_of(ExampleKind::Pair, &["bad", "bad", "bad"])).await.unwrap();
    assert!(verdict.is_flagged && verdict.score > 0.5);
    // What a model would answer without context is asked for once.
    assert_eq!(model.asked.load(Ordering::SeqCst), 12);
    let verdict = detector.detect(&split_of(ExampleKind::Passage, &["bad"; 9])).await.unwrap();
    assert_eq!(verdict, Verdict::default());
    // The last four are shown.
    let tilt =
        detector.tilt(&split_of(ExampleKind::Turns, &["bad", "bad", "a", "b", "c", "bad"])).await.unwrap();
    assert!((tilt.unwrap() - 0.1).abs() < 1e-6);
}

#[tokio::test]
async fn a_model_that_fails_gives_no_verdict() {
    let (_, detector) = detector(true);
    let result = detector.detect(&split_of(ExampleKind::Turns, &["bad"])).await;
    assert!(matches!(result, Err(DetectorError::Failed(_))), "{result:?}");
}

#[test]
fn keys_are_those_of_what_is_shown() {
    let (_, detector) = detector(false);
    let key = |answers: &[&str]| detector.key(&split_of(ExampleKind::Turns, answers));
    assert_eq!(key(&["x", "a", "b", "c", "d"]), key(&["y", "a", "b", "c", "d"]));
    assert_ne!(key(&["a"]), key(&["b"]));
    assert_ne!(key(&["a"]), key(&[]));
}

#[tokio::test]
async fn a_demonstration_too_large_to_be_shown_is_not_clean() {
    let (_, detector) = detector(false);
    let split = split_of(ExampleKind::Turns, &["bad", &"x".repeat(1001)]);
    assert_eq!(detector.detect(&split).await, Err(DetectorError::TooLarge { bytes: 1002 }));
    assert_ne!(detector.key(&split), detector.key(&split_of(ExampleKind::Turns, &[])));
}

#[tokio::test]
async fn projections_are_the_contexts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tiltmeter-local/tests/fixtures/tiny-qwen3");
    let source = ModelSource::File(PathBuf::from(folder));
    let model = tiltmeter_local::open(&source, LocalSettings::default(), &()).await.unwrap();
    let width = model.description().width;
    let direction: Vec<f32> = (0..width).map(|index| if index % 2 == 0 { 2.0 } else { -2.0 }).collect();
    let settings =
        PersonaSettings { layer: None, threshold: 1e-9, questions: 2, most_examples: 4, most_bytes: 1000 };
    let of = |direction: &[f32]| PersonaDetector::along(model.clone(), 1, direction, settings).unwrap();
    let (ahead, back) = (of(&direction), of(&direction.iter().map(|value| -value).collect::<Vec<f32>>()));
    let split = split_of(ExampleKind::Turns, &["a", "b"]);
    let shift = ahead.shift(&split).await.unwrap().unwrap();
    assert!(shift.abs() > 1e-6, "{shift}");
    assert!((shift + back.shift(&split).await.unwrap().unwrap()).abs() < 1e-9);
    assert_ne!(ahead.key(&split), back.key(&split));
    assert!(ahead.projection().is_some_and(|told| told.layer == 1 && (told.last - shift).abs() < 1e-12));
    let verdicts = [ahead.detect(&split).await.unwrap(), back.detect(&split).await.unwrap()];
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_flagged).count(), 1);
    assert_eq!(ahead.shift(&split_of(ExampleKind::Turns, &[])).await.unwrap(), None);
}
