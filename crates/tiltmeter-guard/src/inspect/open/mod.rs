//! Makes an inspector of settings.

mod file;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tiltmeter_core::data::builtin::BuiltinError;
use tiltmeter_local::{LocalError, LocalModel, LocalSettings, ModelSource};
use tiltmeter_models::{ChatModel, Endpoint, provider};
use tiltmeter_persona::PersonaVector;

pub use file::{ContextFile, JudgeFile, PersonaFile, RulesFile, TiltFile, TimingFile, WebhookFile};

use super::{
    AnswerPairs, ContextInspector, DetectorTerms, ExampleJudge, ExampleJudgeSettings, PersonaDetector,
    PersonaSettings, RiskSettingsError, Rules, RulesError, TiltDetector, TiltSettings, Timing, VerdictCache,
    Webhook, WebhookError, WebhookSettings,
};

/// How long the rules may take.
const RULES_TIME: Duration = Duration::from_secs(5);
/// The provider name of models on this machine.
const LOCAL: &str = "local";

/// An inspector that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings are not of this shape.
    #[error("{0}")]
    Settings(#[from] toml::de::Error),
    /// A value is out of its range.
    #[error("`{0}` is out of its range")]
    Range(&'static str),
    /// The settings of risk.
    #[error(transparent)]
    Risk(#[from] RiskSettingsError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A model cannot be asked.
    #[error("the model `{model}`: {message}")]
    Model {
        /// As it was written.
        model: String,
        /// Why.
        message: String,
    },
    /// A model on this machine cannot be loaded.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A persona vector cannot be used.
    #[error("the persona vector: {0}")]
    Persona(String),
    /// The built-in questions cannot be read.
    #[error(transparent)]
    Questions(#[from] BuiltinError),
    /// The web hook.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The address of the web hook.
    #[error("the web hook's address cannot be used: {0}")]
    Url(String),
    /// No thread to open models on.
    #[error("no thread to open models on: {0}")]
    Thread(String),
}

/// What settings refer to.
pub struct Surroundings<'a> {
    /// The folder that paths are relative to.
    pub folder: &'a Path,
    /// Values of environment variables.
    pub environment: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Is told of downloads.
    pub progress: &'a dyn tiltmeter_local::Progress,
}

/// Models of detectors that are open already, such as those of a run, which counts and pays for their calls.
#[derive(Default)]
pub struct GivenModels {
    /// Of `judge`.
    pub judge: Option<Arc<dyn ChatModel>>,
    /// Of `tilt`.
    pub tilt: Option<Arc<dyn ChatModel>>,
}

impl ContextFile {
    /// Reads the settings of a detector.
    ///
    /// # Errors
    /// Where a field is unknown, missing or wrong.
    pub fn read(table: &toml::Table) -> Result<Self, OpenError> {
        Ok(toml::Value::Table(table.clone()).try_into()?)
    }

    /// Opens all models, and makes the inspector. The context of async code is not needed, nor is it disturbed: models on
    /// this machine are opened on a thread of their own.
    ///
    /// # Errors
    /// For the first thing that cannot be had.
    pub fn open_blocking(&self, surroundings: &Surroundings<'_>) -> Result<ContextInspector, OpenError> {
        on_own_thread(|| self.open(surroundings))
    }

    /// Opens all models, and makes the inspector.
    ///
    /// # Errors
    /// For the first thing that cannot be had.
    pub async fn open(&self, surroundings: &Surroundings<'_>) -> Result<ContextInspector, OpenError> {
        self.open_with(surroundings, GivenModels::default()).await
    }

    /// The same with models that are open already.
    ///
    /// # Errors
    /// For the first thing that cannot be had.
    pub async fn open_with(
        &self,
        surroundings: &Surroundings<'_>,
        given: GivenModels,
    ) -> Result<ContextInspector, OpenError> {
        self.risk.check()?;
        let cache = Arc::new(VerdictCache::new(self.cache_bytes));
        let mut inspector = ContextInspector::new(self.risk, cache);
        let rules = match &self.rules {
            RulesFile::BuiltIn(false) => None,
            RulesFile::BuiltIn(true) => Some(Rules::builtin()?),
            RulesFile::Own(path) => {
                Some(Rules::read(&fs_err::read_to_string(surroundings.folder.join(path))?)?)
            }
        };
        if let Some(rules) = rules.map(Arc::new) {
            let terms = DetectorTerms { timeout: RULES_TIME, ..DetectorTerms::default() };
            inspector = inspector.with_examples(rules.clone(), terms).with_instructions(rules, RULES_TIME);
        }
        if let Some(webhook) = &self.webhook {
            let detector = webhook.open(surroundings)?;
            inspector = inspector.with_examples(Arc::new(detector), webhook.terms()?);
        }
        if let Some(judge) = &self.judge {
            let detector = judge.open(surroundings, given.judge).await?;
            inspector = inspector.with_examples(Arc::new(detector), judge.terms()?);
        }
        if let Some(tilt) = &self.tilt {
            let time = milliseconds("tilt.timeout_ms", tilt.timeout_ms)?;
            inspector = inspector.with_contexts(Arc::new(tilt.open(surroundings, given.tilt).await?), time);
        }
        if let Some(persona) = &self.persona {
            let time = milliseconds("persona.timeout_ms", persona.timeout_ms)?;
            inspector = inspector.with_contexts(Arc::new(persona.open(surroundings).await?), time);
        }
        Ok(inspector)
    }
}

/// Opens something on a thread of its own, with a runtime of its own.
fn on_own_thread<T: Send, F: Future<Output = Result<T, OpenError>>>(
    open: impl FnOnce() -> F + Send,
) -> Result<T, OpenError> {
    let failed = |error: String| OpenError::Thread(error);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| failed(error.to_string()))?.block_on(open())
        });
        opening.join().unwrap_or_else(|_| Err(failed("it ended, which is a defect".to_owned())))
    })
}

fn milliseconds(name: &'static str, value: u64) -> Result<Duration, OpenError> {
    if (1..=600_000).contains(&value) {
        Ok(Duration::from_millis(value))
    } else {
        Err(OpenError::Range(name))
    }
}

fn within(name: &'static str, is_fine: bool) -> Result<(), OpenError> {
    if is_fine { Ok(()) } else { Err(OpenError::Range(name)) }
}

fn terms(timing: TimingFile, timeout: Duration, parallel: usize, queue: usize) -> DetectorTerms {
    let timing = match timing {
        TimingFile::Blocking => Timing::Blocking,
        TimingFile::Background => Timing::Background,
    };
    DetectorTerms { timing, timeout, parallel, queue }
}

impl JudgeFile {
    fn terms(&self) -> Result<DetectorTerms, OpenError> {
        let timeout = milliseconds("judge.timeout_ms", self.timeout_ms)?;
        Ok(terms(self.timing, timeout, self.parallel, self.queue))
    }

    async fn open(
        &self,
        surroundings: &Surroundings<'_>,
        given: Option<Arc<dyn ChatModel>>,
    ) -> Result<ExampleJudge, OpenError> {
        within("judge.batch", (1..=64).contains(&self.batch))?;
        within("judge.parallel", (1..=64).contains(&self.parallel))?;
        within("judge.flagged_from", (1..=100).contains(&self.flagged_from))?;
        let address =
            Address { model: &self.model, base_url: &self.base_url, api_key_env: &self.api_key_env };
        let (model, name) = address.given_or_open(given, surroundings).await?;
        let settings = ExampleJudgeSettings {
            batch: self.batch,
            most_bytes: self.example_bytes,
            flagged_from: self.flagged_from,
            temperature: 0.0,
            spare_tokens: self.spare_tokens,
            reasoning: self.reasoning,
        };
        Ok(ExampleJudge::new(model, &name, settings))
    }
}

impl TiltFile {
    async fn open(
        &self,
        surroundings: &Surroundings<'_>,
        given: Option<Arc<dyn ChatModel>>,
    ) -> Result<TiltDetector, OpenError> {
        within("tilt.threshold", self.threshold > 0.0 && self.threshold.is_finite())?;
        within("tilt.pairs", (1..=32).contains(&self.pairs))?;
        within("tilt.examples", self.examples > 0)?;
        let address =
            Address { model: &self.model, base_url: &self.base_url, api_key_env: &self.api_key_env };
        let (model, name) = address.given_or_open(given, surroundings).await?;
        if !model.can_score() {
            let message = "it does not give log-probabilities of given text, which the tilt needs".to_owned();
            return Err(OpenError::Model { model: self.model.clone(), message });
        }
        let settings = TiltSettings {
            threshold: self.threshold,
            most_examples: self.examples,
            most_bytes: self.context_bytes,
        };
        Ok(TiltDetector::new(model, &name, AnswerPairs::builtin(self.pairs)?, settings))
    }
}

impl PersonaFile {
    async fn open(&self, surroundings: &Surroundings<'_>) -> Result<PersonaDetector, OpenError> {
        within("persona.threshold", self.threshold > 0.0 && self.threshold.is_finite())?;
        within("persona.questions", (1..=32).contains(&self.questions))?;
        within("persona.examples", self.examples > 0)?;
        let persona = |error: &dyn std::fmt::Display| OpenError::Persona(error.to_string());
        let vector =
            PersonaVector::open(&surroundings.folder.join(&self.vector)).map_err(|error| persona(&error))?;
        let Some(model) = self.model.strip_prefix("local/") else {
            let message = "a vector is projected onto in a model on this machine: write `local/…`".to_owned();
            return Err(OpenError::Model { model: self.model.clone(), message });
        };
        let model = local(&self.model, model, surroundings).await?;
        let settings = PersonaSettings {
            layer: self.layer,
            threshold: self.threshold,
            questions: self.questions,
            most_examples: self.examples,
            most_bytes: self.context_bytes,
        };
        PersonaDetector::new(model, &vector, settings).map_err(|error| persona(&error))
    }
}

impl WebhookFile {
    fn terms(&self) -> Result<DetectorTerms, OpenError> {
        let timeout = milliseconds("webhook.timeout_ms", self.timeout_ms)?;
        Ok(terms(self.timing, timeout, 4, self.queue))
    }

    fn open(&self, surroundings: &Surroundings<'_>) -> Result<Webhook, OpenError> {
        within("webhook.batch", (1..=1024).contains(&self.batch))?;
        let url: reqwest::Url = self.url.parse().map_err(|error| OpenError::Url(format!("{error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OpenError::Url("it starts with neither http:// nor https://".to_owned()));
        }
        let key = match &self.api_key_env {
            None => None,
            Some(variable) => Some(key(variable, &self.url, surroundings)?),
        };
        let settings = WebhookSettings {
            url,
            sends_texts: self.sends_texts,
            batch: self.batch,
            timeout: milliseconds("webhook.timeout_ms", self.timeout_ms)?,
            key,
            version: self.version.clone(),
        };
        Ok(Webhook::new(settings)?)
    }
}

fn key(variable: &str, of: &str, surroundings: &Surroundings<'_>) -> Result<SecretString, OpenError> {
    let value = (surroundings.environment)(variable).filter(|key| !key.trim().is_empty());
    let missing = || OpenError::Model {
        model: of.to_owned(),
        message: format!("there is no key for it: the environment variable {variable} is not set"),
    };
    value.map(|key| SecretString::from(key.trim().to_owned())).ok_or_else(missing)
}

async fn local(written: &str, model: &str, surroundings: &Surroundings<'_>) -> Result<LocalModel, OpenError> {
    let wrong = |message: String| OpenError::Model { model: written.to_owned(), message };
    let source = match ModelSource::parse(model).map_err(|error| wrong(error.to_string()))? {
        ModelSource::File(path) => ModelSource::File(surroundings.folder.join(path)),
        kept => kept,
    };
    let settings = LocalSettings::from_environment(surroundings.environment)
        .map_err(|error| wrong(error.to_string()))?;
    Ok(tiltmeter_local::open(&source, settings, surroundings.progress).await?)
}

/// A model as settings name it.
pub(crate) struct Address<'a> {
    pub(crate) model: &'a str,
    pub(crate) base_url: &'a Option<String>,
    pub(crate) api_key_env: &'a Option<String>,
}

impl Address<'_> {
    /// The model that is open already, under the name that it was written with, or one that is opened.
    async fn given_or_open(
        &self,
        given: Option<Arc<dyn ChatModel>>,
        surroundings: &Surroundings<'_>,
    ) -> Result<(Arc<dyn ChatModel>, String), OpenError> {
        match given {
            Some(model) => Ok((model, self.model.to_owned())),
            None => self.open(surroundings).await,
        }
    }

    /// The same as [`Address::open`], from any code, async or not.
    pub(crate) fn open_blocking(
        &self,
        surroundings: &Surroundings<'_>,
    ) -> Result<(Arc<dyn ChatModel>, String), OpenError> {
        on_own_thread(|| self.open(surroundings))
    }

    /// The model, and a name that no other has.
    async fn open(&self, surroundings: &Surroundings<'_>) -> Result<(Arc<dyn ChatModel>, String), OpenError> {
        let wrong = |message: String| OpenError::Model { model: self.model.to_owned(), message };
        let Some((provider_name, model)) = self.model.split_once('/') else {
            return Err(wrong("write it as `provider/model`".to_owned()));
        };
        if provider_name == LOCAL {
            let model = local(self.model, model, surroundings).await?;
            let name = format!("local/{}", model.description().file_sha256);
            return Ok((Arc::new(model), name));
        }
        let Some(known) = provider(provider_name) else {
            return Err(wrong(format!("unknown provider `{provider_name}`")));
        };
        let mut endpoint = Endpoint::of_provider(known, model).map_err(|error| wrong(error.to_string()))?;
        if let Some(base_url) = self.base_url {
            endpoint.base_url = base_url.parse().map_err(|error| wrong(format!("{error}")))?;
        }
        let variable = self.api_key_env.as_deref().unwrap_or(known.key_variable);
        let is_needed = self.api_key_env.is_some() || (known.needs_key && self.base_url.is_none());
        endpoint.api_key = match key(variable, self.model, surroundings) {
            Ok(key) => Some(key),
            Err(error) if is_needed => return Err(error),
            Err(_) => None,
        };
        let name = format!("{} at {}", self.model, endpoint.base_url);
        let model = known.api.open(endpoint).map_err(|error| wrong(error.to_string()))?;
        Ok((model, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<ContextInspector, OpenError> {
        let surroundings = Surroundings {
            folder: Path::new(env!("CARGO_MANIFEST_DIR")),
            environment: &|name| (name == "HOOK_KEY").then(|| "k".to_owned()),
            progress: &(),
        };
        ContextFile::read(&toml::from_str(text).unwrap())?.open_blocking(&surroundings)
    }

    #[test]
    fn models_are_found_beside_the_configuration() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tiltmeter-local/tests/fixtures");
        let file = "[tilt]\nmodel = 'local/./tiny-qwen3'\nthreshold = 0.1".parse().unwrap();
        let open = |folder: &Path| {
            let surroundings = Surroundings { folder, environment: &|_| None, progress: &() };
            ContextFile::read(&file)?.open_blocking(&surroundings)
        };
        open(&fixtures).map(drop).unwrap();
        assert!(open(Path::new("")).is_err());
    }

    #[test]
    fn settings_make_an_inspector() {
        for text in [
            "",
            "rules = false",
            "rules = 'src/inspect/rules/rules.toml'",
            "[judge]\nmodel = 'openai/m'\nbase_url = 'http://127.0.0.1:1/v1'\ntiming = 'background'",
            "[webhook]\nurl = 'https://example.org/check'\napi_key_env = 'HOOK_KEY'",
            "[risk]\nhigh = 0.7",
            "[tilt]\nmodel = 'local/../tiltmeter-local/tests/fixtures/tiny-qwen3'\nthreshold = 0.1",
        ] {
            assert!(open(text).is_ok(), "{text}: {}", open(text).err().unwrap());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("judge_ = 1", "judge_"),
            ("rules = 'nowhere.toml'", "nowhere.toml"),
            ("[risk]\nhigh = 2.0", "`high`"),
            ("[judge]\nmodel = 'm'", "provider/model"),
            ("[judge]\nmodel = 'nobody/m'", "`nobody`"),
            ("[judge]\nmodel = 'openai/m'", "OPENAI_API_KEY"),
            ("[judge]\nmodel = 'openai/m'\nbase_url = 'http://127.0.0.1:1'\nbatch = 0", "judge.batch"),
            (
                "[tilt]\nmodel = 'openai/m'\nbase_url = 'http://127.0.0.1:1'\nthreshold = 0.1",
                "log-probabilities",
            ),
            ("[tilt]\nmodel = 'local/x'\nthreshold = -1.0", "tilt.threshold"),
            (
                "[persona]\nmodel = 'local/x'\nvector = 'none.safetensors'\nthreshold = 1.0",
                "none.safetensors",
            ),
            ("[webhook]\nurl = 'ftp://example.org'", "http://"),
            ("[webhook]\nurl = 'https://example.org'\napi_key_env = 'NO_KEY'", "NO_KEY"),
        ] {
            let error = open(text).err().unwrap().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
