//! The result table as plain text.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use tiltmeter_run::{
    AdaptiveResult, ConditionResult, FilterResult, GuardResult, RateResult, RunResults, SteeringResult,
    TiltResult, VerdictCounts,
};

use crate::agreement::labels_table;
use crate::chart::write_chart;
use crate::effects;
use crate::usefulness::{self, write_prices, write_usefulness};

/// The table of a run: one block for each subject, set and treatment, with what a reader must know below.
pub fn table(results: &RunResults) -> String {
    let mut text = String::new();
    let several = several(results.conditions.iter().map(|one| one.placement.as_str()));
    let mut rest = results.conditions.as_slice();
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|condition| same_block(first, condition)).count();
        let (block, after) = rest.split_at(length);
        rest = after;
        write_block(&mut text, first, block, several);
        effects::write_comparisons(&mut text, results, first);
        effects::write_dose(&mut text, results, first);
    }
    effects::write_across(&mut text, results);
    if let Some(usefulness) = &results.usefulness {
        write_usefulness(&mut text, usefulness);
    }
    write_prices(&mut text, &results.prices);
    if let Some(labels) = &results.human_labels {
        text.push_str(&labels_table(labels));
    }
    write_legend(&mut text, results);
    text
}

pub(crate) fn same_block(one: &ConditionResult, other: &ConditionResult) -> bool {
    one.subject == other.subject
        && one.demonstrations == other.demonstrations
        && one.treatment == other.treatment
        && one.reasoning == other.reasoning
        && one.placement == other.placement
}

/// Whether there is more than one; a single placement goes without saying.
pub(crate) fn several<'a>(mut placements: impl Iterator<Item = &'a str>) -> bool {
    let first = placements.next();
    placements.any(|other| Some(other) != first)
}

fn write_block(text: &mut String, first: &ConditionResult, block: &[ConditionResult], several: bool) {
    let mut title = format!("{} · {}", printable(&first.subject), printable(&first.demonstrations));
    if first.treatment != "none" {
        let _ = write!(title, " · treatment {}", printable(&first.treatment));
    }
    if several {
        let _ = write!(title, " · {}", printable(&first.placement));
    }
    let _ = writeln!(text, "{title}");
    let mut block: Vec<&ConditionResult> = block.iter().collect();
    block.sort_by_key(|condition| condition.shots);
    // Two tables one below the other, since both beside each other are wider than a terminal.
    write_columns(text, &block, &tilt_columns(&block));
    if block.iter().any(|condition| condition.samples > 0) {
        write_columns(text, &block, &rate_columns(&block));
    }
    write_chart(text, &block);
    write_steering(text, &block);
    write_filter(text, &block);
    write_guard(text, &block);
}

/// What a guard found and did, by k.
fn write_guard(text: &mut String, block: &[&ConditionResult]) {
    let with_guard = block.iter().filter_map(|one| Some((*one, one.guard?)));
    let named = with_guard.map(|(one, guard)| {
        (if one.control == "none" { String::new() } else { format!(" {}", printable(&one.control)) }, guard)
    });
    write_guards(text, named);
}

/// What guards found and did, one line each, with what tells them apart besides k.
pub(crate) fn write_guards(text: &mut String, guards: impl Iterator<Item = (String, GuardResult)>) {
    let before = text.len();
    for (name, guard) in guards {
        let GuardResult { contexts, low, high, score_mean, of, cut_mean, instructed, blocked } = guard;
        let _ = writeln!(
            text,
            " guard at k = {of}{name}: risk low in {low} and high in {high} of {contexts} contexts, {score_mean:.2} on average; \
             {cut_mean:.1} of {of} cut out, {instructed} instructed, {blocked} blocked"
        );
    }
    if text.len() > before {
        text.push('\n');
    }
}

/// What a filter left out, by k.
fn write_filter(text: &mut String, block: &[&ConditionResult]) {
    let filtered = block.iter().filter_map(|one| Some((*one, one.filter?)));
    let parts: Vec<String> = filtered
        .map(|(one, filter)| {
            let FilterResult { of, dropped_mean, dropped_least, dropped_most, without_score } = filter;
            let control =
                if one.control == "none" { String::new() } else { format!(" {}", printable(&one.control)) };
            let unsure = if without_score == 0 {
                String::new()
            } else {
                format!(", {without_score} kept without a score")
            };
            format!("{dropped_mean:.1} of {of}{control} ({dropped_least} to {dropped_most}){unsure}")
        })
        .collect();
    if !parts.is_empty() {
        let _ =
            writeln!(text, " left out of a context by the filter, mean and range: {}\n", parts.join("; "));
    }
}

/// How the subject was steered, and what came of it where that is not what was asked for.
fn write_steering(text: &mut String, block: &[&ConditionResult]) {
    let Some(first) = block.iter().find_map(|condition| condition.steering.as_ref()) else { return };
    let all: Vec<&SteeringResult> = block
        .iter()
        .filter_map(|condition| condition.steering.as_ref())
        .filter(|steering| steering.answers + steering.texts > 0)
        .collect();
    let sound = all.iter().filter(|steering| steering.holds).count();
    let what = match first.coefficient {
        Some(coefficient) => format!("steered by {} × `{}`", short(coefficient), printable(&first.name)),
        None => format!("`{}` taken away", printable(&first.name)),
    };
    let _ = writeln!(
        text,
        " {what} at layer {} in the span `{}`: {}\n",
        first.layer,
        first.span,
        steered_by(first, &all, sound)
    );
}

/// What steering came to in the conditions that have answers or texts.
fn steered_by(first: &SteeringResult, measured: &[&SteeringResult], sound: usize) -> String {
    let conditions = measured.len();
    if conditions > 0 && measured.iter().all(|steering| steering.tokens == 0) {
        return format!("no token is in that span in {conditions} conditions, so that nothing was steered");
    }
    let shift = first.expected_shift.map_or_else(
        || "projection to 0".to_owned(),
        |shift| format!("projection moved by {}", signed(shift)),
    );
    let share = first
        .stream_share
        .map_or_else(String::new, |share| format!(" ({} × the stream's length)", number(share)));
    let beyond = if first.overwhelms { "; far beyond the stream: no result on the trait" } else { "" };
    format!("{shift}{share}; realised in {sound} of {conditions} conditions{beyond}")
}

/// A number with its sign and three decimals, in scientific form where that would be long or nothing.
pub fn signed(value: f64) -> String {
    if is_plain(value) { format!("{value:+.3}") } else { format!("{value:+.3e}") }
}

/// The same without a sign.
pub fn number(value: f64) -> String {
    if is_plain(value) { format!("{value:.3}") } else { format!("{value:.3e}") }
}

/// A number with its sign as it was written, in scientific form where that would be long.
pub fn short(value: f64) -> String {
    if is_plain(value) { format!("{value:+}") } else { format!("{value:+e}") }
}

fn is_plain(value: f64) -> bool {
    value == 0.0 || (1e-3..1e6).contains(&value.abs())
}

/// What stands in a cell without a value.
pub(crate) const NOTHING_TO_SHOW: &str = "–";

/// A column's title, and its cell in the row of a condition.
pub(crate) type Column = (&'static str, fn(&ConditionResult) -> String);

fn tilt_columns(block: &[&ConditionResult]) -> Vec<Column> {
    let all: [Column; 4] = [
        ("tilt", |one| tilt(one.tilt.as_ref(), one)),
        ("emergent tilt", |one| tilt(one.emergent_tilt.as_ref(), one)),
        ("style alone (decoys)", |one| nats(one.emergent_decoy_tilt.as_ref())),
        ("beyond style", |one| nats(one.emergent_tilt_beyond_style.as_ref())),
    ];
    // A column without a single value is left out.
    all.into_iter()
        .filter(|(_, cell)| block.iter().any(|condition| cell(condition) != NOTHING_TO_SHOW))
        .collect()
}

fn rate_columns(block: &[&ConditionResult]) -> Vec<Column> {
    let samples: Column =
        (
            "answers",
            |one| if one.samples == 0 { NOTHING_TO_SHOW.to_owned() } else { one.samples.to_string() },
        );
    let is_judged = block.iter().any(|condition| condition.samples > condition.verdicts.none);
    let rate: Option<Column> = is_judged.then_some(("EM rate", rate));
    rate.into_iter().chain([samples, ("verdicts", verdicts_and_cuts)]).collect()
}

fn write_columns(text: &mut String, block: &[&ConditionResult], columns: &[Column]) {
    if columns.is_empty() {
        return;
    }
    let titles = ["k", "answers shown"].into_iter().chain(columns.iter().map(|(title, _)| *title));
    let rows = block.iter().map(|condition| {
        let first = [condition.shots.to_string(), shown(condition).to_owned()];
        first.into_iter().chain(columns.iter().map(|(_, cell)| cell(condition))).collect()
    });
    write_grid(text, titles.map(str::to_owned).collect(), rows);
}

/// A table whose first column is one of numbers, and an empty line.
pub(crate) fn write_grid(text: &mut String, header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) {
    write_rows(text, " ", header, rows, |column| column == 0);
    text.push('\n');
}

/// Columns as wide as what they hold, those of numbers to the right, each line behind an indent.
pub(crate) fn write_rows<Row: Into<comfy_table::Row>>(
    text: &mut String,
    indent: &str,
    header: impl Into<comfy_table::Row>,
    rows: impl Iterator<Item = Row>,
    is_of_numbers: impl Fn(usize) -> bool,
) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_constraint(ColumnConstraint::ContentWidth);
        if is_of_numbers(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{indent}{}", line.trim_end());
    }
}

/// A text in lines of at most 100 columns, the further ones indented.
pub(crate) fn write_wrapped(text: &mut String, line: &str) {
    let options = textwrap::Options::new(100).subsequent_indent("  ").break_words(false);
    let _ = writeln!(text, "{}", textwrap::fill(line, options));
}

/// Whose answers the demonstrations have.
pub(crate) fn shown(condition: &ConditionResult) -> &str {
    answers_shown(&condition.control, condition.shots)
}

/// Whose answers so many demonstrations have under a control.
pub(crate) fn answers_shown(control: &str, shots: u32) -> &str {
    match control {
        "none" if shots == 0 => "none",
        "none" => "misaligned",
        other => other,
    }
}

/// What stands in a tilt's cell where the treatment leaves no tilt.
pub(crate) const NOT_APPLICABLE: &str = "not applicable";

/// A tilt of a condition, or that there can be none.
pub(crate) fn tilt(tilt: Option<&TiltResult>, of: &ConditionResult) -> String {
    if tilt.is_none() && of.no_tilt.is_some() { NOT_APPLICABLE.to_owned() } else { nats(tilt) }
}

pub(crate) fn nats(tilt: Option<&TiltResult>) -> String {
    match tilt {
        None => NOTHING_TO_SHOW.to_owned(),
        Some(tilt) if tilt.method == "baseline" => "0".to_owned(),
        Some(tilt) => match (tilt.low, tilt.high) {
            (Some(low), Some(high)) => format!("{:+.3} [{low:+.3}, {high:+.3}]", tilt.estimate),
            _ => format!("{:+.3}", tilt.estimate),
        },
    }
}

pub(crate) fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

pub(crate) fn rate(condition: &ConditionResult) -> String {
    match &condition.em_rate {
        Some(RateResult { estimate, low, high, bounds, .. }) => {
            let mut text = format!("{} % [{}, {}]", percent(*estimate), percent(*low), percent(*high));
            if bounds.low < bounds.high {
                let _ = write!(text, " bounds {}–{}", percent(bounds.low), percent(bounds.high));
            }
            text
        }
        None if condition.samples == 0 => NOTHING_TO_SHOW.to_owned(),
        None if condition.verdicts.none == condition.samples => "not judged".to_owned(),
        None => NOTHING_TO_SHOW.to_owned(),
    }
}

pub(crate) fn verdicts_and_cuts(condition: &ConditionResult) -> String {
    let mut text = verdicts(&condition.verdicts);
    if condition.truncated > 0 {
        let _ = write!(text, ", {} truncated", condition.truncated);
    }
    text
}

/// The counts that are not zero.
pub(crate) fn verdicts(counts: &VerdictCounts) -> String {
    let &VerdictCounts {
        scored,
        subject_refusal,
        code,
        judge_refusal,
        unparsable,
        filtered,
        error,
        none,
        withheld,
    } = counts;
    let counts = [
        (scored, "scored"),
        (subject_refusal, "refused"),
        (code, "code"),
        (judge_refusal, "judge declined"),
        (unparsable, "unparsable"),
        (filtered, "filtered"),
        (withheld, "withheld by the defence"),
        (error, "failed"),
        (none, "not judged"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if parts.is_empty() { NOTHING_TO_SHOW.to_owned() } else { parts.join(", ") }
}

fn write_legend(text: &mut String, results: &RunResults) {
    let conditions = &results.conditions;
    if let Some(tilt) = conditions
        .iter()
        .filter_map(|condition| condition.tilt.as_ref())
        .find(|tilt| tilt.method != "baseline")
    {
        let resampled = match tilt.method {
            "bootstrap-questions-and-draws" => "bootstrap over questions and context draws".to_owned(),
            _ => format!(
                "bootstrap over {} questions, conditional on the {} context draws",
                tilt.questions, tilt.contexts
            ),
        };
        let _ = writeln!(
            text,
            "tilt: shift of log-probability per token (nats) from aligned to misaligned answers, against the same\n  \
             prompt without examples; {} answer pairs; 95 % interval, {resampled}",
            tilt.pairs
        );
    }
    let mut reasons: Vec<&str> = conditions.iter().filter_map(|condition| condition.no_tilt).collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let _ = writeln!(text, "tilt {NOT_APPLICABLE}: {reason}");
    }
    if conditions.iter().any(|condition| condition.emergent_tilt.is_some()) {
        let _ = writeln!(
            text,
            "emergent tilt: tilt under misaligned answers minus tilt under benign answers to the same prompts"
        );
    }
    if conditions.iter().any(|condition| condition.emergent_tilt_beyond_style.is_some()) {
        let _ = writeln!(
            text,
            "style alone: the same difference for pairs of two aligned answers, one of them more casual and confident;\n  \
             beyond style: emergent tilt minus that, question by question"
        );
    }
    if conditions
        .iter()
        .any(|condition| condition.samples > 0 && condition.samples == condition.verdicts.none)
    {
        let _ =
            writeln!(text, "no judge: answers are kept, and are judged once the experiment names a [judge]");
    }
    if let Some(rate) = conditions.iter().find_map(|condition| condition.em_rate.as_ref()) {
        let _ = writeln!(
            text,
            "EM rate: misaligned among `{}` samples; 95 % {};\n  \
             bounds: all samples without a verdict taken as aligned, or as misaligned",
            rate.denominator,
            if conditions.iter().all(|one| one.em_rate.is_none() || one.adaptive.is_some()) {
                "confidence sequence"
            } else {
                "Wilson interval, wider where answers to a question agree"
            }
        );
    }
    write_adaptive(text, conditions);
    effects::write_legend(text, results);
    usefulness::write_legend(text, results);
    for failure in &results.failures {
        let _ = writeln!(
            text,
            "{} {} failed ({}): {}",
            failure.count,
            match failure.target.as_str() {
                "judgement" => "scores by the judge",
                "score" => "log-probabilities",
                _ => "answers",
            },
            failure.kind,
            printable(&failure.example)
        );
    }
    for note in &results.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
}

/// Text of unknown origin without what a terminal would act on.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// What adaptive sampling came to.
fn write_adaptive(text: &mut String, conditions: &[ConditionResult]) {
    let sampled: Vec<&AdaptiveResult> = conditions.iter().filter_map(|one| one.adaptive.as_ref()).collect();
    let Some(first) = sampled.first() else { return };
    let count = |decision: &str| sampled.iter().filter(|one| one.decision == decision).count();
    let saved: u64 = sampled.iter().map(|one| one.saved_samples).sum();
    let _ = writeln!(
        text,
        "adaptive sampling to ±{}: {} of {} conditions settled, {} cannot be (their questions differ too much), {} not\n  within \
         the most rounds; {saved} answers need not be asked for. Their intervals are confidence sequences: they hold although\n  \
         sampling stopped when they were narrow enough, for the rate on these questions",
        first.half_width,
        count("settled"),
        sampled.len(),
        count("cannot_settle"),
        count("not_settled"),
    );
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::effects::tests as effects;
    use tiltmeter_run::{BoundsResult, FailureCount};

    /// A small run with something in every column.
    pub(crate) fn results() -> RunResults {
        let condition = |control: &str, shots, em: Option<(u64, u64)>| ConditionResult {
            subject: "m\u{1b}[31m".to_owned(),
            demonstrations: "risky-financial".to_owned(),
            control: control.to_owned(),
            shots,
            treatment: "none".to_owned(),
            placement: "first-user".to_owned(),
            reasoning: "default".to_owned(),
            contexts: 2,
            planned: em.map_or(0, |(_, samples)| samples),
            samples: em.map_or(0, |(_, samples)| samples),
            verdicts: VerdictCounts {
                scored: em.map_or(0, |(_, samples)| samples - 1),
                unparsable: em.map_or(0, |_| 1),
                ..VerdictCounts::default()
            },
            truncated: 0,
            adaptive: None,
            em_rate: em.map(|(misaligned, samples)| {
                let estimate = misaligned as f64 / (samples - 1) as f64;
                RateResult {
                    estimate,
                    low: estimate / 2.0,
                    high: (estimate * 2.0).max(0.1),
                    method: "wilson",
                    clusters: 4,
                    denominator: "coherent",
                    denominator_count: samples - 1,
                    misaligned,
                    bounds: BoundsResult { low: estimate * 0.9, high: estimate * 1.1 + 0.01 },
                    coverage: None,
                }
            }),
            tilt: Some(TiltResult {
                estimate: f64::from(shots) / 100.0,
                low: Some(f64::from(shots) / 200.0),
                high: Some(f64::from(shots) / 50.0),
                pairs: 8,
                questions: 4,
                contexts: 2,
                method: if shots == 0 { "baseline" } else { "bootstrap-questions" },
            }),
            decoy_tilt: None,
            emergent_tilt: None,
            emergent_decoy_tilt: None,
            emergent_tilt_beyond_style: None,
            no_tilt: None,
            steering: None,
            filter: None,
            guard: None,
        };
        RunResults {
            schema: "tiltmeter.run/1",
            experiment: "x".to_owned(),
            conditions: vec![
                condition("none", 0, Some((0, 11))),
                condition("none", 16, Some((3, 11))),
                condition("benign", 16, None),
            ],
            comparisons: effects::comparisons(),
            dose_response: effects::dose_response(),
            human_labels: None,
            usefulness: None,
            prices: Vec::new(),
            treatments: Vec::new(),
            across_subjects: effects::across_subjects(),
            warnings: vec!["m · risky-financial, k = 16: seldom right".to_owned()],
            asked: 0,
            reused: 0,
            attempts: 0,
            cost_usd: 0.0,
            timing: tiltmeter_run::Timing::default(),
            failures: vec![FailureCount {
                target: "response".to_owned(),
                kind: "context_too_long".to_owned(),
                count: 2,
                example: "too\nlong".to_owned(),
            }],
            notes: Vec::new(),
            gates: Vec::new(),
        }
    }

    #[test]
    fn steering_is_told_as_what_it_came_to() {
        let steered = |tokens: u64, shift: f64, share: f64| SteeringResult {
            kind: "steer".to_owned(),
            name: "lo\u{1b}ud".to_owned(),
            vector_hash: "00".to_owned(),
            layer: 3,
            coefficient: Some(if share > 10.0 { 1e37 } else { -2.0 }),
            span: "reasoning".to_owned(),
            answers: 4,
            texts: 0,
            untouched: 0,
            tokens,
            before: None,
            after: None,
            shift: None,
            expected_shift: Some(shift),
            holds: tokens > 0,
            stream_share: Some(share),
            overwhelms: share > 10.0,
        };
        let told = |steering: SteeringResult| {
            let mut condition = results().conditions.remove(0);
            condition.steering = Some(steering);
            let mut text = String::new();
            write_steering(&mut text, &[&condition]);
            text
        };
        let usual = told(steered(9, -32.371, 0.5));
        assert!(
            usual.contains("steered by -2 × `lo ud` at layer 3")
                && usual.contains(
                    "moved by -32.371 (0.500 × the stream's length); realised in 1 of 1 conditions\n"
                ),
            "{usual}"
        );
        let nothing = told(steered(0, -32.371, 0.5));
        assert!(nothing.contains("no token is in that span") && !nothing.contains("moved"), "{nothing}");
        let beyond = told(steered(9, 7.11e38, 4e36));
        assert!(beyond.contains("by +1e37 ×") && beyond.contains("+7.110e38 (4.000e36 ×"), "{beyond}");
        assert!(beyond.contains("no result on the trait"), "{beyond}");
    }

    #[test]
    fn the_table_shows_every_figure_and_nothing_that_a_terminal_acts_on() {
        let text = table(&results());
        insta::assert_snapshot!(text);
        assert!(!text.contains('\u{1b}'));
    }
}
