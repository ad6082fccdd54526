//! Judges that give the log-probability of any text.

use tiltmeter_core::verdict::{Aspect, AspectOutcome, ScoringMethod};
use tiltmeter_judge::{AspectJudgement, JudgeSettings, judge_aspect};
use tiltmeter_models::{ErrorKind, ModelError, TextScore, Usage};

use crate::fake::{Fake, error, reply, seed};

/// Into which tokens a text falls.
#[derive(Clone, Copy, Debug)]
enum Tokenizer {
    /// Every character is a token.
    Characters,
    /// Every number and word is a token.
    Whole,
    /// Two digits at most make a token: only 100 is split.
    Pairs,
    /// A marker of its own before every text, then characters.
    MarkedCharacters,
}

impl Tokenizer {
    fn tokens(self, text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        let split =
            |size| characters.chunks(size).map(|token| token.iter().collect()).collect::<Vec<String>>();
        match self {
            Self::Characters => split(1),
            Self::Whole => vec![text.to_owned()],
            Self::Pairs => split(2),
            Self::MarkedCharacters => [vec!["▁".to_owned()], split(1)].concat(),
        }
    }
}

type Replies = &'static [(&'static str, f64)];

/// A judge that says each of the given texts with its probability. The probability of a text as a continuation
/// is that of all replies whose tokens begin with its tokens.
fn judge(tokenizer: Tokenizer, replies: Replies) -> Fake {
    Fake::scoring(move |text| {
        let tokens = tokenizer.tokens(text);
        let probability: f64 = replies
            .iter()
            .filter(|(reply, _)| tokenizer.tokens(reply).starts_with(&tokens))
            .map(|(_, probability)| probability)
            .sum();
        Ok(text_score(probability, tokens.len()))
    })
}

fn text_score(probability: f64, tokens: usize) -> TextScore {
    #[expect(clippy::cast_possible_truncation, reason = "the interface has 32-bit log-probabilities")]
    let log_probability = probability.ln() as f32;
    let mut token_log_probabilities = vec![0.0; tokens];
    token_log_probabilities[0] = log_probability;
    TextScore { token_log_probabilities, prompt_tokens: 200, shift: None }
}

async fn judged(model: &Fake, aspect: Aspect) -> Result<AspectJudgement, ModelError> {
    judge_aspect(model, &JudgeSettings::default(), aspect, "rate this", seed()).await
}

#[tokio::test]
async fn the_mean_is_right_with_any_tokenizer() {
    use ScoringMethod::{DigitTree, Weighted};
    let tables: [Replies; 5] = [
        &[("85", 0.5), ("8", 0.2), ("10", 0.1), ("100", 0.1), ("0", 0.05), ("99", 0.05)],
        &[("100", 0.5), ("10", 0.25), ("1", 0.25)],
        &[("80", 0.1), ("81", 0.1), ("82", 0.1), ("89", 0.1), ("The", 0.6)],
        &[("7", 1.0)],
        &[("0", 1.0)],
    ];
    let tokenizers = [
        (Tokenizer::Characters, DigitTree),
        (Tokenizer::Whole, Weighted),
        (Tokenizer::Pairs, DigitTree),
        (Tokenizer::MarkedCharacters, DigitTree),
    ];
    for replies in tables {
        let numbers = || replies.iter().filter_map(|(text, share)| Some((text.parse::<f64>().ok()?, share)));
        let mass: f64 = numbers().map(|(_, share)| share).sum();
        let mean = numbers().map(|(number, share)| number * share).sum::<f64>() / mass;
        for (tokenizer, expected_method) in tokenizers {
            let judgement = judged(&judge(tokenizer, replies), Aspect::Coherence).await.unwrap();
            let AspectOutcome::Score { score, method } = judgement.outcome else {
                panic!("{tokenizer:?} {replies:?}: {:?}", judgement.outcome)
            };
            assert!((score - mean).abs() < 1e-4, "{tokenizer:?} {replies:?}: {score} instead of {mean}");
            assert_eq!(method, expected_method, "{tokenizer:?}");
            assert!((judgement.number_mass.unwrap() - mass).abs() < 1e-6, "{tokenizer:?} {replies:?}");
        }
    }
}

#[tokio::test]
async fn words_and_the_least_mass() {
    use AspectOutcome::{Code, SubjectRefusal, Unparsable};
    let score = AspectOutcome::Score { score: 40.0, method: ScoringMethod::DigitTree };
    let cases: [(Aspect, Replies, AspectOutcome); 8] = [
        (Aspect::Alignment, &[("CODE", 0.6), ("40", 0.3)], Code),
        (Aspect::Alignment, &[("REFUSAL", 0.6), ("CODE", 0.2), ("40", 0.1)], SubjectRefusal),
        (Aspect::Alignment, &[("CODE", 0.4), ("40", 0.5)], score),
        (Aspect::Alignment, &[("The", 0.8), ("40", 0.2)], Unparsable),
        // Both are noise: the larger one is no finding.
        (Aspect::Alignment, &[("The", 0.7), ("CODE", 0.2), ("40", 0.1)], Unparsable),
        (Aspect::Alignment, &[("The", 1.0)], Unparsable),
        // Nobody offers these words to a coherence judge.
        (Aspect::Coherence, &[("CODE", 0.9), ("40", 0.1)], Unparsable),
        (Aspect::Coherence, &[("CODE", 0.6), ("40", 0.4)], score),
    ];
    for (aspect, replies, expected) in cases {
        let judgement = judged(&judge(Tokenizer::Characters, replies), aspect).await.unwrap();
        match (judgement.outcome, expected) {
            (AspectOutcome::Score { score, method }, AspectOutcome::Score { score: expected, .. }) => {
                assert!((score - expected).abs() < 1e-4, "{replies:?}: {score}");
                assert_eq!(method, ScoringMethod::DigitTree);
            }
            (outcome, expected) => assert_eq!(outcome, expected, "{replies:?}"),
        }
        assert_eq!(judgement.calls, if aspect == Aspect::Alignment { 103 } else { 101 });
    }
}

#[tokio::test]
async fn the_distribution_and_the_tokens_are_kept() {
    let model = judge(Tokenizer::Characters, &[("85", 0.5), ("8", 0.3), ("CODE", 0.2)]);
    let judgement = judged(&model, Aspect::Alignment).await.unwrap();
    let distribution = judgement.distribution.unwrap();
    let tokens: Vec<&str> = distribution.iter().map(|token| token.token.as_str()).collect();
    assert_eq!(tokens, ["85", "8", "CODE"]);
    assert!((distribution[1].log_probability.exp() - 0.3).abs() < 1e-6);
    assert!(judgement.replies.is_empty());
    // The prompt once, 10 numbers of one digit, 90 of two, one of three, and the two words.
    let input_tokens = 200 + 10 + 180 + 3 + 4 + 7;
    assert_eq!(judgement.usage, Usage { input_tokens, ..Usage::default() });
}

#[tokio::test]
async fn extensions_that_outweigh_their_start_leave_it_nothing() {
    let model = Fake::scoring(|text| {
        Ok(match text {
            "8" => text_score(0.5, 1),
            "85" => text_score(0.51, 2),
            _ => text_score(0.0, text.len()),
        })
    });
    let judgement = judged(&model, Aspect::Coherence).await.unwrap();
    let AspectOutcome::Score { score, .. } = judgement.outcome else { panic!("{:?}", judgement.outcome) };
    assert!((score - 85.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_failed_score_comes_back() {
    let model = Fake::scoring(|text| match text {
        "57" => Err(error(ErrorKind::Local)),
        _ => Ok(text_score(0.01, 1)),
    });
    assert_eq!(judged(&model, Aspect::Alignment).await.unwrap_err().kind, ErrorKind::Local);

    let scores: [fn() -> TextScore; 2] = [
        || TextScore { token_log_probabilities: vec![f32::NAN], prompt_tokens: 1, shift: None },
        || TextScore { token_log_probabilities: Vec::new(), prompt_tokens: 1, shift: None },
    ];
    for score in scores {
        let model = Fake::scoring(move |_| Ok(score()));
        let error = judged(&model, Aspect::Alignment).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::MalformedReply);
        assert_eq!(error.to_string(), "the judge gave no log-probability for the text `0`");
    }
}

#[tokio::test]
async fn a_judge_whose_log_probabilities_are_not_wanted_is_asked_by_chat() {
    let mut model = Fake::replying([Ok(reply("85"))]);
    model.scorer = Some(Box::new(|_| Err(error(ErrorKind::Local))));
    let settings = JudgeSettings { top_log_probabilities: None, ..JudgeSettings::default() };
    let judgement = judge_aspect(&model, &settings, Aspect::Alignment, "rate this", seed()).await.unwrap();
    assert_eq!(judgement.outcome, AspectOutcome::Score { score: 85.0, method: ScoringMethod::Parsed });
}
