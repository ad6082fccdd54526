//! A plan as plain text.

use std::fmt::Write as _;

use tiltmeter_run::{Forecast, LIKELY_ANSWER_TOKENS, LIKELY_CALL_SECONDS, PlannedInspection, Resolution};

use crate::table::{printable, several, write_rows};

/// The grid, calls, tokens, cost and time of an experiment.
pub fn plan_table(forecast: &Forecast) -> String {
    let mut text = format!("{}\n\n", printable(&forecast.experiment));
    write_conditions(&mut text, forecast);
    let _ = writeln!(
        text,
        "\nThe empty context of k = 0 is asked once for all sets; {}.\nTokens are estimates from characters. Likely costs take \
         answers of {LIKELY_ANSWER_TOKENS:.0} tokens, and shared contexts from the provider's prompt cache.\n",
        forecast.baseline_note
    );
    for subject in &forecast.subjects {
        let _ = writeln!(
            text,
            "{} ({}): {} answers, {} texts scored\n  input {} tokens (of which a prompt cache could serve {}), output at most {}\n  largest prompt about {} tokens; {}",
            printable(&subject.subject),
            printable(&subject.model),
            subject.samples,
            subject.scored_texts,
            thousands(subject.input_tokens),
            thousands(subject.cacheable_tokens),
            thousands(subject.most_output_tokens),
            thousands(subject.largest_prompt_tokens),
            costs(subject.most_cost_usd, subject.likely_cost_usd),
        );
    }
    if let Some(judge) = &forecast.judge {
        let _ = writeln!(
            text,
            "judge ({}): {} calls\n  input at most {} tokens, output at most {}; {}",
            printable(&judge.model),
            judge.calls,
            thousands(judge.most_input_tokens),
            thousands(judge.most_output_tokens),
            costs(judge.most_cost_usd, judge.likely_cost_usd),
        );
    }
    for inspection in &forecast.inspection {
        write_inspection(&mut text, inspection);
    }
    for screening in &forecast.screening {
        let _ = writeln!(
            text,
            "filter ({}), for {}: {} demonstrations screened in {} calls\n  input {} tokens, output at most {}; {}",
            printable(&screening.model),
            screening.defences.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", "),
            screening.demonstrations,
            screening.calls,
            thousands(screening.input_tokens),
            thousands(screening.most_output_tokens),
            costs(screening.most_cost_usd, screening.likely_cost_usd),
        );
    }
    let calls: u64 = forecast.subjects.iter().map(|one| one.samples + one.scored_texts).sum::<u64>()
        + forecast.judge.as_ref().map_or(0, |judge| judge.calls)
        + forecast.screening.iter().map(|one| one.calls).sum::<u64>()
        + forecast.inspection.iter().map(|one| one.calls).sum::<u64>();
    let _ = write!(
        text,
        "in all: {calls} calls; cost at most US$ {:.2}, likely US$ {:.2}",
        forecast.most_cost_usd, forecast.likely_cost_usd
    );
    if !forecast.unpriced.is_empty() {
        let _ = write!(
            text,
            ", without {}, whose price is not known (give `price = {{ input = …, output = … }}`)",
            forecast.unpriced.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")
        );
    }
    text.push('\n');
    if let Some(minutes) = forecast.about_minutes {
        let _ = writeln!(
            text,
            "time: about {} for the served models, if a call takes {LIKELY_CALL_SECONDS:.0} s and their servers allow it",
            duration(minutes)
        );
    }
    for one in &forecast.resolution {
        write_resolution(&mut text, one);
    }
    if !forecast.not_fetched.is_empty() {
        let _ = writeln!(
            text,
            "estimated without {}: not fetched, so that lengths are means from the catalogue (see the notes)",
            forecast.not_fetched.join(", ")
        );
    }
    for warning in &forecast.warnings {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
    for note in &forecast.notes {
        let _ = writeln!(text, "note: {}", printable(note));
    }
    text
}

fn write_inspection(text: &mut String, inspection: &PlannedInspection) {
    let PlannedInspection { defences, detectors, contexts, calls, .. } = inspection;
    let defences: Vec<String> = defences.iter().map(|name| printable(name)).collect();
    let _ = writeln!(
        text,
        "guard ({}), for {}: {contexts} contexts looked at in {calls} calls",
        detectors.join(", "),
        defences.join(", ")
    );
    if *calls > 0 {
        let models: Vec<String> = inspection.models.iter().map(|name| printable(name)).collect();
        let cost = inspection
            .most_cost_usd
            .map_or_else(|| "cost not known".to_owned(), |cost| format!("cost at most US$ {cost:.2}"));
        let _ = writeln!(
            text,
            "  {}: input {} tokens, output at most {}; {cost}",
            models.join(", "),
            thousands(inspection.input_tokens),
            thousands(inspection.most_output_tokens)
        );
    }
}

fn write_conditions(text: &mut String, forecast: &Forecast) {
    let several = several(forecast.conditions.iter().map(|one| one.placement));
    let header =
        ["subject", "demonstrations", "control", "k", "treatment", "contexts", "samples", "texts scored"];
    let header = several.then_some("placement").into_iter().chain(header);
    let rows = forecast.conditions.iter().map(|condition| {
        let cells = [
            printable(&condition.subject),
            printable(&condition.demonstrations),
            condition.control.to_owned(),
            condition.shots.to_string(),
            printable(&condition.treatment),
            condition.contexts.to_string(),
            condition.samples.to_string(),
            condition.scored_texts.to_string(),
        ];
        several.then(|| condition.placement.to_owned()).into_iter().chain(cells).collect::<Vec<_>>()
    });
    let first = usize::from(several);
    write_rows(text, "", header.collect::<Vec<_>>(), rows, |column| {
        matches!(column.saturating_sub(first), 3 | 5..)
    });
}

fn write_resolution(text: &mut String, resolution: &Resolution) {
    let Resolution { questions, answers_per_question, conditions, assumed_correlation, .. } = resolution;
    let widths: Vec<String> = resolution
        .half_widths
        .iter()
        .map(|one| format!("{:.0} % ± {:.1}", one.rate * 100.0, one.half_width * 100.0))
        .collect();
    let detectable = resolution
        .detectable
        .map_or_else(|| "no rate".to_owned(), |rate| format!("a rate of {:.1} % or more", rate * 100.0));
    let _ = writeln!(
        text,
        "EM rate of {conditions} conditions with {questions} questions × {answers_per_question} answers: {} (95 %); {detectable} is told \
         from {:.0} % four times in five\n  if answers to a question correlate by {assumed_correlation}; more questions help \
         more than more answers",
        widths.join(", "),
        resolution.baseline * 100.0
    );
}

fn costs(most: Option<f64>, likely: Option<f64>) -> String {
    match most.zip(likely) {
        Some((most, likely)) => format!("cost at most US$ {most:.2}, likely US$ {likely:.2}"),
        None => "cost not known".to_owned(),
    }
}

fn duration(minutes: f64) -> String {
    if minutes < 90.0 { format!("{:.0} min", minutes.max(1.0)) } else { format!("{:.1} h", minutes / 60.0) }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        for (value, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(value), expected);
        }
    }
}
