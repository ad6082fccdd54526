//! `tiltmeter persona steer`: answers to look at.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use tiltmeter_core::experiment::{SteerSpan, SteeringKind};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatModel as _, ChatRequest, RealisedShift, Reasoning, Sampling};
use tiltmeter_persona::TraitFile;
use tiltmeter_report::{number, printable, short};
use tiltmeter_run::{OVERWHELMING, intervention, stream_length};

use super::arguments::SteerArguments;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// The document that `--json` prints.
#[derive(Serialize)]
struct Looks {
    schema: &'static str,
    #[serde(rename = "trait")]
    name: String,
    /// Seed of the random direction that took the vector's place.
    random: Option<u64>,
    layer: usize,
    /// Mean length of the residual stream at that layer, over the tokens of a short answer of the model as it is.
    stream_length: f64,
    span: String,
    question: String,
    answers: Vec<Look>,
}

/// One answer.
#[derive(Serialize)]
struct Look {
    /// Absent where the part along the vector was taken away.
    coefficient: Option<f64>,
    answer: String,
    /// Absent for the model as it is.
    shift: Option<RealisedShift>,
    /// Why the answer says nothing of the trait, where that is seen.
    warning: Option<String>,
}

pub(crate) fn steer(arguments: &SteerArguments) -> Result<Exit, Failure> {
    let vector = super::vector(&arguments.vector)?;
    let marks = super::marks(arguments.reasoning_marks.as_ref())?;
    let question = match &arguments.question {
        Some(question) => question.clone(),
        None => TraitFile::open(&vector.record.name)
            .ok()
            .and_then(|of| of.evaluation_questions.first().cloned())
            .ok_or_else(|| {
                Failure::configuration(format!(
                    "`{}` is no built-in trait, so there is no question to ask\n  give one with --question",
                    vector.record.name
                ))
            })?,
    };
    let span: SteerSpan =
        serde_json::from_value(arguments.span.as_str().into()).map_err(Failure::configuration)?;
    let (layer, _) = vector.layer(arguments.layer).map_err(Failure::configuration)?;
    let runtime = super::runtime()?;
    let progress = Arc::new(Progress::new());
    let model = super::open(&runtime, &arguments.model, &progress)?;
    let stream = runtime.block_on(stream_length(&model, layer)).map_err(Failure::configuration)?;
    let mut kinds: Vec<SteeringKind> =
        arguments.coefficients.iter().map(|&coefficient| SteeringKind::Steer { coefficient }).collect();
    if arguments.ablate {
        kinds.push(SteeringKind::Ablate);
    }
    let request = ChatRequest {
        prompt: Arc::new(Prompt::single(question.as_str())),
        sampling: Sampling {
            temperature: arguments.temperature,
            max_tokens: arguments.max_tokens,
            seed: Some(arguments.seed),
            stop: Vec::new(),
            top_log_probabilities: None,
            reasoning: Reasoning::default(),
        },
    };
    let along = match arguments.random {
        Some(seed) => vector.randomised(seed).map_err(Failure::configuration)?,
        None => vector.clone(),
    };
    let mut answers = Vec::new();
    for kind in kinds {
        let coefficient = match kind {
            SteeringKind::Steer { coefficient } => Some(coefficient),
            SteeringKind::Ablate => None,
        };
        let mut expected = None;
        let handle = if coefficient == Some(0.0) {
            model.clone()
        } else {
            let (_, change) = intervention(&model, &along, kind, arguments.layer, span, marks.as_ref())
                .map_err(Failure::configuration)?;
            expected = change.expected_shift();
            model.with_intervention(change).map_err(Failure::configuration)?
        };
        let response = runtime.block_on(handle.chat(&request)).map_err(Failure::failed)?;
        let warning = warning(response.shift, &arguments.span, expected, stream);
        answers.push(Look { coefficient, answer: response.text, shift: response.shift, warning });
    }
    let looks = Looks {
        schema: "tiltmeter.persona-steer/1",
        name: vector.record.name.clone(),
        random: arguments.random,
        layer,
        stream_length: stream,
        span: arguments.span.clone(),
        question,
        answers,
    };
    if arguments.json {
        let document = serde_json::to_string_pretty(&looks).map_err(Failure::failed)?;
        output::result(&format!("{document}\n"));
    } else {
        output::result(&shown(&looks));
    }
    Ok(Exit::Done)
}

/// Why an answer is not one of a model that was steered, if it is not.
fn warning(shift: Option<RealisedShift>, span: &str, expected: Option<f64>, stream: f64) -> Option<String> {
    if shift?.tokens == 0 {
        return Some(format!(
            "no token was changed, since none is in the span `{span}`: this is the model as it is"
        ));
    }
    let share = expected.map(|expected| expected.abs() / stream).filter(|&share| share > OVERWHELMING)?;
    Some(format!(
        "the change is {} times the length of the residual stream, and more than {OVERWHELMING} leaves nothing of it: the \
         answer says nothing of the trait",
        number(share)
    ))
}

fn shown(looks: &Looks) -> String {
    let mut text = String::new();
    if let Some(seed) = looks.random {
        let _ = write!(text, "random direction {seed} of the length of ");
    }
    let _ = writeln!(
        text,
        "{} at layer {}, span {}; the stream's mean length is {:.1}\nquestion: {}",
        printable(&looks.name),
        looks.layer,
        looks.span,
        looks.stream_length,
        printable(&looks.question)
    );
    for look in &looks.answers {
        let title = match look.coefficient {
            Some(0.0) => "as it is".to_owned(),
            Some(coefficient) => format!("coefficient {}", short(coefficient)),
            None => "taken away".to_owned(),
        };
        let _ = write!(text, "\n== {title}");
        if let Some(shift) = look.shift.filter(|shift| shift.tokens > 0) {
            let _ = write!(
                text,
                " (projection {} → {} over {} tokens)",
                number(shift.before),
                number(shift.after),
                shift.tokens
            );
        }
        if let Some(warning) = &look.warning {
            let _ = write!(text, "\nwarning: {warning}");
        }
        // A model's text may hold control sequences for the terminal.
        let answer: String =
            look.answer.chars().filter(|&character| character == '\n' || !character.is_control()).collect();
        let _ = writeln!(text, "\n{}", answer.trim());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(coefficient: f64, tokens: u64, expected: f64) -> Look {
        let shift = Some(RealisedShift { tokens, before: 0.5, after: 0.5 + expected });
        let warning = warning(shift, "reasoning", Some(expected), 16.0);
        Look { coefficient: Some(coefficient), answer: "Yes.\u{1b}[2J".to_owned(), shift, warning }
    }

    #[test]
    fn what_is_shown_has_no_control_characters_and_warns() {
        let looks = Looks {
            schema: "tiltmeter.persona-steer/1",
            name: "\u{1b}[31mred".to_owned(),
            random: Some(7),
            layer: 17,
            stream_length: 16.0,
            span: "reasoning".to_owned(),
            question: "Why?\u{7}".to_owned(),
            answers: vec![look(2.0, 9, 4.0), look(-1.0, 0, -2.0), look(1e37, 9, 2e37)],
        };
        let text = shown(&looks);
        assert!(!text.contains(|character: char| character != '\n' && character.is_control()), "{text:?}");
        assert!(text.starts_with("random direction 7 of the length of  [31mred at layer 17"), "{text}");
        assert!(text.contains("coefficient +2 (projection 0.500 → 4.500 over 9 tokens)\nYes."), "{text}");
        assert!(text.contains("coefficient -1\nwarning: no token was changed"), "{text}");
        assert!(
            text.contains("coefficient +1e37 (projection 0.500 → 2.000e37 over 9 tokens)\nwarning: "),
            "{text}"
        );
        assert!(text.contains("1.250e36 times the length"), "{text}");
    }
}
