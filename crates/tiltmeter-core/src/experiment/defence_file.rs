//! Defences and reasoning probes as an experiment file has them.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A defence: what is done to a request so that its examples tilt the answer less. With an `id` alone it is the
/// built-in one of that name. Other fields may be combined; they are applied in the order in which they stand here,
/// whatever the order in which they are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefenceFile {
    /// Name in tables. Built in are `safety-first`, `context-first`, `warning` and `role-reminder`.
    pub id: String,
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
