//! Opens the models that an experiment names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tiltmeter_core::experiment::file::{self, EndpointFile};
use tiltmeter_core::experiment::{Experiment, Judge, ModelSettings, Price, Steering, Subject};
use tiltmeter_core::guarding::Guard;
use tiltmeter_local::{LocalModel, LocalSettings, ModelSource};
use tiltmeter_models::{Api, ChatModel, ContextCaching, Endpoint, Provider, Scoring, provider, providers};
use tiltmeter_store::ModelRecord;

use crate::pace::PaceSettings;
use crate::prices::Prices;
use crate::ways::Ways;

/// The ceiling of requests in flight to one endpoint, where the user says nothing: how many really are is found
/// while asking.
pub(crate) const CONCURRENCY: u32 = 64;
/// Requests that may wait for a local model, so that it can form batches.
const LOCAL_CONCURRENCY: u32 = 256;

/// How long a context is held by name: as long as its requests take with some patience, as it costs by the hour.
const CONTEXT_TIME: Duration = Duration::from_mins(30);

/// The provider name of models on this machine.
pub(crate) const LOCAL: &str = "local";

/// A model that is ready to be asked.
pub struct Model {
    /// Name of the subject, or `judge`.
    pub name: String,
    /// How it is written down.
    pub record: ModelRecord,
    /// What it costs, if that is known.
    pub price: Option<Price>,
    pub(crate) ways: Ways,
    /// How long it is waited for when it cannot be reached, where the user says so.
    pub(crate) outage: Option<Duration>,
    pub(crate) is_judge: bool,
    /// Whether it is on a server, which may cache prompts, rather than on this machine.
    pub(crate) is_served: bool,
    pub(crate) can_score: bool,
}

/// All models of an experiment.
pub struct Connections {
    /// The subjects, in the experiment's order.
    pub subjects: Vec<Model>,
    /// The judge.
    pub judge: Option<Arc<Model>>,
    /// Subjects as treatments steer them, by indices of subject and treatment.
    pub steered: BTreeMap<(usize, usize), Model>,
    /// The models of filters, in the experiment's order.
    pub screens: Vec<Arc<Model>>,
    /// The models of guards' detectors, in the experiment's order.
    pub guards: Vec<GuardModels>,
}

/// The models that the detectors of a guard ask.
#[derive(Default)]
pub struct GuardModels {
    /// Rates demonstrations.
    pub judge: Option<Arc<Model>>,
    /// The tilt of contexts is measured in it.
    pub tilt: Option<Arc<Model>>,
}

impl GuardModels {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.judge.iter().chain(&self.tilt)
    }
}

impl Connections {
    /// A subject as it is asked under a treatment, by their indices.
    pub(crate) fn asked(&self, subject: usize, treatment: usize) -> &Model {
        self.steered.get(&(subject, treatment)).unwrap_or(&self.subjects[subject])
    }

    /// How treatments steer subjects, by indices of subject and treatment, as it is written down.
    pub fn steering_records(&self) -> Vec<(usize, usize, serde_json::Value)> {
        let record = |(&(subject, treatment), model): (&(usize, usize), &Model)| {
            Some((subject, treatment, model.record.settings.get("steering")?.clone()))
        };
        self.steered.iter().filter_map(record).collect()
    }
}

/// A model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody knows the provider.
    #[error(
        "{name}: unknown provider `{provider}`; known are {known}. For any other server with OpenAI's protocol, write `openai/<model>` with `base_url`"
    )]
    Provider {
        /// Name of the subject, or `judge`.
        name: String,
        /// The provider that was named.
        provider: String,
        /// The known ones.
        known: String,
    },
    /// The variable that should hold the key is not set.
    #[error(
        "{name}: there is no key for `{model}`: the environment variable {variable} is not set. Set it, or name another with `api_key_env`"
    )]
    Key {
        /// Name of the subject, or `judge`.
        name: String,
        /// The model.
        model: String,
        /// The variable.
        variable: String,
    },
    /// The settings cannot be used.
    #[error("{name}: {message}")]
    Settings {
        /// Name of the subject, or `judge`.
        name: String,
        /// Why.
        message: String,
    },
    /// A local model cannot be loaded.
    #[error("{name}: {error}")]
    Local {
        /// Name of the subject, or `judge`.
        name: String,
        /// Why.
        error: tiltmeter_local::LocalError,
    },
}

impl ConnectError {
    /// Whether the configuration is at fault, rather than the world.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Local { error, .. } => error.is_configuration(),
            _ => true,
        }
    }
}

/// Whether a subject gives log-probabilities of given text, as far as is known without asking it.
pub fn gives_log_probabilities(subject: &Subject) -> bool {
    let address = &subject.settings.address;
    if let Some(scoring) = subject.settings.scoring
        && address.provider != LOCAL
    {
        return scoring != file::Scoring::None;
    }
    // What a preset is set up for does not hang on the address, which the user may replace.
    let scores = |known: &Provider| {
        Endpoint::of_provider(known, &address.model).is_ok_and(|endpoint| endpoint.scoring != Scoring::None)
    };
    address.provider == LOCAL || provider(&address.provider).is_some_and(scores)
}

/// Opens all models of an experiment. A local model that several subjects share is loaded once.
///
/// `environment` gives the values of environment variables; `progress` is told of downloads.
///
/// # Errors
/// For the first model that cannot be opened.
pub async fn connect(
    experiment: &Experiment,
    prices: &Prices,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
    progress: &dyn tiltmeter_local::Progress,
) -> Result<Connections, ConnectError> {
    // What costs nothing to check is checked for all models before weights are fetched for one.
    let mut connector = Connector { environment, prices, progress, loaded: Vec::new() };
    for subject in &experiment.subjects {
        connector.check(&subject.id, &subject.settings)?;
    }
    if let Some(judge) = &experiment.judge {
        connector.check(JUDGE, &judge.settings)?;
    }
    for screen in &experiment.screens {
        connector.check(SCREEN, &screen.model.settings)?;
    }
    for (name, model) in experiment.guards.iter().flat_map(guard_models) {
        connector.check(name, &model.settings)?;
    }
    let mut subjects = Vec::new();
    let mut steered = BTreeMap::new();
    for (index, subject) in experiment.subjects.iter().enumerate() {
        let settings = serde_json::json!({
            "temperature": subject.temperature,
            "max_tokens": subject.max_tokens,
            "reasoning": subject.reasoning.name(),
        });
        let open = &subject.settings;
        for (treatment, one) in experiment.treatments.iter().enumerate() {
            let steers = one.steering.as_ref().filter(|_| one.applies_to(subject));
            if let Some(steering) = steers.filter(|_| experiment.asked_as(treatment) == treatment) {
                let model = connector.open(&subject.id, open, Some(steering), settings.clone()).await?;
                steered.insert((index, treatment), model);
            }
        }
        subjects.push(connector.open(&subject.id, open, subject.steering.as_ref(), settings).await?);
    }
    let judge = match &experiment.judge {
        Some(judge) => Some(Arc::new(connector.open_judge(JUDGE, judge).await?)),
        None => None,
    };
    let mut screens = Vec::new();
    for screen in &experiment.screens {
        screens.push(Arc::new(connector.open_judge(SCREEN, &screen.model).await?));
    }
    let mut guards = Vec::new();
    for guard in &experiment.guards {
        let mut models = GuardModels::default();
        for (name, model) in guard_models(guard) {
            let opened = Arc::new(connector.open_judge(name, model).await?);
            *(if name == GUARD_JUDGE { &mut models.judge } else { &mut models.tilt }) = Some(opened);
        }
        guards.push(models);
    }
    Ok(Connections { subjects, judge, steered, screens, guards })
}

/// Opens a judge alone.
///
/// # Errors
/// If it cannot be opened.
pub async fn connect_judge(
    judge: &Judge,
    prices: &Prices,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
    progress: &dyn tiltmeter_local::Progress,
) -> Result<Model, ConnectError> {
    connect_reader(JUDGE, judge, prices, environment, progress).await
}

/// Opens a coder of traces, which is a judge that reads something else. Its name in messages is its model's.
///
/// # Errors
/// If it cannot be opened.
pub async fn connect_coder(
    coder: &Judge,
    prices: &Prices,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
    progress: &dyn tiltmeter_local::Progress,
) -> Result<Model, ConnectError> {
    let address = &coder.settings.address;
    let name = format!("coder {}/{}", address.provider, address.model);
    connect_reader(&name, coder, prices, environment, progress).await
}

async fn connect_reader(
    name: &str,
    judge: &Judge,
    prices: &Prices,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
    progress: &dyn tiltmeter_local::Progress,
) -> Result<Model, ConnectError> {
    let mut connector = Connector { environment, prices, progress, loaded: Vec::new() };
    connector.check(name, &judge.settings)?;
    connector.open_judge(name, judge).await
}

/// What the judge is called where subjects have their id.
const JUDGE: &str = "judge";
/// And a filter's model.
const SCREEN: &str = "filter";

/// And those of a guard's detectors.
const GUARD_JUDGE: &str = "guard's judge";
const GUARD_TILT: &str = "guard's tilt";

/// The models of a guard's detectors with their names in messages.
fn guard_models(guard: &Guard) -> impl Iterator<Item = (&'static str, &Judge)> {
    let judge = guard.judge.iter().map(|(model, _)| (GUARD_JUDGE, model));
    judge.chain(guard.tilt.iter().map(|(model, _)| (GUARD_TILT, model)))
}

struct Connector<'a> {
    environment: &'a (dyn Fn(&str) -> Option<String> + Sync),
    prices: &'a Prices,
    progress: &'a dyn tiltmeter_local::Progress,
    loaded: Vec<(String, LocalModel)>,
}

impl Connector<'_> {
    fn check(&self, name: &str, settings: &ModelSettings) -> Result<(), ConnectError> {
        let provider_name = &settings.address.provider;
        let takes_scoring = provider(provider_name).is_none_or(|known| known.api == Api::ChatCompletions);
        if settings.scoring.is_some() && (provider_name == LOCAL || !takes_scoring) {
            let message = format!(
                "`scoring` is for servers of OpenAI's chat-completions protocol, not for `{provider_name}`: leave it out"
            );
            return Err(ConnectError::Settings { name: name.to_owned(), message });
        }
        if settings.address.provider == LOCAL {
            Self::source(name, settings)?;
            self.local_settings(name).map(|_| ())
        } else {
            self.endpoints(name, settings).map(|_| ())
        }
    }

    async fn open_judge(&mut self, name: &str, judge: &Judge) -> Result<Model, ConnectError> {
        let settings = serde_json::json!({
            "samples": judge.samples,
            "temperature": judge.temperature,
            "max_tokens": judge.max_tokens,
            "log_probabilities": judge.log_probabilities,
            "minimum_mass": judge.minimum_mass,
            "reasoning": judge.reasoning.name(),
        });
        let model = self.open(name, &judge.settings, None, settings).await?;
        Ok(Model { is_judge: true, ..model })
    }

    /// All endpoints of a served model, which share the protocol.
    fn endpoints(&self, name: &str, settings: &ModelSettings) -> Result<(Api, Vec<Endpoint>), ConnectError> {
        let address = &settings.address;
        let one =
            EndpointFile { base_url: address.base_url.clone(), api_key_env: address.api_key_env.clone() };
        let first = settings.endpoints.first().unwrap_or(&one);
        let (api, endpoint) = self.endpoint(name, settings, first)?;
        let mut endpoints = vec![endpoint];
        for further in settings.endpoints.iter().skip(1) {
            endpoints.push(self.endpoint(name, settings, further)?.1);
        }
        Ok((api, endpoints))
    }

    fn source(name: &str, settings: &ModelSettings) -> Result<ModelSource, ConnectError> {
        ModelSource::parse(&settings.address.model)
            .map_err(|error| ConnectError::Settings { name: name.to_owned(), message: error.to_string() })
    }

    fn local_settings(&self, name: &str) -> Result<LocalSettings, ConnectError> {
        LocalSettings::from_environment(self.environment)
            .map_err(|error| ConnectError::Settings { name: name.to_owned(), message: error.to_string() })
    }

    /// Where a served model is, and the protocol that it is asked in. The protocol goes by the provider's name
    /// alone, also where the user gives an address of their own.
    fn endpoint(
        &self,
        name: &str,
        settings: &ModelSettings,
        at: &EndpointFile,
    ) -> Result<(Api, Endpoint), ConnectError> {
        let address = &settings.address;
        let wrong = |message: String| ConnectError::Settings { name: name.to_owned(), message };
        let Some(known) = provider(&address.provider) else {
            let mut names: Vec<&str> = providers().iter().map(|provider| provider.name).collect();
            names.push(LOCAL);
            return Err(ConnectError::Provider {
                name: name.to_owned(),
                provider: address.provider.clone(),
                known: names.join(", "),
            });
        };
        let mut endpoint =
            Endpoint::of_provider(known, &address.model).map_err(|error| wrong(error.to_string()))?;
        if let Some(base_url) = &at.base_url {
            endpoint.base_url = base_url.parse().map_err(|error| wrong(format!("{error}")))?;
        }
        let variable = at.api_key_env.as_deref().unwrap_or(known.key_variable);
        let key = (self.environment)(variable).filter(|key| !key.trim().is_empty());
        // A server of the user's own may well want no key; the provider's address does, and so does a user who
        // names a variable.
        let required = at.api_key_env.is_some() || (known.needs_key && at.base_url.is_none());
        if key.is_none() && required {
            return Err(ConnectError::Key {
                name: name.to_owned(),
                model: format!("{}/{}", address.provider, address.model),
                variable: variable.to_owned(),
            });
        }
        endpoint.api_key = key.map(|key| SecretString::from(key.trim().to_owned()));
        endpoint.scoring = match settings.scoring {
            None => endpoint.scoring,
            Some(file::Scoring::None) => Scoring::None,
            Some(file::Scoring::Vllm) => Scoring::VllmTokens,
            Some(file::Scoring::Echo) => Scoring::EchoPlainText,
        };
        if settings.context_cache == file::ContextCache::Explicit {
            endpoint.context_caching = ContextCaching::Explicit { time_to_live: CONTEXT_TIME };
        }
        // Some models answer in no other way.
        endpoint.stream |= settings.stream;
        for (field, value) in &settings.extra_body {
            endpoint.extra_body.insert(field.clone(), value.clone());
        }
        if let Some(seconds) = settings.timeout_s {
            let total = Duration::from_secs(seconds.into());
            let limits = &mut endpoint.timeouts;
            limits.total = total;
            limits.first_byte = limits.first_byte.min(total);
            limits.between_events = limits.between_events.min(total);
        }
        Ok((known.api, endpoint))
    }

    async fn open(
        &mut self,
        name: &str,
        settings: &ModelSettings,
        steering: Option<&Steering>,
        mut written: serde_json::Value,
    ) -> Result<Model, ConnectError> {
        let address = &settings.address;
        let is_local = address.provider == LOCAL;
        let concurrency =
            settings.concurrency.unwrap_or(if is_local { LOCAL_CONCURRENCY } else { CONCURRENCY });
        let pace = PaceSettings {
            ceiling: concurrency,
            requests_per_minute: settings.rpm,
            tokens_per_minute: settings.tpm,
            is_served: !is_local,
        };
        if let Some(fields) = written.as_object_mut() {
            fields.insert("base_url".to_owned(), address.base_url.clone().into());
            if !settings.endpoints.is_empty() {
                fields.insert("endpoints".to_owned(), serde_json::json!(settings.endpoints));
            }
            fields.insert("stream".to_owned(), settings.stream.into());
            fields.insert("extra_body".to_owned(), serde_json::json!(settings.extra_body));
        }
        let mut description = None;
        let chats: Vec<Arc<dyn ChatModel>> = if is_local {
            let model = self.load(name, settings).await?;
            description = Some(serde_json::json!(model.description()));
            match steering {
                Some(steering) => {
                    let (steered, record) = crate::steering::steer(&model, steering)
                        .await
                        .map_err(|message| ConnectError::Settings { name: name.to_owned(), message })?;
                    if let Some(fields) = written.as_object_mut() {
                        fields.insert("steering".to_owned(), serde_json::json!(record));
                    }
                    vec![Arc::new(steered)]
                }
                None => vec![Arc::new(model)],
            }
        } else {
            let (api, endpoints) = self.endpoints(name, settings)?;
            if let (Some(fields), Some(endpoint)) = (written.as_object_mut(), endpoints.first()) {
                fields.insert("protocol".to_owned(), api.name().into());
                fields.insert("stream".to_owned(), endpoint.stream.into());
            }
            let open = |endpoint| {
                api.open(endpoint).map_err(|error| ConnectError::Settings {
                    name: name.to_owned(),
                    message: error.to_string(),
                })
            };
            endpoints.into_iter().map(open).collect::<Result<_, _>>()?
        };
        let record = ModelRecord {
            model: format!("{}/{}", address.provider, address.model),
            settings: written,
            description,
        };
        Ok(Model {
            name: name.to_owned(),
            record,
            price: self.prices.of(settings),
            can_score: chats.iter().all(|chat| chat.can_score()),
            ways: Ways::new(chats, pace),
            outage: settings.outage_s.map(|seconds| Duration::from_secs(seconds.into())),
            is_judge: false,
            is_served: !is_local,
        })
    }

    async fn load(&mut self, name: &str, settings: &ModelSettings) -> Result<LocalModel, ConnectError> {
        let key = &settings.address.model;
        if let Some((_, model)) = self.loaded.iter().find(|(loaded, _)| loaded == key) {
            return Ok(model.clone());
        }
        let source = Self::source(name, settings)?;
        let model = tiltmeter_local::open(&source, self.local_settings(name)?, self.progress)
            .await
            .map_err(|error| ConnectError::Local { name: name.to_owned(), error })?;
        self.loaded.push((key.clone(), model.clone()));
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::experiment::ModelAddress;

    use super::*;

    fn settings(provider: &str, base_url: Option<&str>) -> ModelSettings {
        let address = ModelAddress {
            provider: provider.to_owned(),
            model: "m".to_owned(),
            base_url: base_url.map(str::to_owned),
            api_key_env: None,
        };
        ModelSettings {
            address,
            stream: false,
            concurrency: None,
            rpm: None,
            tpm: None,
            endpoints: Vec::new(),
            timeout_s: None,
            outage_s: None,
            extra_body: FromIterator::from_iter([]),
            price: None,
            scoring: None,
            context_cache: file::ContextCache::Implicit,
        }
    }

    #[test]
    fn a_local_models_settings_are_checked_before_it_is_loaded() {
        let prices = Prices::default();
        let check = |threads: &'static str| {
            let environment = |name: &str| (name == "TILTMETER_THREADS").then(|| threads.to_owned());
            let connector =
                Connector { environment: &environment, prices: &prices, progress: &(), loaded: Vec::new() };
            let mut settings = settings(LOCAL, None);
            settings.address.model = "smollm2-135m-instruct".to_owned();
            connector.check("s", &settings).map(|()| connector.local_settings("s").unwrap().threads)
        };
        assert_eq!(check("3").unwrap().map(std::num::NonZeroUsize::get), Some(3));
        let error = check("none").unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("TILTMETER_THREADS"), "{error}");
    }

    #[test]
    fn a_local_model_that_is_broken_is_the_configurations_fault() {
        use tiltmeter_local::{LocalError, WeightsError};
        let is_configuration = |error| ConnectError::Local { name: "s".to_owned(), error }.is_configuration();
        assert!(is_configuration(LocalError::Context { asked: 1, most: 512 }));
        assert!(is_configuration(LocalError::Weights(WeightsError::NoCache)));
        assert!(!is_configuration(LocalError::Thread("it ended".to_owned())));
    }

    #[tokio::test]
    async fn a_providers_name_says_in_which_protocol_it_is_asked() {
        let environment = |_: &str| Some("sk-test-key".to_owned());
        let prices = Prices::default();
        let mut connector =
            Connector { environment: &environment, prices: &prices, progress: &(), loaded: Vec::new() };
        let own = Some("http://127.0.0.1:1/v1");
        for (provider, base_url, protocol, stream) in [
            ("openai", None, "chat-completions", false),
            ("openai", own, "chat-completions", false),
            ("openai-responses", None, "responses", false),
            ("gemini", None, "gemini", false),
            ("gemini", own, "gemini", false),
            ("gemini-openai", None, "chat-completions", false),
            ("anthropic", None, "anthropic", false),
            ("anthropic-openai", None, "chat-completions", false),
            // Its models that think answer in no other way.
            ("dashscope", None, "chat-completions", true),
        ] {
            let settings = settings(provider, base_url);
            let opened = connector.open("subject", &settings, None, serde_json::json!({})).await;
            let record = opened.map(|model| model.record.settings).unwrap();
            assert_eq!(record["protocol"], protocol, "{provider} {base_url:?}");
            assert_eq!(record["stream"], stream, "{provider}");
            assert!(!record.to_string().contains("sk-test-key"));
        }
    }
}
