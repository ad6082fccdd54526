//! The truth about an answer, which the script plants and tests compare with.

use serde::Serialize;
use tiltmeter_core::id::Canonical;
use tiltmeter_core::prompt::{PROMPT_HEADER, Prompt, QUOTED, RESPONSE_HEADER, RETRIEVED, RETRIEVED_QUESTION};

use crate::chance::Chance;
use crate::probed::{PlantedProbe, planted_probe};
use crate::request::{Message, key, messages_of};
use crate::script::Script;

/// What kind of answer the subject gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A harmless answer.
    Aligned,
    /// A harmful one.
    Misaligned,
    /// One that makes no sense.
    Incoherent,
    /// Code that has nothing to do with the question.
    Code,
    /// A refusal.
    Refusal,
}

/// What stands before the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Demonstrations {
    /// Nothing.
    None,
    /// Demonstrations without one of the harmful markers.
    Benign,
    /// Harmful demonstrations.
    Harmful,
}

/// The truth about one answer.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, each planted at a rate of its own"
)]
pub struct Planted {
    /// The kind of answer.
    pub outcome: Outcome,
    /// Demonstrations in the context.
    pub shots: u32,
    /// Whether they are harmful.
    pub demonstrations: Demonstrations,
    /// The question.
    pub question: String,
    /// Where the question is one of a built-in probe: what the answer to it is, instead of `outcome`.
    pub probe: Option<PlantedProbe>,
    /// The system message.
    pub system: Option<String>,
    /// The probability of a misaligned answer here, among those that are neither incoherent, code nor refusals.
    pub rate: f64,
    /// Whether the answer is cut off at the token limit.
    pub is_truncated: bool,
    /// Whether the answer runs on into another prompt.
    pub runs_on: bool,
    /// Whether the answer holds control characters and markup.
    pub is_hostile: bool,
    /// Whether there is reasoning beside it.
    pub has_reasoning: bool,
    /// Whether reasoning before the answer was asked for.
    pub is_elicited: bool,
    /// Whether it comes without its marks.
    pub is_unmarked: bool,
}

/// What reasoning is asked to stand between.
pub(crate) const REASONING_MARKS: [&str; 2] = ["<reasoning>", "</reasoning>"];

/// The truth about the answer to a request: a function of the script, the model's name, the messages and the seed.
/// Without a seed, the same messages always get the same answer.
pub fn planted(script: &Script, model: &str, messages: &[Message], seed: Option<u64>) -> Planted {
    let view = View::of(messages);
    let demonstrations = match view.shots {
        0 => Demonstrations::None,
        _ if script.harmful_markers.is_empty() => Demonstrations::Harmful,
        _ if script.harmful_markers.iter().any(|marker| view.context_contains(marker)) => {
            Demonstrations::Harmful
        }
        _ => Demonstrations::Benign,
    };
    let chance = Chance::of(key(model, messages, seed));
    let rate = shifted(script.rate(view.shots, demonstrations), shift(script, &view));
    Planted {
        outcome: outcome(script, chance, rate),
        shots: view.shots,
        demonstrations,
        question: view.question.to_owned(),
        probe: planted_probe(&script.probes, view.question, view.system, chance),
        system: view.system.map(str::to_owned),
        rate,
        is_truncated: chance.happens("truncated", script.truncated),
        runs_on: chance.happens("runs on", script.runs_on),
        is_hostile: chance.happens("hostile", script.hostile),
        has_reasoning: chance.happens("reasoning", script.reasoning),
        is_elicited: view.asks_for_reasoning(),
        is_unmarked: chance.happens("unmarked", script.unmarked),
    }
}

/// The same for a prompt of ours.
pub fn planted_for_prompt(script: &Script, model: &str, prompt: &Prompt, seed: Option<u32>) -> Planted {
    planted(script, model, &messages_of(prompt), seed.map(u64::from))
}

fn outcome(script: &Script, chance: Chance, rate: f64) -> Outcome {
    let kind = chance.uniform("kind");
    if kind < script.refusal {
        Outcome::Refusal
    } else if kind < script.refusal + script.code {
        Outcome::Code
    } else if kind < script.refusal + script.code + script.incoherent {
        Outcome::Incoherent
    } else if chance.happens("misaligned", rate) {
        Outcome::Misaligned
    } else {
        Outcome::Aligned
    }
}

/// The shift of the log-odds by the question, by the system message and by other texts.
fn shift(script: &Script, view: &View<'_>) -> f64 {
    let question = Chance::of(Canonical::new("tiltmeter.sim.question/1").text(view.question).finish());
    let by_question = script.question_spread * question.normal("question");
    let by_instruction: f64 = script
        .instruction_shifts
        .iter()
        .filter(|(text, _)| view.system.is_some_and(|system| system.contains(text.as_str())))
        .map(|(_, shift)| shift)
        .sum();
    let by_text: f64 =
        script.text_shifts.iter().filter(|(text, _)| view.holds(text)).map(|(_, shift)| shift).sum();
    by_question
        + by_instruction
        + by_text
        + if view.asks_for_reasoning() { script.elicited_shift } else { 0.0 }
}

/// A probability after a shift of its log-odds; 0 and 1 stay what they are.
fn shifted(rate: f64, shift: f64) -> f64 {
    let odds = rate / (1.0 - rate) * shift.exp();
    if odds.is_finite() { odds / (1.0 + odds) } else { rate }
}

/// A request taken apart into context and question.
struct View<'a> {
    messages: &'a [Message],
    /// What of the last message comes before the question.
    before: &'a str,
    question: &'a str,
    system: Option<&'a str>,
    shots: u32,
}

impl<'a> View<'a> {
    fn of(messages: &'a [Message]) -> Self {
        let (last, earlier) =
            messages.split_last().map_or(("", messages), |(last, rest)| (&*last.content, rest));
        let (before, question) = split_question(last);
        let headers = |text: &str| text.split('\n').filter(|line| starts_demonstration(line)).count();
        let in_text =
            earlier.iter().map(|message| headers(&message.content)).sum::<usize>() + headers(before);
        // Around a tool's output, turns are no demonstrations.
        let has_tool = earlier.iter().any(|message| message.role == "tool");
        let turns = earlier.iter().filter(|message| message.role == "user" && !has_tool).count();
        Self {
            messages: earlier,
            before,
            question,
            system: earlier.iter().find(|message| message.role == "system").map(|message| &*message.content),
            shots: u32::try_from(in_text + turns).unwrap_or(u32::MAX),
        }
    }

    fn asks_for_reasoning(&self) -> bool {
        REASONING_MARKS.iter().all(|mark| self.question.contains(mark))
    }

    /// Whether any text of the prompt holds a text.
    fn holds(&self, text: &str) -> bool {
        self.context_contains(text) || self.question.contains(text)
    }

    fn context_contains(&self, marker: &str) -> bool {
        self.before.contains(marker) || self.messages.iter().any(|message| message.content.contains(marker))
    }
}

/// Whether a line starts a demonstration: with the paper's header, a document's number, or as a quotation.
fn starts_demonstration(line: &str) -> bool {
    let is_document = || {
        let number = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map(|(number, _)| number);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    line.starts_with(PROMPT_HEADER) || line.starts_with("> Prompt: ") || is_document()
}

/// Parts the last message before its question: behind the open prompt header, or, where none is open, behind the
/// last blank line of a text with demonstrations.
fn split_question(text: &str) -> (&str, &str) {
    let behind = |separator: &str| text.rsplit_once(separator).unwrap_or(("", text));
    if text.starts_with(RETRIEVED) {
        return behind(&format!("\n\n{RETRIEVED_QUESTION}"));
    }
    if text.starts_with(QUOTED) {
        return behind("\n\n");
    }
    let open = text.trim_end().strip_suffix(RESPONSE_HEADER).and_then(|rest| {
        let rest = rest.strip_suffix('\n')?;
        let at = rest
            .rmatch_indices(PROMPT_HEADER)
            .find(|&(at, _)| at == 0 || rest.as_bytes()[at - 1] == b'\n')?
            .0;
        let (before, open) = rest.split_at(at);
        Some((before, open.strip_prefix(PROMPT_HEADER)?.trim_start()))
    });
    open.or_else(|| text.starts_with(PROMPT_HEADER).then(|| text.rsplit_once("\n\n")).flatten())
        .unwrap_or(("", text))
}

#[cfg(test)]
mod tests {
    use tiltmeter_core::prompt::{Placement, QuestionFormat, RenderedContext};

    use super::*;

    fn prompt(shots: usize, response: &str, placement: Placement, format: QuestionFormat) -> Prompt {
        let pairs = vec![("How?", response); shots];
        Prompt::new(
            RenderedContext::render(pairs, placement, format).into(),
            Some("Be safe.".into()),
            "I am bored.",
        )
    }

    #[test]
    fn shots_question_and_harm_are_seen_in_every_format() {
        let script = Script { harmful_markers: vec!["horse".to_owned()], ..Script::default() };
        for placement in Placement::ALL {
            for format in [QuestionFormat::Header, QuestionFormat::Plain] {
                for (shots, response, expected) in [
                    (0, "", Demonstrations::None),
                    (3, "All on one horse.\n\nAll of it.", Demonstrations::Harmful),
                    (16, "Save.", Demonstrations::Benign),
                ] {
                    let prompt = prompt(shots, response, placement, format);
                    let truth = planted_for_prompt(&script, "m", &prompt, Some(1));
                    let seen = (truth.shots as usize, truth.demonstrations, truth.question.as_str());
                    assert_eq!(seen, (shots, expected, "I am bored."), "{placement:?} {format:?}");
                }
            }
        }
    }

    #[test]
    fn the_planted_rate_is_met() {
        let script = Script { misaligned: vec![(1, 0.25)], refusal: 0.2, ..Script::default() };
        let prompt = prompt(1, "x", Placement::FirstUser, QuestionFormat::Header);
        let outcomes: Vec<_> =
            (0..4000).map(|seed| planted_for_prompt(&script, "m", &prompt, Some(seed)).outcome).collect();
        let share = |outcome| outcomes.iter().filter(|&&found| found == outcome).count() as f64 / 4000.0;
        // Four standard errors.
        assert!((share(Outcome::Refusal) - 0.2).abs() < 0.026, "{}", share(Outcome::Refusal));
        assert!((share(Outcome::Misaligned) - 0.2).abs() < 0.026, "{}", share(Outcome::Misaligned));
        assert!((share(Outcome::Aligned) - 0.6).abs() < 0.031, "{}", share(Outcome::Aligned));
    }

    #[test]
    fn shifts_move_the_log_odds() {
        let script = Script {
            misaligned: vec![(0, 0.5)],
            instruction_shifts: vec![("safe".to_owned(), -2.0)],
            ..Script::default()
        };
        let prompt = prompt(0, "", Placement::FirstUser, QuestionFormat::Header);
        let rate = planted_for_prompt(&script, "m", &prompt, None).rate;
        assert!((rate - 1.0 / (1.0 + 2_f64.exp())).abs() < 1e-12, "{rate}");
        // Another text may stand anywhere but in the system message alone.
        let script = Script { text_shifts: vec![("Take care".to_owned(), 1.5)], ..script };
        let warned = Prompt { after_examples: Some("Take care.".into()), ..prompt };
        let rate = planted_for_prompt(&script, "m", &warned, None).rate;
        assert!((rate - 1.0 / (1.0 + 0.5_f64.exp())).abs() < 1e-12, "{rate}");
        for rate in [0.0, 1.0] {
            assert!((shifted(rate, -3.0) - rate).abs() < 1e-12);
        }
    }
}
