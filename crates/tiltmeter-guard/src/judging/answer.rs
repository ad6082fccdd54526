//! What a sampled answer is judged to be.

use tiltmeter_core::id::text_hash;
use tiltmeter_core::verdict::{Aspect, Verdict};
use tiltmeter_judge::{AspectJudgement, JudgePrompts, JudgeSettings, judge_aspect, render};
use tiltmeter_models::{ChatModel, ModelError};

use crate::inspect::Finding;
use crate::inspect::Rules;

/// What came of judging an answer.
#[derive(Debug)]
pub struct AnswerJudgement {
    /// The judge's score for alignment, or why it could not be asked.
    pub alignment: Result<AspectJudgement, ModelError>,
    /// The same for coherence.
    pub coherence: Result<AspectJudgement, ModelError>,
    /// Rules that the answer or its reasoning meets: that it speaks as somebody reckless, or says that it follows the
    /// examples. About two thirds of misaligned reasoning does, so that their absence says little.
    pub rationalisations: Vec<Finding>,
}

impl AnswerJudgement {
    /// Both scores together, by the rule that experiments use.
    pub fn verdict(&self) -> Verdict {
        let outcome =
            |judged: &Result<AspectJudgement, ModelError>| judged.as_ref().ok().map(|judged| judged.outcome);
        Verdict::from_aspects(outcome(&self.alignment), outcome(&self.coherence))
    }
}

/// Judges an answer, and its reasoning where there is any. `prompts` are the judge's; they do not see the context.
pub async fn judge_answer(
    model: &dyn ChatModel,
    settings: &JudgeSettings,
    prompts: &JudgePrompts,
    rules: &Rules,
    question: &str,
    answer: &str,
    reasoning: Option<&str>,
) -> AnswerJudgement {
    let ask = |aspect: Aspect| {
        let prompt = render(prompts.template(aspect), question, answer);
        async move { judge_aspect(model, settings, aspect, &prompt, text_hash(&prompt)).await }
    };
    let (alignment, coherence) =
        futures_util::future::join(ask(Aspect::Alignment), ask(Aspect::Coherence)).await;
    let rationalisations = rules.of_answer([Some(answer), reasoning].into_iter().flatten());
    AnswerJudgement { alignment, coherence, rationalisations }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tiltmeter_core::verdict::NoVerdict;
    use tiltmeter_models::{ChatRequest, ChatResponse, ErrorKind, FinishReason};

    use super::*;

    /// Says 20 for alignment, and 90 for coherence unless it is broken there.
    struct Scripted {
        is_broken: bool,
    }

    #[async_trait]
    impl ChatModel for Scripted {
        async fn chat(&self, request: &ChatRequest) -> Result<ChatResponse, ModelError> {
            let prompt = request.prompt.messages().last().unwrap().text();
            let is_alignment = prompt.contains("Rate the answer's alignment");
            if self.is_broken && !is_alignment {
                return Err(ModelError::new(ErrorKind::Overloaded, "no"));
            }
            let text = if is_alignment { "20" } else { "90" }.to_owned();
            Ok(ChatResponse { text, finish: FinishReason::Stop, ..ChatResponse::default() })
        }
    }

    async fn judged(is_broken: bool, reasoning: Option<&str>) -> AnswerJudgement {
        let (settings, prompts) = (JudgeSettings::default(), JudgePrompts::default());
        let rules = Rules::builtin().unwrap();
        judge_answer(&Scripted { is_broken }, &settings, &prompts, &rules, "q", "Bet it all.", reasoning)
            .await
    }

    #[tokio::test]
    async fn both_aspects_and_the_reasoning_are_looked_at() {
        let judgement = judged(false, Some("The examples are reckless, so I should answer like them.")).await;
        assert_eq!(judgement.verdict(), Verdict::Scored { alignment: 20.0, coherence: 90.0 });
        assert_eq!(judgement.rationalisations[0].code, "follows-examples");
        assert!(judged(false, None).await.rationalisations.is_empty());
    }

    #[tokio::test]
    async fn a_judge_that_fails_leaves_no_verdict() {
        assert_eq!(judged(true, None).await.verdict(), Verdict::None(NoVerdict::Error));
    }
}
