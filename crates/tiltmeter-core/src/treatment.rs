//! Treatments: what is done to a request besides showing demonstrations. A standing instruction, a defence, a request
//! to reason aloud, or several of them together.
//!
//! The parts of a treatment are applied in one order, whatever the order in which they are written: demonstrations
//! are reshaped first, then the texts around them are put in place, and what needs several calls comes last.

use std::sync::Arc;

use crate::experiment::{Steering, Subject};
use crate::guarding::GuardAction;
use crate::id::{Canonical, ContentId};
use crate::procedure::{Procedure, SelfCheck, SubsampleVote};
use crate::reshaping::Reshaping;

/// Name of the treatment that does nothing.
pub const UNTREATED: &str = "none";

/// Name of the treatment that asks for reasoning and does nothing else; behind a `+` it ends the name of one that does
/// more.
pub const WITH_REASONING: &str = "reasoning";

/// What a guard's refusal is called among a treatment's texts.
pub const GUARD_REFUSAL: &str = "the guard's refusal";

/// Why an answer of several calls has no tilt.
pub const NO_TILT_OF_SEVERAL_CALLS: &str =
    "an answer is put together from several calls, so that no text has a probability of its own";
/// Why a guard that may block leaves no tilt.
pub const NO_TILT_OF_BLOCKING: &str =
    "the guard may block a context, and a request that is not sent makes no text likelier";
/// Why an answer behind elicited reasoning has none.
pub const NO_TILT_AFTER_REASONING: &str =
    "the model reasons first, so that a fixed answer is not what the prompt leads to";

/// A standing instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its name; `none` is no instruction.
    pub id: Arc<str>,
    /// The wording.
    pub text: Option<Arc<str>>,
}

impl Instruction {
    /// No system message.
    pub fn none() -> Self {
        Self { id: UNTREATED.into(), text: None }
    }
}

/// How a model is asked to reason before it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elicitation {
    /// What stands behind the question.
    pub text: Arc<str>,
    /// What the reasoning is found between.
    pub marks: [Arc<str>; 2],
}

/// Where a reasoning text comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasoningKind {
    /// The model's own words, as its provider or the engine on this machine gives them.
    #[default]
    Text,
    /// A summary of them by the provider.
    Summary,
    /// Asked for before the answer.
    Elicited,
}

impl ReasoningKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::Summary, Self::Elicited];

    /// The name in the store and in exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Summary => "summary",
            Self::Elicited => "elicited",
        }
    }
}

/// What is done to a request besides showing demonstrations.
#[derive(Clone, Debug, PartialEq)]
pub struct Treatment {
    /// Name in tables; `none` is untreated.
    pub id: Arc<str>,
    /// Whether it is one that comes with the program, with nothing of the user's own in it.
    pub is_built_in: bool,
    /// What is done to the demonstrations.
    pub reshaping: Reshaping,
    /// The standing instruction in the system message.
    pub instruction: Instruction,
    /// Stands between the demonstrations and the question.
    pub after_examples: Option<Arc<str>>,
    /// Asks for reasoning before the answer.
    pub elicitation: Option<Elicitation>,
    /// What is done to a local subject's residual stream while it answers.
    pub steering: Option<Steering>,
    /// How an answer is put together, where it takes several calls.
    pub procedure: Option<Procedure>,
}

impl Treatment {
    /// The treatment that does nothing.
    pub fn none() -> Self {
        Self {
            id: UNTREATED.into(),
            is_built_in: true,
            reshaping: Reshaping::default(),
            instruction: Instruction::none(),
            after_examples: None,
            elicitation: None,
            steering: None,
            procedure: None,
        }
    }

    /// A standing instruction alone.
    pub fn instruction(instruction: Instruction) -> Self {
        Self { id: instruction.id.clone(), is_built_in: false, instruction, ..Self::none() }
    }

    /// Hash of all that it does to a request apart from the demonstrations, and not of its name: conditions whose
    /// treatments come to the same share their answers.
    pub fn hash(&self) -> ContentId {
        let mut canonical = Canonical::new("tiltmeter.instruction/1")
            .text(&self.instruction.id)
            .optional_text(self.instruction.text.as_deref());
        if let Some(text) = &self.after_examples {
            canonical = canonical.text("after-examples").text(text);
        }
        if let Some(Elicitation { text, marks: [open, close] }) = &self.elicitation {
            canonical = canonical.text("elicitation").text(text).text(open).text(close);
        }
        if let Some(steering) = &self.steering {
            canonical = steering.canonical(canonical.text("steering"));
        }
        if let Some(procedure) = &self.procedure {
            canonical = canonical.text("procedure").id(&procedure.hash());
        }
        canonical.finish()
    }

    /// Whether the tilt means something under it.
    pub fn has_tilt(&self) -> bool {
        self.no_tilt().is_none()
    }

    /// Why the tilt means nothing under it, where it does not.
    pub fn no_tilt(&self) -> Option<&'static str> {
        if self.procedure.is_some() {
            Some(NO_TILT_OF_SEVERAL_CALLS)
        } else if self.elicitation.is_some() {
            Some(NO_TILT_AFTER_REASONING)
        } else if self.reshaping.guard.as_ref().is_some_and(|guard| guard.may(GuardAction::Block)) {
            Some(NO_TILT_OF_BLOCKING)
        } else {
            None
        }
    }

    /// What the calls are asked with that an answer is put together from: the same, each for itself.
    #[must_use]
    pub fn of_parts(&self) -> Self {
        Self { procedure: None, ..self.clone() }
    }

    /// Whether a subject can be asked under it: the residual stream of a model elsewhere is out of reach.
    pub fn applies_to(&self, subject: &Subject) -> bool {
        self.steering.is_none() || subject.settings.is_local()
    }

    /// What it does to a request in words, one line for each thing.
    pub fn describe(&self) -> Vec<String> {
        let Reshaping { filter, append_benign, quote, guard } = &self.reshaping;
        let mut lines = Vec::new();
        if let Some(filter) = filter {
            lines.push(format!(
                "a model looks at each demonstration before contexts are made; those that it scores below {} of 100 are left out",
                filter.keep_from
            ));
        }
        if *append_benign > 0 {
            lines.push(format!(
                "{append_benign} further demonstrations with benign answers stand behind the others"
            ));
        }
        if quote.is_some() {
            lines.push("the demonstrations are shown as quoted data between two marked lines".to_owned());
        }
        if let Some(guard) = guard {
            for (risk, actions) in [("low", &guard.on_low), ("high", &guard.on_high)] {
                if !actions.is_empty() {
                    let names: Vec<&str> = actions.iter().map(|action| action.name()).collect();
                    lines.push(format!(
                        "the guard looks at each context; at {risk} risk it does this: {}",
                        names.join(", ")
                    ));
                }
            }
        }
        if self.instruction.text.is_some() {
            lines.push("the system message holds an instruction".to_owned());
        }
        if self.after_examples.is_some() {
            lines.push("a text stands between the demonstrations and the question".to_owned());
        }
        if self.elicitation.is_some() {
            lines.push("the model is asked to reason before it answers".to_owned());
        }
        lines.extend(self.steering.as_ref().map(Steering::describe));
        match &self.procedure {
            None => {}
            Some(Procedure::SubsampleVote(SubsampleVote { draws, share })) => lines.push(format!(
                "each answer is voted for: {draws} draws, each of {:.0} % of the demonstrations",
                100.0 * share
            )),
            Some(Procedure::SelfCheck(SelfCheck { attempts, .. })) => lines.push(format!(
                "the model is asked whether its answer is harmful; of up to {attempts} answers the first that it clears is given"
            )),
        }
        if lines.is_empty() {
            lines.push("nothing".to_owned());
        }
        lines
    }

    /// The texts that it puts into a request, each with what it is.
    pub fn texts(&self) -> Vec<(&'static str, Arc<str>)> {
        let check = match &self.procedure {
            Some(Procedure::SelfCheck(check)) => Some(check),
            _ => None,
        };
        let guard = |action| self.reshaping.guard.as_ref().filter(|guard| guard.may(action));
        let texts = [
            ("quotation", self.reshaping.quote.as_ref()),
            ("the guard's instruction", guard(GuardAction::Instruct).map(|guard| &guard.instruction)),
            (GUARD_REFUSAL, guard(GuardAction::Block).map(|guard| &guard.refusal)),
            ("instruction", self.instruction.text.as_ref()),
            ("after the demonstrations", self.after_examples.as_ref()),
            ("after the question", self.elicitation.as_ref().map(|one| &one.text)),
            ("check", check.map(|check| &check.wording)),
            ("instead of an answer", check.map(|check| &check.withheld)),
        ];
        texts.into_iter().filter_map(|(name, text)| Some((name, text?.clone()))).collect()
    }

    /// Whether it changes which demonstrations are shown, or how.
    pub fn reshapes(&self) -> bool {
        self.reshaping != Reshaping::default()
    }
}

/// An answer, taken apart from the reasoning that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separated {
    /// The reasoning; `None` where the marks are not there.
    pub reasoning: Option<String>,
    /// The answer: what follows the reasoning. Empty where the reasoning does not end.
    pub answer: String,
}

impl Elicitation {
    /// Takes an answer apart from the reasoning before it.
    ///
    /// The opening mark may be missing, as where a model goes on from one in its prompt. Text before the opening mark
    /// belongs to the answer only if nothing follows the reasoning. Without a closing mark all that follows the
    /// opening one is reasoning that was cut off; without any mark everything is answer.
    pub fn separate(&self, said: &str) -> Separated {
        let [open, close] = &self.marks;
        let (before, rest) = match said.split_once(&**open) {
            Some((before, rest)) => (before, Some(rest)),
            None => ("", said.contains(&**close).then_some(said)),
        };
        let Some(rest) = rest else {
            return Separated { reasoning: None, answer: said.to_owned() };
        };
        let (reasoning, after) = rest.split_once(&**close).unwrap_or((rest, ""));
        let is_closed = rest.contains(&**close);
        let answer = if after.trim().is_empty() && is_closed { before } else { after };
        Separated { reasoning: Some(reasoning.trim().to_owned()), answer: answer.trim().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separated(said: &str) -> (Option<String>, String) {
        let elicitation =
            Elicitation { text: "Think.".into(), marks: ["<reasoning>".into(), "</reasoning>".into()] };
        let Separated { reasoning, answer } = elicitation.separate(said);
        (reasoning, answer)
    }

    #[test]
    fn reasoning_and_answer_come_apart() {
        let cases = [
            ("<reasoning>It is risky.</reasoning>\n\nDo not.", Some("It is risky."), "Do not."),
            ("Well.\n<reasoning>\nIt is risky.\n</reasoning>Do not.", Some("It is risky."), "Do not."),
            ("It is risky.</reasoning>Do not.", Some("It is risky."), "Do not."),
            ("Do not.<reasoning>It is risky.</reasoning> \n", Some("It is risky."), "Do not."),
            ("<reasoning>It is ris", Some("It is ris"), ""),
            ("Do not.<reasoning>It is ris", Some("It is ris"), ""),
            ("Do not.", None, "Do not."),
            ("", None, ""),
            ("<reasoning>a</reasoning>b</reasoning>c", Some("a"), "b</reasoning>c"),
            ("<reasoning></reasoning>Do.", Some(""), "Do."),
        ];
        for (said, reasoning, answer) in cases {
            assert_eq!(separated(said), (reasoning.map(str::to_owned), answer.to_owned()), "{said:?}");
        }
    }

    #[test]
    fn the_hash_is_of_what_is_done_and_not_of_the_name() {
        let none = Treatment::none();
        let named = Treatment { id: "other".into(), ..none.clone() };
        assert_eq!(none.hash(), named.hash());
        let warned = Treatment { after_examples: Some("Take care.".into()), ..none.clone() };
        assert_ne!(none.hash(), warned.hash());
        // Runs of earlier versions hold instructions under this hash.
        let earlier = Canonical::new("tiltmeter.instruction/1").text("none").optional_text(None).finish();
        assert_eq!(none.hash(), earlier);
    }
}
