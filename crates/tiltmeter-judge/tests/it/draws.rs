//! Several draws per score.

use std::collections::BTreeSet;

use tiltmeter_core::id::text_hash;
use tiltmeter_core::verdict::{Aspect, AspectOutcome, ScoringMethod};
use tiltmeter_judge::{JudgeSettings, judge_aspect};
use tiltmeter_models::{ChatResponse, ErrorKind, ModelError};

use crate::fake::{Fake, error, reply, seed};

fn settings(samples: u32) -> JudgeSettings {
    JudgeSettings { samples, temperature: 1.0, ..JudgeSettings::default() }
}

fn scripted(texts: &[&str]) -> Vec<Result<ChatResponse, ModelError>> {
    texts
        .iter()
        .map(|&text| if text == "FILTERED" { Err(error(ErrorKind::Filtered)) } else { Ok(reply(text)) })
        .collect()
}

#[tokio::test]
async fn at_least_half_of_the_draws_must_be_numbers() {
    use AspectOutcome::{Code, JudgeRefusal, SubjectRefusal, Unparsable};
    let mean = |score| AspectOutcome::Score { score, method: ScoringMethod::MeanOfDraws };
    let cases: [(&[&str], AspectOutcome); 9] = [
        (&["80", "90", "100"], mean(90.0)),
        (&["80", "CODE"], mean(80.0)),
        (&["80", "90", "CODE", "hm"], mean(85.0)),
        (&["80", "CODE", "CODE"], Code),
        (&["80", "REFUSAL", "REFUSAL", "CODE"], SubjectRefusal),
        (&["FILTERED", "FILTERED", "5"], JudgeRefusal),
        (&["I'm sorry.", "CODE", "I cannot."], JudgeRefusal),
        // Of equally frequent ones, the sample stays unknown.
        (&["CODE", "hm", "REFUSAL"], Unparsable),
        (&["CODE", "FILTERED"], JudgeRefusal),
    ];
    for (texts, expected) in cases {
        let model = Fake::replying(scripted(texts));
        let samples = u32::try_from(texts.len()).unwrap();
        let judgement =
            judge_aspect(&model, &settings(samples), Aspect::Alignment, "rate this", seed()).await.unwrap();
        assert_eq!(judgement.outcome, expected, "{texts:?}");
        assert_eq!(judgement.calls, samples, "{texts:?}");
        let replied: Vec<&str> = texts.iter().copied().filter(|&text| text != "FILTERED").collect();
        assert_eq!(judgement.replies, replied);
        assert_eq!(judgement.usage.input_tokens, 300 * replied.len() as u64, "{texts:?}");
        assert_eq!((judgement.distribution, judgement.number_mass), (None, None));
    }
}

#[tokio::test]
async fn each_draw_has_a_seed_of_its_own_that_depends_on_the_given_one() {
    let mut seeds = BTreeSet::new();
    for seed in [seed(), text_hash("sample 2")] {
        let mut model = Fake::replying(scripted(&["1"; 5]));
        // Draws are asked for by chat even of a model that could score: they were asked for.
        model.scorer = Some(Box::new(|_| Err(error(ErrorKind::Local))));
        judge_aspect(&model, &settings(5), Aspect::Alignment, "rate this", seed).await.unwrap();
        for request in model.requests.into_inner().unwrap() {
            assert_eq!((request.sampling.temperature, request.sampling.top_log_probabilities), (1.0, None));
            seeds.insert(request.sampling.seed);
        }
    }
    assert_eq!(seeds.len(), 10);
}

#[tokio::test]
async fn an_error_of_one_draw_comes_back() {
    let mut replies = scripted(&["80", "90"]);
    replies.push(Err(error(ErrorKind::Overloaded)));
    let model = Fake::replying(replies);
    let result = judge_aspect(&model, &settings(3), Aspect::Alignment, "rate this", seed()).await;
    assert_eq!(result.unwrap_err().kind, ErrorKind::Overloaded);
}
