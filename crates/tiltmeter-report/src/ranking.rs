//! Treatments of one run, ranked, as plain text.

use std::fmt::Write as _;

use tiltmeter_run::{Beforehand, Family, RankedCell, RankedGroup, TiltChange, TreatmentRanking, UsageResult};

use crate::effects::{bare_p, points};
use crate::table::{NOTHING_TO_SHOW, percent, printable, write_grid};

/// The treatments of a run, each against the same without it: a block for each subject, set and baseline, best first.
pub fn ranking_table(ranking: &TreatmentRanking) -> String {
    let mut text = String::new();
    let judge = ranking.judge.as_deref().unwrap_or("no judge");
    let _ = writeln!(text, "{} · {}\n", printable(&ranking.experiment), printable(judge));
    for group in &ranking.groups {
        write_group(&mut text, group);
    }
    write_beforehand(&mut text, &ranking.beforehand);
    write_legend(&mut text, ranking);
    text
}

/// What defences took before any context was shown.
pub(crate) fn write_beforehand(text: &mut String, beforehand: &[Beforehand]) {
    for one in beforehand {
        let treatments: Vec<String> = one.treatments.iter().map(|name| printable(name)).collect();
        let (what, in_part) = if one.kind == "filter" {
            ("demonstrations screened", "without a score")
        } else {
            ("contexts looked at", "of them in part only")
        };
        let in_part = if one.in_part == 0 { String::new() } else { format!(" ({} {in_part})", one.in_part) };
        let cost = one.cost_usd.map_or_else(|| "cost not known".to_owned(), |cost| format!("US$ {cost:.4}"));
        let time = one.milliseconds_mean.map_or_else(String::new, |time| format!("; {time:.0} ms a context"));
        let _ = writeln!(
            text,
            "{} ({}), for {}: {} {what}{in_part}, {} calls, {} tokens in and {} out, {cost}{time}",
            one.kind,
            printable(&one.by),
            treatments.join(", "),
            one.items,
            one.calls,
            one.input_tokens,
            one.output_tokens
        );
    }
}

type Column = (&'static str, fn(&RankedCell) -> String);

const RATES: [Column; 4] = [
    ("untreated", |cell| rate(cell.em_rate.as_ref().map(|rate| rate.second))),
    ("treated", |cell| rate(cell.em_rate.as_ref().map(|rate| rate.first))),
    ("EM rate, points", |cell| cell.em_rate.as_ref().map_or_else(nothing, |rate| points(&rate.difference))),
    ("p", |cell| cell.em_rate.as_ref().map_or_else(nothing, |rate| bare_p(rate.adjusted_p_value))),
];

const TILTS: [Column; 2] = [
    ("emergent tilt", |cell| tilt(cell.emergent_tilt.as_ref(), cell)),
    ("tilt", |cell| tilt(cell.tilt.as_ref(), cell)),
];

const USAGE: [Column; 4] = [
    ("calls", |cell| number(cell.usage.calls, 1)),
    ("tokens in", |cell| number(cell.usage.input_tokens, 0)),
    ("tokens out", |cell| number(cell.usage.output_tokens, 0)),
    ("US$ / 1,000", |cell| number(cell.usage.cost_per_thousand_usd, 2)),
];

fn write_group(text: &mut String, group: &RankedGroup) {
    let _ = write!(
        text,
        "{} · {} · {}",
        printable(&group.subject),
        printable(&group.demonstrations),
        printable(&group.placement)
    );
    let _ = writeln!(text, " · against {}", printable(&group.baseline));
    let mut columns: Vec<Column> = Vec::new();
    for set in [RATES.as_slice(), TILTS.as_slice(), USAGE.as_slice()] {
        // A set whose first column is empty everywhere has nothing to say.
        let says = |(_, cell): &&Column| group.cells.iter().any(|one| cell(one) != NOTHING_TO_SHOW);
        columns.extend(set.iter().filter(says));
    }
    let rows = group.cells.iter().map(|cell| {
        let place = cell.rank.map_or_else(nothing, |rank| rank.to_string());
        let first = [cell.shots.to_string(), place, printable(&cell.treatment)];
        first.into_iter().chain(columns.iter().map(|(_, of)| of(cell))).collect()
    });
    let titles = ["k", "place", "treatment"].into_iter().chain(columns.iter().map(|(title, _)| *title));
    write_grid(text, titles.map(str::to_owned).collect(), rows);
    for (shots, UsageResult { calls, input_tokens, output_tokens, cost_per_thousand_usd, answers }) in
        &group.baseline_usage
    {
        if *answers > 0 {
            let cost =
                cost_per_thousand_usd.map_or_else(String::new, |cost| format!(", US$ {cost:.2} for 1,000"));
            let _ = writeln!(
                text,
                "{} at k = {shots}: {} calls, {} tokens in and {} out an answer{cost}",
                printable(&group.baseline),
                number(*calls, 1),
                number(*input_tokens, 0),
                number(*output_tokens, 0)
            );
        }
    }
    if let Some(order) = &group.order {
        let same = if order.first_best == order.last_best {
            format!("{} is first at both", printable(&order.first_best))
        } else {
            format!(
                "{} is first at k = {}, {} at k = {}",
                printable(&order.first_best),
                order.first_shots,
                printable(&order.last_best),
                order.last_shots
            )
        };
        let kendall = order
            .kendall
            .map_or_else(String::new, |tau| format!("; Kendall's τ of the two orders {tau:+.2}"));
        if order.first_shots != order.last_shots {
            let _ = writeln!(
                text,
                "order from k = {} to {}: {same}{kendall}",
                order.first_shots, order.last_shots
            );
        }
    }
    text.push('\n');
}

fn nothing() -> String {
    NOTHING_TO_SHOW.to_owned()
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(nothing, |value| format!("{value:.digits$}"))
}

fn rate(count: Option<tiltmeter_run::CountResult>) -> String {
    match count {
        Some(count) if count.denominator_count > 0 => {
            format!("{} %", percent(count.misaligned as f64 / count.denominator_count as f64))
        }
        _ => nothing(),
    }
}

fn tilt(change: Option<&TiltChange>, cell: &RankedCell) -> String {
    let Some(change) = change else {
        return cell.tilt_not_applicable.map_or_else(nothing, |_| "not applicable".to_owned());
    };
    let mark = if change.is_clear() { " *" } else { "" };
    match (change.low, change.high) {
        (Some(low), Some(high)) => format!("{:+.3} [{low:+.3}, {high:+.3}]{mark}", change.estimate),
        _ => format!("{:+.3}", change.estimate),
    }
}

fn write_legend(text: &mut String, ranking: &TreatmentRanking) {
    let cells = || ranking.groups.iter().flat_map(|group| &group.cells);
    if let Some(rate) = cells().find_map(|cell| cell.em_rate.as_ref()) {
        let correction = match ranking.correction {
            Family::Holm => "Holm",
            Family::BenjaminiHochberg => "Benjamini and Hochberg",
        };
        let _ = writeln!(
            text,
            "EM rate: the treatment's minus the baseline's, on the questions that both have; 95 % intervals, questions\n               paired; p after {correction}'s correction over all {} rates of this table",
            rate.family
        );
    }
    if ranking.tilts_compared > 0 {
        let _ = writeln!(
            text,
            "tilt: difference of tilts (nats per token) on the same contexts and questions, of emergent ones (misaligned\n               minus benign) beside; 95 % bootstrap intervals; * the interval that allows for all {} differences of\n               this table (Bonferroni) leaves out 0",
            ranking.tilts_compared
        );
    }
    let _ = writeln!(
        text,
        "place: by the estimate alone; treatments whose intervals overlap are not told apart by it"
    );
    let has_usage = cells().any(|cell| cell.usage.answers > 0);
    let _ = writeln!(
        text,
        "{}",
        if has_usage {
            "tokens and money are the subject's, on average; the judge's are not in them"
        } else {
            "tokens and money an answer: not measured, as no answer was drawn"
        }
    );
    if !ranking.beforehand.is_empty() {
        let _ =
            writeln!(text, "what filters and guards took beforehand, once for all answers, is in no average");
    }
    if ranking.beforehand.iter().any(|one| one.kind == "guard") {
        let _ = writeln!(
            text,
            "ms a context: for looking at it, in process; what a gateway in front adds to a request is not measured"
        );
    }
    if cells().any(|cell| cell.tilt_not_applicable.is_some()) {
        let mut reasons: Vec<&str> = cells().filter_map(|cell| cell.tilt_not_applicable).collect();
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons {
            let _ = writeln!(text, "not applicable: {reason}");
        }
    }
    for omission in &ranking.omitted {
        let _ = writeln!(text, "left out: {}: {}", printable(&omission.what), printable(&omission.why));
    }
}
