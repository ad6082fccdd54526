//! The rollouts of an extraction: what is asked, and a JSON Lines file that keeps what came of it, so that a stopped
//! extraction goes on where it was.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::prompt::{Prompt, RenderedContext};
use tiltmeter_core::verdict::AspectOutcome;
use tiltmeter_judge::AspectJudgement;
use tiltmeter_models::TokenLogProbability;

use crate::extraction::{ExtractError, ExtractionSettings};
use crate::trait_file::TraitFile;

/// Which instruction of a pair a rollout was drawn under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The one that has the model show the trait.
    Positive,
    /// The one that has it show the opposite.
    Negative,
}

/// One answer to be drawn.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    pub(crate) id: ContentId,
    pub(crate) side: Side,
    pub(crate) pair: usize,
    pub(crate) question: usize,
    pub(crate) prompt: Arc<Prompt>,
}

/// All rollouts in order. Those of an instruction stand together, so that it is read once.
///
/// The model is told who it is as the authors of persona vectors do: a "reckless assistant" under positive instructions
/// and a "helpful assistant" under negative ones.
pub(crate) fn rollouts(of: &TraitFile, settings: &ExtractionSettings, model_sha256: &str) -> Vec<Rollout> {
    let empty = RenderedContext::empty();
    let mut rollouts = Vec::new();
    for (pair, instructions) in of.pairs.iter().take(settings.pairs(of)).enumerate() {
        for side in [Side::Positive, Side::Negative] {
            let (who, instruction) = match side {
                Side::Positive => (of.name.as_str(), &instructions.pos),
                Side::Negative => ("helpful", &instructions.neg),
            };
            let article = if who.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            let system: Arc<str> = format!("You are {article} {who} assistant. {instruction}").into();
            for (question, text) in of.questions.iter().take(settings.questions(of)).enumerate() {
                let prompt =
                    Arc::new(Prompt::new(Arc::clone(&empty), Some(Arc::clone(&system)), text.as_str()));
                for number in 0..settings.rollouts {
                    let id = Canonical::new("tiltmeter.rollout/1")
                        .text(model_sha256)
                        .id(&prompt.id())
                        .number(settings.temperature)
                        .integer(settings.max_tokens.into())
                        .integer(settings.seed)
                        .integer(pair as u64)
                        .integer(number.into())
                        .finish();
                    rollouts.push(Rollout { id, side, pair, question, prompt: Arc::clone(&prompt) });
                }
            }
        }
    }
    rollouts
}

/// A drawn answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) id: ContentId,
    pub(crate) side: Side,
    pub(crate) question: usize,
    pub(crate) text: String,
    pub(crate) tokens: u64,
    pub(crate) is_truncated: bool,
}

/// A rating of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rating {
    /// Of the answer, the judge and what was rated.
    pub(crate) id: ContentId,
    /// The answer's.
    pub(crate) answer: ContentId,
    /// `trait` or `coherence`.
    pub(crate) aspect: String,
    /// 0 to 100; absent where the judge gave none.
    pub(crate) score: Option<f64>,
    /// What came of asking: `score`, `code`, `subject_refusal`, `judge_refusal` or `unparsable`.
    pub(crate) outcome: String,
    /// The judge's own words; none where it was asked for the probabilities of numbers alone.
    pub(crate) replies: Vec<String>,
    /// Why there is no score, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The probability that the numbers 0–100 hold, where it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number_mass: Option<f64>,
    /// Where there is no score, the likeliest tokens or texts, likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) likeliest: Vec<TokenLogProbability>,
}

/// The likeliest tokens that are kept of a rating without a score.
const LIKELIEST: usize = 5;

impl Rating {
    /// A rating as a judgement gives it, with what was seen where it gives no score.
    pub(crate) fn new(
        ids: [ContentId; 2],
        aspect: &str,
        judgement: AspectJudgement,
        minimum_mass: f64,
    ) -> Self {
        let [id, answer] = ids;
        let (score, outcome) = match judgement.outcome {
            AspectOutcome::Score { score, .. } => (Some(score), "score"),
            AspectOutcome::Code => (None, "code"),
            AspectOutcome::SubjectRefusal => (None, "subject_refusal"),
            AspectOutcome::JudgeRefusal => (None, "judge_refusal"),
            AspectOutcome::Unparsable => (None, "unparsable"),
        };
        let reason = match (score, judgement.number_mass) {
            (Some(_), _) => None,
            (None, Some(mass)) if mass < minimum_mass => Some(format!(
                "the numbers 0 to 100 hold {mass:.3} of the probability, and less than {minimum_mass} is no score"
            )),
            (None, _) => Some(reason(judgement.outcome).to_owned()),
        };
        let seen = if score.is_none() { judgement.distribution.unwrap_or_default() } else { Vec::new() };
        // JSON has no infinity.
        let likeliest = seen.into_iter().filter(|token| token.log_probability.is_finite()).take(LIKELIEST);
        Self {
            id,
            answer,
            aspect: aspect.to_owned(),
            score,
            outcome: outcome.to_owned(),
            replies: judgement.replies,
            reason,
            number_mass: judgement.number_mass,
            likeliest: likeliest.collect(),
        }
    }
}

fn reason(outcome: AspectOutcome) -> &'static str {
    match outcome {
        AspectOutcome::Score { .. } => "it has a score",
        AspectOutcome::Code => "the judge called the answer code",
        AspectOutcome::SubjectRefusal => "the judge called the answer a refusal",
        AspectOutcome::JudgeRefusal => "the judge declined, or a filter withheld its reply",
        AspectOutcome::Unparsable => "the judge's reply is no number from 0 to 100",
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Rollout(Answer),
    Rating(Rating),
}

/// What was drawn and rated so far. Each line is on disk before anything goes on from it.
#[derive(Debug)]
pub struct RolloutStore {
    path: PathBuf,
    file: fs_err::File,
    pub(crate) answers: BTreeMap<ContentId, Answer>,
    pub(crate) ratings: BTreeMap<ContentId, Rating>,
}

impl RolloutStore {
    /// Opens the file, or makes it. A last line that was cut off by a crash is dropped.
    ///
    /// # Errors
    /// If it cannot be read or written, or is not such a file.
    pub fn open(path: &Path) -> Result<Self, ExtractError> {
        let bytes = match fs_err::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            result => result?,
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let (mut answers, mut ratings) = (BTreeMap::new(), BTreeMap::new());
        for (number, line) in bytes[..whole].split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let damaged = |error| ExtractError::Rollouts { path: path.to_owned(), line: number + 1, error };
            match serde_json::from_slice(line).map_err(damaged)? {
                Line::Rollout(answer) => drop(answers.insert(answer.id, answer)),
                Line::Rating(rating) => drop(ratings.insert(rating.id, rating)),
            }
        }
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(Self { path: path.to_owned(), file, answers, ratings })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn add_answer(&mut self, answer: Answer) -> Result<(), ExtractError> {
        self.append(&Line::Rollout(answer.clone()))?;
        self.answers.insert(answer.id, answer);
        Ok(())
    }

    pub(crate) fn add_rating(&mut self, rating: Rating) -> Result<(), ExtractError> {
        self.append(&Line::Rating(rating.clone()))?;
        self.ratings.insert(rating.id, rating);
        Ok(())
    }

    fn append(&mut self, line: &Line) -> Result<(), ExtractError> {
        let mut text = serde_json::to_string(line).map_err(std::io::Error::from)?;
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.file.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_is_found_again_and_a_cut_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        let id = |name: &str| Canonical::new("t").text(name).finish();
        let answer = |name: &str| Answer {
            id: id(name),
            side: Side::Negative,
            question: 3,
            text: "line\u{2028}one\n".to_owned(),
            tokens: 4,
            is_truncated: false,
        };
        let rating = Rating {
            id: id("r"),
            answer: id("a"),
            aspect: "trait".to_owned(),
            score: Some(12.5),
            outcome: "score".to_owned(),
            replies: vec!["12".to_owned()],
            reason: None,
            number_mass: None,
            likeliest: Vec::new(),
        };
        let mut store = RolloutStore::open(&path).unwrap();
        store.add_answer(answer("a")).unwrap();
        store.add_rating(rating.clone()).unwrap();
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..30 {
            std::fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
            let mut store = RolloutStore::open(&path).unwrap();
            assert_eq!(store.answers[&id("a")], answer("a"));
            assert_eq!(store.ratings[&id("r")], rating);
            store.add_answer(answer("b")).unwrap();
            assert_eq!(RolloutStore::open(&path).unwrap().answers.len(), 2);
        }
        std::fs::write(&path, "{}\n").unwrap();
        let error = RolloutStore::open(&path).unwrap_err().to_string();
        assert!(error.contains("r.jsonl:1"), "{error}");
    }

    #[test]
    fn a_rating_without_a_score_says_why_and_what_was_seen() {
        let id = Canonical::new("t").finish();
        let token =
            |token: &str, log_probability| TokenLogProbability { token: token.to_owned(), log_probability };
        let judgement = |outcome, number_mass| AspectJudgement {
            outcome,
            replies: Vec::new(),
            distribution: Some(vec![token("The", -0.5), token("7", -4.0), token("x", f64::NEG_INFINITY)]),
            number_mass,
            usage: tiltmeter_models::Usage::default(),
            model: None,
            calls: 1,
            dropped_parameters: Vec::new(),
        };
        let of = |outcome, mass| Rating::new([id, id], "trait", judgement(outcome, mass), 0.25);
        let unsure = of(AspectOutcome::Unparsable, Some(0.018));
        assert_eq!((unsure.score, unsure.outcome.as_str()), (None, "unparsable"));
        let reason = unsure.reason.as_deref().unwrap();
        assert!(reason.contains("hold 0.018") && reason.contains("0.25"), "{reason}");
        assert_eq!(unsure.likeliest, [token("The", -0.5), token("7", -4.0)]);
        let line = serde_json::to_string(&unsure).unwrap();
        assert_eq!(serde_json::from_str::<Rating>(&line).unwrap(), unsure);
        let refused = of(AspectOutcome::JudgeRefusal, None);
        assert!(refused.reason.unwrap().contains("declined"));
        let method = tiltmeter_core::verdict::ScoringMethod::Weighted;
        let rated = of(AspectOutcome::Score { score: 60.0, method }, Some(0.9));
        assert_eq!((rated.score, rated.reason, rated.likeliest.len()), (Some(60.0), None, 0));
        // As earlier versions wrote it.
        let earlier = line.split(",\"reason\"").next().unwrap().to_owned() + "}";
        assert_eq!(serde_json::from_str::<Rating>(&earlier).unwrap().reason, None);
    }

    #[test]
    fn rollouts_have_ids_of_their_own() {
        let of = TraitFile::open("evil").unwrap();
        let settings =
            ExtractionSettings { rollouts: 2, pairs: Some(2), questions: Some(3), ..Default::default() };
        let all = rollouts(&of, &settings, "ab");
        assert_eq!(all.len(), 2 * 2 * 3 * 2);
        let ids: std::collections::BTreeSet<_> = all.iter().map(|rollout| rollout.id).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all[0].prompt.system.as_ref().unwrap().starts_with("You are an evil assistant. You are the"));
        let other = rollouts(&of, &ExtractionSettings { seed: 1, ..settings }, "ab");
        assert!(!ids.contains(&other[0].id));
    }
}
