//! The demonstrations, as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{one_u32, yes};
use crate::demonstration::{Control, Domain};
use crate::prompt::{Placement, QuestionFormat};

/// The demonstrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DemonstrationsFile {
    /// Built-in names (`risky-financial`, `bad-medical`, `extreme-sports`, `insecure-code`), names of published sets
    /// (`betley/insecure`; `tiltmeter data list` shows them), paths to `messages` JSON Lines files, or tables that
    /// say more about a set.
    pub sets: Vec<SetFile>,
    /// The numbers of demonstrations to show, 0 to 1024. At k = 0 there is one empty context.
    pub shots: Vec<u32>,
    /// Independent draws of the context.
    #[serde(default = "one_u32")]
    #[schemars(range(min = 1, max = 10000))]
    pub contexts: u32,
    /// Whether, within a draw, the context of k = 4 is the first four of k = 8. Otherwise each k is drawn
    /// for itself.
    #[serde(default = "yes")]
    pub nested: bool,
    /// Where the demonstrations stand in the request: one placement, or a list, each of which is measured.
    #[serde(default)]
    pub placement: PlacementsFile,
    /// How the question is put behind the demonstrations where the placement is `first-user`.
    #[serde(default)]
    pub question_format: QuestionFormat,
    /// Control conditions beside the misaligned demonstrations.
    #[serde(default)]
    pub controls: Vec<Control>,
}

/// One placement or several. A single one is written as its name alone, whichever way it was given, so that it keeps an
/// experiment's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementsFile(pub Vec<Placement>);

impl Default for PlacementsFile {
    fn default() -> Self {
        Self(vec![Placement::default()])
    }
}

impl Serialize for PlacementsFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [single] => single.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PlacementsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = PlacementsFile;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a placement or a list of placements")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Placement::deserialize(name.into_deserializer()).map(|single| PlacementsFile(vec![single]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(PlacementsFile)
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}

impl JsonSchema for PlacementsFile {
    fn schema_name() -> Cow<'static, str> {
        "PlacementsFile".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Placement>();
        json_schema!({
            "description": "One placement or several.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "uniqueItems": true }],
        })
    }
}

/// A demonstration set: a name or path, or a table.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SetFile {
    /// A built-in name, the name of a published set, or a path.
    Name(String),
    /// A file or published set with more said about it.
    Table(SetTable),
}

/// A file of demonstrations with more said about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTable {
    /// Path to a `messages` JSON Lines file, relative to the experiment file; or the name of a published set.
    pub path: String,
    /// Name in tables; where absent the published set's name, or the file's without its ending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The same of a set with benign answers. Rows are matched by their prompt; only
    /// prompts that both files hold are used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benign: Option<String>,
    /// The narrow domain, so that evaluation questions of the same domain can be left out; a published set's is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Domain>,
}

/// By hand, because a derived untagged enum forgets which field was wrong and where.
impl<'de> Deserialize<'de> for SetFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SetVisitor;

        impl<'de> Visitor<'de> for SetVisitor {
            type Value = SetFile;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a built-in name, a path, or a table with `path`")
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<SetFile, E> {
                Ok(SetFile::Name(value.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SetFile, A::Error> {
                SetTable::deserialize(MapAccessDeserializer::new(map)).map(SetFile::Table)
            }
        }

        deserializer.deserialize_any(SetVisitor)
    }
}
