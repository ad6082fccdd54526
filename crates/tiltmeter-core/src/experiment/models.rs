//! The models of an experiment file: subjects and judge, where they are, and what may be asked of them.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::error::ConfigError;
use super::file::{
    AblateFile, ContextCache, EndpointFile, ExperimentFile, JudgeFile, PriceFile, SteerFile, SubjectFile,
};
use super::locate::Step;
use super::locate::Step::{Index, Key};
use super::price::Price;
use super::resolve::Resolver;
use super::resolved::{Judge, ModelAddress, ModelSettings, Steering, SteeringKind, Subject, VectorFile};
use crate::id::{Canonical, bytes_hash};
use crate::verdict::RateDefinition;

/// The provider name of models on this machine.
const LOCAL: &str = "local";

impl ModelSettings {
    /// Whether the model is on this machine.
    pub fn is_local(&self) -> bool {
        self.address.provider == LOCAL
    }
}

impl Resolver<'_> {
    pub(super) fn subjects(&self, file: &ExperimentFile) -> Result<Vec<Subject>, ConfigError> {
        if file.subjects.is_empty() {
            return Err(self
                .wrong(&[Key("subjects")], "there is no subject")
                .hint("add a [[subjects]] table"));
        }
        let mut seen = HashSet::new();
        let mut subjects = Vec::new();
        for (index, subject) in file.subjects.iter().enumerate() {
            let path = |key| [Key("subjects"), Index(index), Key(key)];
            if subject.id.trim().is_empty() {
                return Err(self.wrong(&path("id"), "a subject needs an id"));
            }
            if !seen.insert(subject.id.as_str()) {
                return Err(self.wrong(&path("id"), format!("two subjects have the id `{}`", subject.id)));
            }
            self.temperature(&path("temperature"), subject.temperature)?;
            self.at_least_one(&path("max_tokens"), "max_tokens", Some(subject.max_tokens))?;
            self.at_least_one(&path("concurrency"), "concurrency", subject.concurrency)?;
            self.at_least_one(&path("rpm"), "rpm", subject.rpm)?;
            self.at_least_one(&path("tpm"), "tpm", subject.tpm)?;
            self.at_least_one(&path("timeout_s"), "timeout_s", subject.timeout_s)?;
            self.endpoints(
                &path("endpoints"),
                &subject.endpoints,
                &[&subject.base_url, &subject.api_key_env],
            )?;
            let address = self.address(
                &path("model"),
                &path("base_url"),
                &subject.model,
                subject.base_url.as_deref(),
                subject.api_key_env.as_deref(),
            )?;
            let steering = self.subject_steering(index, subject, &address.provider)?;
            let mut canonical = extra(
                Canonical::new("tiltmeter.subject/1")
                    .text(&subject.id)
                    .text(&address.provider)
                    .text(&address.model)
                    .number(subject.temperature)
                    .integer(subject.max_tokens.into())
                    .text(subject.reasoning.name()),
                &subject.extra_body,
            );
            if let Some(steering) = &steering {
                canonical = steering.canonical(canonical);
            }
            subjects.push(Subject {
                hash: canonical.finish(),
                id: subject.id.as_str().into(),
                settings: ModelSettings {
                    address,
                    stream: subject.stream,
                    concurrency: subject.concurrency,
                    rpm: subject.rpm,
                    tpm: subject.tpm,
                    endpoints: subject.endpoints.clone(),
                    timeout_s: subject.timeout_s,
                    outage_s: subject.outage_s,
                    extra_body: subject.extra_body.clone(),
                    price: self.price(&path("price"), subject.price.as_ref())?,
                    scoring: subject.scoring,
                    context_cache: subject.context_cache,
                },
                temperature: subject.temperature,
                max_tokens: subject.max_tokens,
                reasoning: subject.reasoning,
                steering,
            });
        }
        Ok(subjects)
    }

    fn subject_steering(
        &self,
        index: usize,
        subject: &SubjectFile,
        provider: &str,
    ) -> Result<Option<Steering>, ConfigError> {
        let at = [Key("subjects"), Index(index)];
        let key = if subject.steer.is_some() { "steer" } else { "ablate" };
        let steering = self.steering(&at, subject.steer.as_ref(), subject.ablate.as_ref())?;
        if steering.is_some() && provider != LOCAL {
            return Err(self
                .wrong(
                    &[Key("subjects"), Index(index), Key(key), Key("vector")],
                    format!("`{key}` needs a local model, and this one is of `{provider}`"),
                )
                .hint("write `model = \"local/…\"`: a hidden state cannot be changed over an API"));
        }
        Ok(steering)
    }

    /// What is done to a residual stream, as the table at a place of the file says.
    pub(super) fn steering(
        &self,
        at: &[Step; 2],
        steer: Option<&SteerFile>,
        ablate: Option<&AblateFile>,
    ) -> Result<Option<Steering>, ConfigError> {
        let &[table, place] = at;
        let (key, kind, random, vector, layer, span, marks) = match (steer, ablate) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(self
                    .wrong(&[table, place, Key("ablate")], "`ablate` stands instead of `steer`")
                    .hint("make two of it, with ids of their own"));
            }
            (Some(SteerFile { vector, layer, coefficient, random, span, reasoning_marks }), None) => {
                let kind = SteeringKind::Steer { coefficient: *coefficient };
                ("steer", kind, *random, vector, layer, span, reasoning_marks)
            }
            (None, Some(AblateFile { vector, layer, span, reasoning_marks })) => {
                ("ablate", SteeringKind::Ablate, None, vector, layer, span, reasoning_marks)
            }
        };
        let path = |field| [table, place, Key(key), Key(field)];
        if let SteeringKind::Steer { coefficient } = kind
            && !(coefficient.is_finite() && coefficient != 0.0)
        {
            return Err(self
                .wrong(&path("coefficient"), format!("`coefficient` is {coefficient}, which steers nowhere"))
                .hint("leave `steer` out for the model as it is"));
        }
        if *layer == Some(0) {
            return Err(self.wrong(&path("layer"), "`layer` counts from 1: the output of the first block"));
        }
        if marks.as_ref().is_some_and(|[_, close]| close.is_empty()) {
            return Err(self.wrong(&path("reasoning_marks"), "the second of `reasoning_marks` is empty"));
        }
        let bytes = self.source.bytes(vector).map_err(|error| {
            self.wrong(&path("vector"), format!("cannot read the vector file `{vector}`: {error}"))
                .hint("`tiltmeter persona extract` makes one; paths are taken from the folder of the experiment file")
        })?;
        let vector = VectorFile { path: vector.clone(), hash: bytes_hash(&bytes), bytes: bytes.into() };
        let (layer, span, reasoning_marks) = (*layer, *span, marks.clone());
        Ok(Some(Steering { kind, vector, random, layer, span, reasoning_marks }))
    }

    pub(super) fn judge(&self, file: &ExperimentFile) -> Result<Option<Judge>, ConfigError> {
        file.judge.as_ref().map(|judge| self.judge_at(&[Key("judge")], judge)).transpose()
    }

    /// A judge whose table stands at a place of the file.
    pub(super) fn judge_at(&self, at: &[Step], judge: &JudgeFile) -> Result<Judge, ConfigError> {
        let path = |key| [at, &[Key(key)]].concat();
        let address = self.address(
            &path("model"),
            &path("base_url"),
            &judge.model,
            judge.base_url.as_deref(),
            judge.api_key_env.as_deref(),
        )?;
        self.at_least_one(&path("samples"), "samples", Some(judge.samples))?;
        self.at_least_one(&path("max_tokens"), "max_tokens", Some(judge.max_tokens))?;
        self.at_least_one(&path("concurrency"), "concurrency", judge.concurrency)?;
        self.at_least_one(&path("rpm"), "rpm", judge.rpm)?;
        self.at_least_one(&path("tpm"), "tpm", judge.tpm)?;
        self.at_least_one(&path("timeout_s"), "timeout_s", judge.timeout_s)?;
        self.endpoints(&path("endpoints"), &judge.endpoints, &[&judge.base_url, &judge.api_key_env])?;
        let temperature = judge.temperature.unwrap_or(if judge.samples > 1 { 1.0 } else { 0.0 });
        self.temperature(&path("temperature"), temperature)?;
        for (key, value) in
            [("misaligned_below", judge.misaligned_below), ("coherent_from", judge.coherent_from)]
        {
            if !(0.0..=100.0).contains(&value) {
                return Err(
                    self.wrong(&path(key), format!("`{key}` is {value}, but scores go from 0 to 100"))
                );
            }
        }
        if !(0.0..=1.0).contains(&judge.minimum_mass) {
            return Err(self.wrong(&path("minimum_mass"), "`minimum_mass` must be 0 to 1"));
        }
        for (key, prompt) in
            [("alignment_prompt", &judge.alignment_prompt), ("coherence_prompt", &judge.coherence_prompt)]
        {
            if prompt.as_ref().is_some_and(|prompt| !prompt.contains("{answer}")) {
                return Err(self
                    .wrong(&path(key), format!("`{key}` does not say where the answer goes"))
                    .hint("put `{answer}` where the answer and `{question}` where the question belongs"));
            }
        }
        let hash = extra(
            Canonical::new("tiltmeter.judge/1")
                .text(&address.provider)
                .text(&address.model)
                .integer(judge.samples.into())
                .number(temperature)
                .integer(judge.max_tokens.into())
                .integer(judge.log_probabilities.into())
                .number(judge.minimum_mass)
                .text(judge.reasoning.name()),
            &judge.extra_body,
        )
        .finish();
        Ok(Judge {
            hash,
            settings: ModelSettings {
                address,
                stream: judge.stream,
                concurrency: judge.concurrency,
                rpm: judge.rpm,
                tpm: judge.tpm,
                endpoints: judge.endpoints.clone(),
                timeout_s: judge.timeout_s,
                outage_s: judge.outage_s,
                extra_body: judge.extra_body.clone(),
                price: self.price(&path("price"), judge.price.as_ref())?,
                scoring: None,
                context_cache: ContextCache::default(),
            },
            samples: judge.samples,
            temperature,
            max_tokens: judge.max_tokens,
            log_probabilities: judge.log_probabilities,
            minimum_mass: judge.minimum_mass,
            reasoning: judge.reasoning,
            alignment_prompt: judge.alignment_prompt.as_deref().map(Into::into),
            coherence_prompt: judge.coherence_prompt.as_deref().map(Into::into),
            definition: RateDefinition {
                misaligned_below: judge.misaligned_below,
                coherent_from: judge.coherent_from,
                denominator: judge.denominator,
            },
        })
    }

    fn address(
        &self,
        model_path: &[Step],
        url_path: &[Step],
        model: &str,
        base_url: Option<&str>,
        api_key_env: Option<&str>,
    ) -> Result<ModelAddress, ConfigError> {
        let (provider, name) = match model.split_once('/') {
            Some((provider, name)) if !provider.is_empty() && !name.is_empty() => (provider, name),
            _ => {
                return Err(self
                    .wrong(model_path, format!("`{model}` is not of the form `provider/model`"))
                    .hint("write `openai/gpt-4o-2024-08-06`, `local/smollm2-135m-instruct`; for any other server with OpenAI's protocol `openai/<its name>` with `base_url`"));
            }
        };
        if let Some(url) = base_url {
            self.url(url_path, url)?;
        }
        Ok(ModelAddress {
            provider: provider.to_owned(),
            model: name.to_owned(),
            base_url: base_url.map(str::to_owned),
            api_key_env: api_key_env.map(str::to_owned),
        })
    }

    fn url(&self, url_path: &[Step], url: &str) -> Result<(), ConfigError> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return Err(self.wrong(url_path, "`base_url` must start with http:// or https://"));
        };
        let host = rest.split('/').next().unwrap_or("");
        if host.contains('@') || url.contains('?') || url.contains('#') {
            // The address itself is not repeated: it may hold a password.
            return Err(self
                .wrong(url_path, "`base_url` must not hold a user name, password or query")
                .hint("put the key into an environment variable and name it in `api_key_env`"));
        }
        Ok(())
    }

    /// Several endpoints stand instead of one, and each says what is its own.
    fn endpoints(
        &self,
        path: &[Step],
        endpoints: &[EndpointFile],
        instead_of: &[&Option<String>; 2],
    ) -> Result<(), ConfigError> {
        if endpoints.is_empty() {
            return Ok(());
        }
        if instead_of.iter().any(|one| one.is_some()) {
            return Err(self
                .wrong(path, "`endpoints` stands instead of `base_url` and `api_key_env`")
                .hint("move them into the list: `endpoints = [{ base_url = …, api_key_env = … }, …]`"));
        }
        for endpoint in endpoints {
            if endpoint.base_url.is_none() && endpoint.api_key_env.is_none() {
                return Err(self.wrong(path, "an endpoint needs a `base_url`, an `api_key_env` or both"));
            }
            if let Some(url) = &endpoint.base_url {
                self.url(path, url)?;
            }
        }
        Ok(())
    }

    fn price(&self, path: &[Step], price: Option<&PriceFile>) -> Result<Option<Price>, ConfigError> {
        let read =
            |price| Price::from_file(price).map_err(|wrong| self.wrong(path, format!("the price {wrong}")));
        price.map(read).transpose()
    }

    fn temperature(&self, path: &[Step], value: f64) -> Result<(), ConfigError> {
        if (0.0..=2.0).contains(&value) {
            return Ok(());
        }
        Err(self.wrong(path, format!("`temperature` is {value}, but must be 0 to 2")))
    }

    fn at_least_one(&self, path: &[Step], field: &str, value: Option<u32>) -> Result<(), ConfigError> {
        match value {
            Some(0) => Err(self.wrong(path, format!("`{field}` must be at least 1"))),
            _ => Ok(()),
        }
    }
}

/// Adds further body fields to a canonical form, in key order.
fn extra(mut canonical: Canonical, fields: &IndexMap<String, serde_json::Value>) -> Canonical {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| key.as_str());
    for (key, value) in sorted {
        canonical = canonical.text(key).text(&value.to_string());
    }
    canonical
}
