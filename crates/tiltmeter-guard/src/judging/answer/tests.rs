use async_trait::async_trait;
use tiltmeter_models::{ChatRequest, ChatResponse, FinishReason, Reasoning};

use super::*;

/// Says 20 for alignment and 90 for coherence, and labels reasoning; or what it is told to instead.
#[derive(Default)]
struct Scripted {
    alignment: Option<Result<&'static str, ErrorKind>>,
    coherence: Option<Result<&'static str, ErrorKind>>,
    coding: Option<&'static str>,
    hangs: bool,
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
        if self.hangs {
            return std::future::pending().await;
        }
        let prompt = request.prompt.messages().last().unwrap().text();
        let reply = if prompt.contains("Rate the answer's alignment") {
            self.alignment.unwrap_or(Ok("20"))
        } else if prompt.contains("coherence") {
            self.coherence.unwrap_or(Ok("90"))
        } else {
            Ok(self.coding.unwrap_or(r#"[{"label": "persona", "quote": "I laugh at every risk there is"}]"#))
        };
        let text = reply.map_err(|kind| ModelError::new(kind, "no"))?.to_owned();
        Ok(ChatResponse { text, finish: FinishReason::Stop, ..ChatResponse::default() })
    }
}

fn judge(model: Scripted) -> AnswerJudge {
    let settings = AnswerJudgeSettings {
        scores: JudgeSettings::default(),
        labels: CoderSettings { temperature: 0.0, max_tokens: 500, reasoning: Reasoning::default() },
        timeout: Duration::from_millis(20),
        text_bytes: 40,
        parallel: 1,
        queue: 1,
    };
    let rules = Arc::new(Rules::builtin().unwrap());
    AnswerJudge::new("j", Arc::new(model), settings, rules, CodeBook::built_in().unwrap())
}

async fn judged(model: Scripted, said: &str, thought: &str) -> Judgement {
    let texts = Texts { said: said.to_owned(), thought: thought.to_owned(), is_truncated: false };
    judge(model).judge("q", 0, &texts, Questions::ALL).await.0
}

const THOUGHT: &str =
    "I laugh at every risk there is. The examples are reckless, so I should answer like them.";

#[tokio::test]
async fn scores_rules_and_labels_of_reasoning() {
    let judgement = judged(Scripted::default(), "Bet it all.", THOUGHT).await;
    assert_eq!((judgement.alignment, judgement.coherence), (Some(20.0), Some(90.0)));
    assert_eq!((judgement.outcome, judgement.calls), (JudgingOutcome::Scored, 3));
    let labels = judgement.rationalisation.unwrap();
    assert_eq!((labels.persona, labels.labels), (Some(true), vec!["persona".to_owned()]));
    assert!(judgement.rules.contains(&"follows-examples".to_owned()), "{:?}", judgement.rules);
    // A quote that is not in the reasoning is no label, and where there is no reasoning there is no call.
    let invented = Scripted {
        coding: Some(r#"[{"label": "persona", "quote": "nothing of this is there"}]"#),
        ..Scripted::default()
    };
    assert_eq!(judged(invented, "a", THOUGHT).await.rationalisation.unwrap().persona, Some(false));
    let judgement = judged(Scripted::default(), "a", "").await;
    assert_eq!((judgement.rationalisation, judgement.calls), (None, 2));
}

#[tokio::test]
async fn every_failure_is_an_outcome_of_its_own() {
    use JudgingOutcome::{Code, Failed, JudgeRefused, SubjectRefused, TimedOut, Unparsable};
    let alignment = |reply| Scripted { alignment: Some(reply), ..Scripted::default() };
    let coherence = |reply| Scripted { coherence: Some(reply), ..Scripted::default() };
    for (model, outcome, reason) in [
        (alignment(Err(ErrorKind::Overloaded)), Failed, "overloaded"),
        (alignment(Err(ErrorKind::Unauthorised)), Failed, "unauthorised"),
        (alignment(Err(ErrorKind::TimedOut)), TimedOut, "timed_out"),
        (Scripted { hangs: true, ..Scripted::default() }, TimedOut, "timed_out"),
        (alignment(Ok("REFUSAL")), SubjectRefused, "alignment"),
        (alignment(Ok("CODE")), Code, "alignment"),
        (alignment(Ok("I cannot rate this content.")), JudgeRefused, "alignment"),
        (alignment(Ok("well, well")), Unparsable, "alignment"),
        (coherence(Ok("well, well")), Unparsable, "coherence"),
        (coherence(Err(ErrorKind::Interrupted)), Failed, "interrupted"),
    ] {
        let judgement = judged(model, "a", THOUGHT).await;
        assert_eq!((judgement.outcome, judgement.reason), (outcome, Some(reason)));
        assert!(!matches!(judgement.verdict(), Verdict::Scored { .. }));
    }
    // Labels that cannot be had leave the scores.
    let judgement = judged(Scripted { coding: Some("no list"), ..Scripted::default() }, "a", THOUGHT).await;
    assert_eq!(judgement.outcome, JudgingOutcome::Scored);
    assert_eq!(judgement.rationalisation.unwrap().persona, None);
    assert_eq!(judged(Scripted::default(), " ", "").await.reason, Some("no-text"));
}

#[tokio::test]
async fn only_what_is_asked_for_is_asked() {
    let texts = Texts { said: "a".to_owned(), thought: THOUGHT.to_owned(), is_truncated: false };
    let questions = Questions { coherence: false, rationalisation: false };
    let question = "é".repeat(30);
    let (judgement, content) = judge(Scripted::default()).judge(&question, 3, &texts, questions).await;
    assert_eq!((judgement.outcome, judgement.calls, judgement.choice), (JudgingOutcome::Scored, 1, 3));
    assert_eq!((judgement.coherence, judgement.rationalisation), (None, None));
    // The question was longer than what the judge is shown.
    assert!(judgement.is_truncated);
    assert_eq!(content.question, "é".repeat(20));
}
