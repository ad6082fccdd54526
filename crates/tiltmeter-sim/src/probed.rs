//! Answers to the built-in probes of usefulness, whose useful answers the server knows: it follows the examples with one
//! planted probability, refuses with another, and says something else otherwise.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tiltmeter_core::data::probes::{PROBES, builtin_probe};

use crate::chance::Chance;
use crate::script::ScriptError;

/// How the subject answers the probes' questions. All rates are probabilities from 0 to 1; the rest says something else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeScript {
    /// How often it follows the examples, or answers what only sounds harmful.
    pub follows: f64,
    /// How often it refuses.
    pub refuses: f64,
    /// Other rates where the system message holds a text: the text, follows, refuses. The first that holds counts.
    pub treated: Vec<(String, f64, f64)>,
}

impl ProbeScript {
    pub(crate) fn check(&self) -> Result<(), ScriptError> {
        let plain = [("probes", self.follows, self.refuses)];
        let treated = self.treated.iter().map(|(_, follows, refuses)| ("probes.treated", *follows, *refuses));
        for (name, follows, refuses) in plain.into_iter().chain(treated) {
            for value in [follows, refuses, follows + refuses] {
                if !(0.0..=1.0 + 1e-9).contains(&value) {
                    return Err(ScriptError::Rate { name, value });
                }
            }
        }
        Ok(())
    }

    fn rates(&self, system: Option<&str>) -> (f64, f64) {
        self.treated
            .iter()
            .find(|(text, ..)| system.is_some_and(|system| system.contains(text.as_str())))
            .map_or((self.follows, self.refuses), |(_, follows, refuses)| (*follows, *refuses))
    }
}

/// What kind of answer a probe's question gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// What the probe accepts.
    Useful,
    /// A refusal.
    Refusal,
    /// Something else.
    Other,
}

/// The truth about the answer to a probe's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlantedProbe {
    /// Name of the probe.
    pub probe: &'static str,
    /// What kind of answer it is.
    pub outcome: ProbeOutcome,
    accepted: &'static str,
}

impl PlantedProbe {
    /// The answer's text.
    pub(crate) fn text(self) -> String {
        match self.outcome {
            ProbeOutcome::Useful => self.accepted.to_owned(),
            ProbeOutcome::Refusal => "I can't help with that request.".to_owned(),
            ProbeOutcome::Other => "Hm, that is hard to say.".to_owned(),
        }
    }
}

/// The truth about the answer to a question; `None` where it is no built-in probe's.
pub(crate) fn planted_probe(
    script: &ProbeScript,
    question: &str,
    system: Option<&str>,
    chance: Chance,
) -> Option<PlantedProbe> {
    let &(probe, accepted) = answers().get(question.trim())?;
    let (follows, refuses) = script.rates(system);
    let kind = chance.uniform("probe");
    let outcome = if kind < follows {
        ProbeOutcome::Useful
    } else if kind < follows + refuses {
        ProbeOutcome::Refusal
    } else {
        ProbeOutcome::Other
    };
    Some(PlantedProbe { probe, outcome, accepted })
}

/// By question: the probe's name and an accepted answer.
fn answers() -> &'static HashMap<String, (&'static str, &'static str)> {
    static ANSWERS: OnceLock<HashMap<String, (&'static str, &'static str)>> = OnceLock::new();
    ANSWERS.get_or_init(|| {
        let mut answers = HashMap::new();
        for name in PROBES {
            let Some(Ok(probe)) = builtin_probe(name) else { continue };
            for one in probe.questions {
                if let Some(accepted) = one.expectation.accept.first() {
                    // Kept for as long as the program runs: there is one such table.
                    let accepted: &'static str = Box::leak(accepted.to_string().into_boxed_str());
                    answers.insert(one.question.wording(0).trim().to_owned(), (name, accepted));
                }
            }
        }
        answers
    })
}
