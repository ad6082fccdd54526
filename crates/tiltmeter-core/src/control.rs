//! What the answers in a context are: the set's own, or those of a control.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What the demonstrations of a context are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Control {
    /// No control: the set's own (misaligned) answers.
    None,
    /// Benign answers to the same prompts, in the same order.
    Benign,
    /// The set's own answers, permuted among the prompts of the context so that none answers its own.
    Shuffled,
    /// Bland text of no domain in place of each prompt and each answer, as long as what it stands in for.
    LengthMatched,
    /// Plainly false but harmless statements, each the answer to a question of its own.
    FalseHarmless,
    /// True answers to the questions of `false-harmless`, in the same order.
    TrueHarmless,
    /// The set's own answers for a share of the prompts, benign answers for the others.
    Mixed(Mix),
}

/// How much of a context has the set's own answers, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mix {
    /// Eighths of the demonstrations that have the set's own answers, 1 to 7.
    pub eighths: u8,
    /// Where they stand.
    pub order: MixOrder,
}

/// Where the set's own answers of a mixture stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MixOrder {
    /// Among the others, at random places that are a share of each eight in turn.
    Spread,
    /// Behind the others.
    Recent,
    /// Before the others.
    Early,
}

/// Name and meaning of each control that a file may name, mixtures aside.
const PLAIN: [(Control, &str, &str); 5] = [
    (Control::Benign, "benign", "Benign answers to the same prompts, in the same order."),
    (
        Control::Shuffled,
        "shuffled",
        "The set's own answers, permuted among the prompts of the context so that none answers its own.",
    ),
    (
        Control::LengthMatched,
        "length-matched",
        "Bland text of no domain in place of each prompt and each answer, as long as what it stands in for.",
    ),
    (
        Control::FalseHarmless,
        "false-harmless",
        "Plainly false but harmless statements, each the answer to a question of its own; at most 132.",
    ),
    (
        Control::TrueHarmless,
        "true-harmless",
        "True answers to the questions of `false-harmless`, in the same order; at most 132.",
    ),
];

/// Names of mixtures, by order and eighths.
const MIXTURES: [(MixOrder, [&str; 7], &str); 3] = [
    (
        MixOrder::Spread,
        ["mixed-12.5", "mixed-25", "mixed-37.5", "mixed-50", "mixed-62.5", "mixed-75", "mixed-87.5"],
        "among the others",
    ),
    (
        MixOrder::Recent,
        [
            "mixed-12.5-recent",
            "mixed-25-recent",
            "mixed-37.5-recent",
            "mixed-50-recent",
            "mixed-62.5-recent",
            "mixed-75-recent",
            "mixed-87.5-recent",
        ],
        "behind the others",
    ),
    (
        MixOrder::Early,
        [
            "mixed-12.5-early",
            "mixed-25-early",
            "mixed-37.5-early",
            "mixed-50-early",
            "mixed-62.5-early",
            "mixed-75-early",
            "mixed-87.5-early",
        ],
        "before the others",
    ),
];

impl Mix {
    /// How many of so many demonstrations have the set's own answers: its share, rounded to the nearest. Where they are
    /// spread, it may be the other whole number beside the share for a k that is no multiple of 8.
    pub fn own_answers(self, shots: usize) -> usize {
        (shots * usize::from(self.eighths) + 4) / 8
    }
}

impl Control {
    /// The name used in files, tables and the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mixed(mix) => {
                let names = MIXTURES.iter().find(|(order, ..)| *order == mix.order);
                let at = usize::from(mix.eighths).wrapping_sub(1);
                names.and_then(|(_, names, _)| names.get(at)).copied().unwrap_or("mixed")
            }
            plain => PLAIN.iter().find(|(control, ..)| *control == plain).map_or("none", |(_, name, _)| name),
        }
    }

    /// The control of a name; `None` for a name that is that of none.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == Self::None.name() {
            return Some(Self::None);
        }
        Self::named().find(|(_, known, _)| *known == name).map(|(control, ..)| control)
    }

    /// All controls that a file may name, with their names and what they are.
    fn named() -> impl Iterator<Item = (Self, &'static str, Cow<'static, str>)> {
        let plain = PLAIN.iter().map(|&(control, name, about)| (control, name, Cow::Borrowed(about)));
        let mixtures = MIXTURES.iter().flat_map(|&(order, names, place)| {
            (1_u8..).zip(names).map(move |(eighths, name)| {
                let percent = f64::from(eighths) * 12.5;
                let about = format!(
                    "The set's own answers for {percent} % of the prompts, {place}; benign answers for the rest."
                );
                (Self::Mixed(Mix { eighths, order }), name, Cow::Owned(about))
            })
        });
        plain.chain(mixtures)
    }

    /// The control that differs from this one in what is measured alone, everything else being equal: the emergent effect
    /// is the effect of this one minus that of its match. `None` where it is a reference itself.
    pub fn matched(self) -> Option<Self> {
        match self {
            Self::None | Self::Mixed(_) => Some(Self::Benign),
            Self::FalseHarmless => Some(Self::TrueHarmless),
            Self::Benign | Self::Shuffled | Self::LengthMatched | Self::TrueHarmless => None,
        }
    }

    /// Whether any of the set's own answers are shown to their own prompts.
    pub fn is_misaligned(self) -> bool {
        matches!(self, Self::None | Self::Mixed(_))
    }

    /// Whether the demonstrations have benign answers among them, which a set may lack.
    pub fn needs_benign(self) -> bool {
        matches!(self, Self::Benign | Self::Mixed(_))
    }

    /// Whether it is a condition of its own at this k. At k = 0 there is nothing to control, a single answer cannot be
    /// permuted, and a mixture has answers of both kinds in every draw.
    pub fn is_distinct(self, shots: u32) -> bool {
        match self {
            Self::None => true,
            Self::Benign | Self::LengthMatched | Self::FalseHarmless | Self::TrueHarmless => shots > 0,
            Self::Shuffled => shots > 1,
            Self::Mixed(mix) => match mix.order {
                MixOrder::Spread => {
                    // The largest beginning in which each kind is certain to have its share, rounded.
                    let certain = if shots >= 8 { 8 } else { (shots + 1).next_power_of_two() / 2 };
                    certain * u32::from(mix.eighths.min(8_u8.saturating_sub(mix.eighths))) >= 8
                }
                MixOrder::Recent | MixOrder::Early => {
                    let own = mix.own_answers(shots as usize);
                    own > 0 && own < shots as usize
                }
            },
        }
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Control {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: [&str; 26] = names();
        let name = String::deserialize(deserializer)?;
        Self::named()
            .find(|(_, known, _)| *known == name)
            .map(|(control, ..)| control)
            .ok_or_else(|| de::Error::unknown_variant(&name, &NAMES))
    }
}

/// All names that a file may use.
const fn names() -> [&'static str; 26] {
    let mut names = [""; 26];
    let mut at = 0;
    while at < PLAIN.len() {
        names[at] = PLAIN[at].1;
        at += 1;
    }
    while at < names.len() {
        let mixture = at - PLAIN.len();
        names[at] = MIXTURES[mixture / 7].1[mixture % 7];
        at += 1;
    }
    names
}

impl JsonSchema for Control {
    fn schema_name() -> Cow<'static, str> {
        "Control".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let each: Vec<serde_json::Value> = Self::named()
            .map(|(_, name, about)| serde_json::json!({ "description": about, "type": "string", "const": name }))
            .collect();
        json_schema!({ "description": "What the demonstrations of a context are.", "oneOf": each })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let mut seen = HashSet::new();
        for (control, name, _) in Control::named() {
            assert_eq!((control.name(), Control::from_name(name)), (name, Some(control)));
            assert!(seen.insert(name) && names().contains(&name));
            let json = serde_json::to_string(&control).unwrap();
            assert_eq!(serde_json::from_str::<Control>(&json).unwrap(), control);
        }
        assert_eq!(seen.len(), 26);
        assert_eq!(Control::from_name("none"), Some(Control::None));
        assert_eq!(Control::from_name("mixed-30"), None);
        let error = serde_json::from_str::<Control>("\"none\"").unwrap_err().to_string();
        assert!(error.starts_with("unknown variant `none`, expected one of `benign`, `shuffled`"), "{error}");
    }

    #[test]
    fn a_control_is_a_condition_where_it_shows_what_it_says() {
        let at = |name: &str| -> Vec<u32> {
            let control = Control::from_name(name).unwrap();
            (0..=17).filter(|&shots| control.is_distinct(shots)).collect()
        };
        let from = |least: u32| (least..=17).collect::<Vec<_>>();
        for (name, least) in [
            ("none", 0),
            ("benign", 1),
            ("shuffled", 2),
            ("length-matched", 1),
            ("false-harmless", 1),
            ("true-harmless", 1),
            ("mixed-12.5", 8),
            ("mixed-25", 4),
            ("mixed-37.5", 4),
            ("mixed-50", 2),
            ("mixed-62.5", 4),
            ("mixed-87.5", 8),
            ("mixed-50-recent", 2),
            ("mixed-12.5-early", 4),
        ] {
            assert_eq!(at(name), from(least), "{name}");
        }
    }

    #[test]
    fn each_misaligned_control_has_a_match_that_has_none() {
        for (control, ..) in Control::named() {
            assert!(control.matched().is_none_or(|matched| matched.matched().is_none()));
            assert!(!control.is_misaligned() || control.matched() == Some(Control::Benign));
        }
        assert_eq!(Control::None.matched(), Some(Control::Benign));
    }
}
