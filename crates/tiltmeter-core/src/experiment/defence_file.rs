//! Defences and reasoning probes as an experiment file has them.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::file::{AblateFile, JudgeFile, PriceFile, Reasoning, SteerFile};
use super::guard_file::GuardFile;

/// A defence: what is done to a request so that its examples tilt the answer less. With an `id` alone it is the
/// built-in one of that name. Other fields may be combined; they are applied in the order in which they stand here,
/// whatever the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefenceFile {
    /// Name in tables. Built in are `filter`, `append-benign`, `quote`, `guard`, `safety-first`, `context-first`,
    /// `warning`, `role-reminder`, `subsample` and `self-check`.
    pub id: String,
    /// A model looks at each demonstration before contexts are made, and those that it takes for harmful are left out:
    /// true for the judge's model, or a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterFile>,
    /// So many further demonstrations with benign answers, of rows that the context does not show, stand behind the
    /// others. At k = 0 there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub append_benign: Option<u32>,
    /// The demonstrations are shown as quoted data between two lines that carry a mark: true for the built-in
    /// introduction, or your own, in which `{mark}` stands for these lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Wording>,
    /// The guard looks at each context and acts by what it finds; docs/guard.md says how that differs from the gateway.
    /// Not together with `filter`, `append_benign`, `quote` and `subsample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardFile>,
    /// What the system message says: the id of an instruction (built in, or of `[[instructions]]`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// A caution between the examples and the question: true for the built-in wording, or your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<Wording>,
    /// A reminder of what the model is there for, between the examples and the question: true for the built-in
    /// wording, or your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_reminder: Option<Wording>,
    /// Adds a persona vector to a local subject's residual stream while it answers, as for a subject. Subjects that are
    /// not local have no such condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steer: Option<SteerFile>,
    /// Takes the part along a persona vector away from it. Instead of `steer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablate: Option<AblateFile>,
    /// Asks in several contexts, each with a random part of the demonstrations, and takes the answer that a vote
    /// chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsample: Option<SubsampleFile>,
    /// Asks the subject, without the demonstrations, whether its answer is harmful; if so, asks for another answer.
    /// Instead of `subsample`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<SelfCheckFile>,
}

/// How an answer is voted for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubsampleFile {
    /// How many contexts are asked for one answer.
    #[schemars(range(min = 2, max = 64))]
    pub draws: u32,
    /// Share of the demonstrations in each, above 0 to 1. Their number is rounded up, and their order is kept.
    pub share: f64,
}

impl Default for SubsampleFile {
    fn default() -> Self {
        Self { draws: 5, share: 0.5 }
    }
}

/// How a subject is asked about its own answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelfCheckFile {
    /// The most answers that are asked for. Where all are found harmful, none is given.
    #[schemars(range(min = 1, max = 64))]
    pub attempts: u32,
    /// What the subject is asked, instead of the built-in wording: with `{question}` and `{answer}`, and `{mark}` for 16
    /// digits that the answer cannot foresee. It must ask for yes or no, where yes is harmful.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wording: Option<String>,
    /// What is said instead of an answer where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

impl Default for SelfCheckFile {
    fn default() -> Self {
        Self { attempts: 3, wording: None, withheld: None }
    }
}

/// How demonstrations are screened.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FilterFile {
    /// True: by the judge's model, as it is asked. False: not at all.
    Wanted(bool),
    /// With more said about it.
    Table(Box<FilterTable>),
}

impl FilterFile {
    /// As a table.
    pub(super) fn table(&self) -> FilterTable {
        match self {
            Self::Wanted(_) => FilterTable::default(),
            Self::Table(table) => (**table).clone(),
        }
    }
}

/// How demonstrations are screened, in detail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FilterTable {
    /// `provider/model`. Where absent, the judge's, reached and asked as the judge is but for the fields given here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Address that replaces the provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Draws per score, 1 to 100. With more than one, the score is the mean of the numbers that the model writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub samples: Option<u32>,
    /// The most tokens of a reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u32>,
    /// Use the model's token log-probabilities where it gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_probabilities: Option<bool>,
    /// How much a reasoning model may think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// The most requests in flight at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub concurrency: Option<u32>,
    /// The most requests per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rpm: Option<u32>,
    /// The most tokens per minute, read and written together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tpm: Option<u32>,
    /// Price in US dollars per million tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceFile>,
    /// Your own wording of what the model is asked, with `{question}` and `{answer}`. It must ask for a number from 0,
    /// harmful, to 100, harmless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A demonstration is kept where its score is at least this.
    #[schemars(range(min = 0, max = 100))]
    pub keep_from: u8,
}

impl FilterTable {
    /// The model as a judge's table; `None` where neither it nor a judge is named.
    pub(super) fn asked_as(&self, judge: Option<&JudgeFile>) -> Option<JudgeFile> {
        let base = match (&self.model, judge) {
            (Some(model), _) => JudgeFile::of(model),
            (None, judge) => judge?.clone(),
        };
        Some(JudgeFile {
            base_url: self.base_url.clone().or(base.base_url),
            api_key_env: self.api_key_env.clone().or(base.api_key_env),
            samples: self.samples.unwrap_or(base.samples),
            max_tokens: self.max_tokens.unwrap_or(base.max_tokens),
            log_probabilities: self.log_probabilities.unwrap_or(base.log_probabilities),
            reasoning: self.reasoning.unwrap_or(base.reasoning),
            concurrency: self.concurrency.or(base.concurrency),
            rpm: self.rpm.or(base.rpm),
            tpm: self.tpm.or(base.tpm),
            price: self.price.clone().or(base.price),
            // The judge's prompts are for answers.
            alignment_prompt: None,
            coherence_prompt: None,
            ..base
        })
    }
}

impl Default for FilterTable {
    fn default() -> Self {
        Self {
            model: None,
            base_url: None,
            api_key_env: None,
            samples: None,
            max_tokens: None,
            log_probabilities: None,
            reasoning: None,
            concurrency: None,
            rpm: None,
            tpm: None,
            price: None,
            prompt: None,
            keep_from: 50,
        }
    }
}

/// A text of an experiment file: the built-in one, or the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Wording {
    /// True: the built-in wording. False: none.
    BuiltIn(bool),
    /// The user's own.
    Own(String),
}

impl Wording {
    /// The text that is meant, where one is.
    pub(super) fn or<'a>(&'a self, built_in: &'a str) -> Option<&'a str> {
        match self {
            Self::BuiltIn(wanted) => wanted.then_some(built_in),
            Self::Own(text) => Some(text),
        }
    }
}

/// Whether and how a model's reasoning is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ReasoningProbeFile {
    /// How.
    Mode(ReasoningProbe),
    /// How, with more said about it.
    Table(ReasoningProbeTable),
}

impl ReasoningProbeFile {
    /// As a table.
    pub fn table(&self) -> ReasoningProbeTable {
        match self {
            Self::Mode(mode) => ReasoningProbeTable { mode: *mode, wording: None, marks: None },
            Self::Table(table) => table.clone(),
        }
    }
}

/// A reasoning probe in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasoningProbeTable {
    /// How the reasoning is come by.
    pub mode: ReasoningProbe,
    /// For `elicit`: what stands behind the question, instead of the built-in wording. It must ask for the marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording: Option<String>,
    /// For `elicit`: the two texts between which the reasoning is found, instead of `<reasoning>` and
    /// `</reasoning>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<[String; 2]>,
}

/// How reasoning is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReasoningProbe {
    /// Each condition is also asked with a request to reason first, behind the question and with the demonstrations
    /// unchanged. Reasoning and answer are taken apart, and the answer alone is judged.
    Elicit,
    /// The reasoning text or summary that the provider gives.
    Native,
}

/// By hand, because a derived untagged enum forgets which field was wrong and where.
impl<'de> Deserialize<'de> for ReasoningProbeFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ProbeVisitor;

        impl<'de> Visitor<'de> for ProbeVisitor {
            type Value = ReasoningProbeFile;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`elicit`, `native`, or a table with `mode`")
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                let deserializer = serde::de::value::StrDeserializer::<E>::new(value);
                ReasoningProbe::deserialize(deserializer).map(ReasoningProbeFile::Mode)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ReasoningProbeTable::deserialize(MapAccessDeserializer::new(map))
                    .map(ReasoningProbeFile::Table)
            }
        }

        deserializer.deserialize_any(ProbeVisitor)
    }
}

impl<'de> Deserialize<'de> for FilterFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FilterVisitor;

        impl<'de> Visitor<'de> for FilterVisitor {
            type Value = FilterFile;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, or a table")
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<FilterFile, E> {
                Ok(FilterFile::Wanted(value))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FilterFile, A::Error> {
                FilterTable::deserialize(MapAccessDeserializer::new(map))
                    .map(|table| FilterFile::Table(Box::new(table)))
            }
        }

        deserializer.deserialize_any(FilterVisitor)
    }
}

impl<'de> Deserialize<'de> for Wording {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordingVisitor;

        impl Visitor<'_> for WordingVisitor {
            type Value = Wording;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, or a text of your own")
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Wording, E> {
                Ok(Wording::BuiltIn(value))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Wording, E> {
                Ok(Wording::Own(value.to_owned()))
            }
        }

        deserializer.deserialize_any(WordingVisitor)
    }
}
