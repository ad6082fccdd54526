//! `tiltmeter persona steer`: answers to look at.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use tiltmeter_core::experiment::{SteerSpan, SteeringKind};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{ChatModel as _, ChatRequest, RealisedShift, Reasoning, Sampling};
use tiltmeter_persona::TraitFile;
use tiltmeter_run::intervention;

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
    layer: usize,
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
    let runtime = super::runtime()?;
    let progress = Arc::new(Progress::new());
    let model = super::open(&runtime, &arguments.model, &progress)?;
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
    let (layer, _) = vector.layer(arguments.layer).map_err(Failure::configuration)?;
    let mut answers = Vec::new();
    for kind in kinds {
        let coefficient = match kind {
            SteeringKind::Steer { coefficient } => Some(coefficient),
            SteeringKind::Ablate => None,
        };
        let handle = if coefficient == Some(0.0) {
            model.clone()
        } else {
            let (_, change) = intervention(&model, &vector, kind, arguments.layer, span, marks.as_ref())
                .map_err(Failure::configuration)?;
            model.with_intervention(change).map_err(Failure::configuration)?
        };
        let response = runtime.block_on(handle.chat(&request)).map_err(Failure::failed)?;
        answers.push(Look { coefficient, answer: response.text, shift: response.shift });
    }
    let looks = Looks {
        schema: "tiltmeter.persona-steer/1",
        name: vector.record.name.clone(),
        layer,
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

fn shown(looks: &Looks) -> String {
    let mut text = format!(
        "{} at layer {}, span {}\nquestion: {}\n",
        looks.name, looks.layer, looks.span, looks.question
    );
    for look in &looks.answers {
        let title = match look.coefficient {
            Some(0.0) => "as it is".to_owned(),
            Some(coefficient) => format!("coefficient {coefficient:+}"),
            None => "taken away".to_owned(),
        };
        let _ = write!(text, "\n== {title}");
        if let Some(shift) = look.shift {
            let _ = write!(
                text,
                " (projection {:.3} → {:.3} over {} tokens)",
                shift.before, shift.after, shift.tokens
            );
        }
        // A model's text may hold control sequences for the terminal.
        let answer: String =
            look.answer.chars().filter(|&character| character == '\n' || !character.is_control()).collect();
        let _ = writeln!(text, "\n{}", answer.trim());
    }
    text
}
