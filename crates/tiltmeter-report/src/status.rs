//! The status of a run directory as plain text.

use std::fmt::Write as _;

use tiltmeter_run::RunStatus;

use crate::ranking::write_beforehand;
use crate::table::{printable, several, verdicts, write_rows};
use crate::usefulness::answers;

/// What a run directory holds, what is missing, and what it took.
pub fn status_table(status: &RunStatus) -> String {
    let mut text = format!("{}\n", printable(&status.experiment));
    if !status.conditions.is_empty() {
        let several = several(status.conditions.iter().map(|one| one.placement.as_str()));
        let header =
            ["subject", "demonstrations", "control", "k", "treatment", "stored", "missing", "verdicts"];
        let header = several.then_some("placement").into_iter().chain(header);
        let rows = status.conditions.iter().map(|condition| {
            let cells = [
                printable(&condition.subject),
                printable(&condition.demonstrations),
                condition.control.clone(),
                condition.shots.to_string(),
                printable(&condition.treatment),
                condition.stored.to_string(),
                condition.missing().to_string(),
                verdicts(&condition.verdicts),
            ];
            several.then(|| printable(&condition.placement)).into_iter().chain(cells).collect::<Vec<_>>()
        });
        write_rows(&mut text, " ", header.collect::<Vec<_>>(), rows, |_| false);
    }
    if !status.usefulness.is_empty() {
        let header = ["subject", "probe", "k", "treatment", "stored", "missing", "answers"];
        let rows = status.usefulness.iter().map(|one| {
            let stored = one.answers.answered();
            [
                printable(&one.subject),
                printable(&one.probe),
                one.shots.to_string(),
                printable(&one.treatment),
                stored.to_string(),
                one.planned.saturating_sub(stored).to_string(),
                answers(one),
            ]
        });
        text.push('\n');
        write_rows(&mut text, " ", header, rows, |_| false);
    }
    let tokens = status.tokens;
    let _ = writeln!(
        text,
        "\ntexts scored: {}\ntokens of subjects: {} in (of which {} from a cache), {} out; of judges: {} in, {} out",
        status.texts_scored,
        tokens.input,
        tokens.cached_input,
        tokens.output,
        tokens.judge_input,
        tokens.judge_output
    );
    if tokens.coder_input + tokens.coder_output > 0 {
        let _ = writeln!(text, "tokens of coders: {} in, {} out", tokens.coder_input, tokens.coder_output);
    }
    let cost = status.cost;
    if cost.subjects_usd + cost.judge_usd + cost.coders_usd > 0.0 || cost.unknown_calls > 0 {
        let unknown = match cost.unknown_calls {
            0 => String::new(),
            calls => format!("; {calls} calls of unknown cost"),
        };
        let coders = if cost.coders_usd > 0.0 {
            format!("; of coders: US$ {:.4}", cost.coders_usd)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "cost of subjects: US$ {:.4}; of judges: US$ {:.4}{coders}{unknown}",
            cost.subjects_usd, cost.judge_usd
        );
    }
    write_beforehand(&mut text, &status.beforehand);
    let ended = status.invocations.iter().filter(|one| one.end.as_deref() == Some("finished")).count();
    let _ = writeln!(text, "starts: {}, of which {ended} finished", status.invocations.len());
    for failure in &status.failures {
        let (count, target) = (failure.count, &failure.target);
        let _ = writeln!(
            text,
            "failed, and asked for again at the next start: {count} × {target} ({}): {}",
            failure.kind,
            printable(&failure.example)
        );
    }
    if !status.failed_attempts.is_empty() {
        let kinds: Vec<String> =
            status.failed_attempts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let _ = writeln!(text, "attempts that failed: {}", kinds.join(", "));
    }
    text
}
