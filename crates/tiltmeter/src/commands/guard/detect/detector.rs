//! What gives contexts their scores.

use std::path::Path;
use std::sync::Arc;

use tiltmeter_guard::inspect::{
    AnswerPairs, ContextFile, ContextInspector, DetectorTerms, JudgeFile, PersonaDetector, PersonaSettings,
    RiskSettings, Rules, RulesFile, Split, Surroundings, TiltDetector, TiltSettings, VerdictCache,
};
use tiltmeter_local::{LocalModel, LocalSettings, ModelSource};
use tiltmeter_persona::PersonaVector;

use super::super::arguments::{DetectorName, GuardDetectArguments};
use crate::exit::Failure;
use crate::progress::Progress;

/// Bytes of verdicts that are kept while it measures.
const CACHE: u64 = 64 << 20;
/// Bytes of a context that the tilt and the projection are measured of.
const CONTEXT: usize = 64 << 10;
/// Milliseconds that the judge has for a context: it is measured for what it sees, not for its speed.
const JUDGE_TIME: u64 = 600_000;

/// A context's score.
pub(super) struct Score {
    /// Higher is worse.
    pub(super) value: f64,
    /// Parts of it that have no verdict: the score is of the others.
    pub(super) unchecked: usize,
}

pub(super) enum Detector {
    /// The highest weight of the rules that an example meets.
    RulesByExample(Rules),
    /// The risk of the context, as the guard computes it from the rules or from a judge.
    Risk(Box<ContextInspector>),
    /// The tilt in nats per token.
    Tilt(Box<TiltDetector>),
    /// The shift along a persona vector.
    Persona(Box<PersonaDetector>),
}

impl Detector {
    pub(super) async fn open(arguments: &GuardDetectArguments, progress: &Progress) -> Result<Self, Failure> {
        match arguments.detector {
            DetectorName::RulesByExample => {
                Ok(Self::RulesByExample(Rules::builtin().map_err(Failure::failed)?))
            }
            DetectorName::Rules => {
                let rules = Rules::builtin().map_err(Failure::failed)?;
                let cache = Arc::new(VerdictCache::new(CACHE));
                let inspector = ContextInspector::new(RiskSettings::default(), cache);
                Ok(Self::Risk(Box::new(inspector.with_examples(Arc::new(rules), DetectorTerms::default()))))
            }
            DetectorName::Judge => {
                // The guard's own settings but for the time.
                let judge = JudgeFile { timeout_ms: JUDGE_TIME, ..JudgeFile::new(arguments.model.clone()) };
                let file = ContextFile {
                    rules: RulesFile::BuiltIn(false),
                    judge: Some(judge),
                    cache_bytes: CACHE,
                    ..ContextFile::default()
                };
                let environment = |name: &str| std::env::var(name).ok();
                let surroundings =
                    Surroundings { folder: Path::new("."), environment: &environment, progress };
                Ok(Self::Risk(Box::new(file.open(&surroundings).await.map_err(Failure::configuration)?)))
            }
            DetectorName::Tilt => {
                let model = local(&arguments.model, progress).await?;
                let name = model.description().file_sha256.clone();
                let settings = TiltSettings {
                    threshold: arguments.threshold(),
                    most_examples: usize::MAX,
                    most_bytes: CONTEXT,
                };
                let pairs = AnswerPairs::builtin(arguments.pairs).map_err(Failure::failed)?;
                Ok(Self::Tilt(Box::new(TiltDetector::new(Arc::new(model), &name, pairs, settings))))
            }
            DetectorName::Persona => {
                let Some(path) = &arguments.vector else {
                    return Err(Failure::configuration(
                        "`persona` needs a vector\n  write `--vector FILE`; `tiltmeter persona extract` makes one",
                    ));
                };
                let vector = PersonaVector::open(path).map_err(Failure::configuration)?;
                let model = local(&arguments.model, progress).await?;
                let settings = PersonaSettings {
                    layer: None,
                    threshold: arguments.threshold(),
                    questions: arguments.pairs,
                    most_examples: usize::MAX,
                    most_bytes: CONTEXT,
                };
                let detector =
                    PersonaDetector::new(model, &vector, settings).map_err(Failure::configuration)?;
                Ok(Self::Persona(Box::new(detector)))
            }
        }
    }

    pub(super) async fn score(&self, split: &Split) -> Result<Score, Failure> {
        let value = match self {
            Self::RulesByExample(rules) => {
                let scores = split.examples.iter().map(|example| rules.of_example(&example.content).score);
                Some(scores.fold(0.0, f64::max))
            }
            Self::Risk(inspector) => {
                let inspection = inspector.inspect_split(split).await;
                return Ok(Score { value: inspection.risk.score, unchecked: inspection.unchecked.len() });
            }
            Self::Tilt(detector) => detector.tilt(split).await.map_err(Failure::failed)?,
            Self::Persona(detector) => detector.shift(split).await.map_err(Failure::failed)?,
        };
        let value = value.ok_or_else(|| {
            Failure::failed("a context has no demonstrations: nothing can be measured that it shifts")
        })?;
        Ok(Score { value, unchecked: 0 })
    }
}

async fn local(written: &str, progress: &Progress) -> Result<LocalModel, Failure> {
    let Some(name) = written.strip_prefix("local/") else {
        return Err(Failure::configuration(format!("`{written}` is not a local model: write `local/…`")));
    };
    let source = ModelSource::parse(name).map_err(Failure::configuration)?;
    let settings = LocalSettings::from_environment(&|name| std::env::var(name).ok());
    let settings = settings.map_err(Failure::configuration)?;
    tiltmeter_local::open(&source, settings, progress).await.map_err(Failure::failed)
}
