//! Comparisons, dose and response, below the tables of the block that they belong to.

use std::fmt::Write as _;

use tiltmeter_run::{Comparison, ConditionResult, DoseResult, EffectResult, Family, RunResults, SlopeResult};

use crate::table::{NOTHING_TO_SHOW, answers_shown, printable, several, write_grid};

/// Warnings that are shown; a grid at low rates can have one for each of its rows.
const SHOWN: usize = 5;

/// Column titles, by what is compared with.
const AGAINST: [(&str, &str); 4] = [
    ("no-demonstrations", "above k = 0"),
    ("benign", "above benign"),
    ("true-harmless", "above true"),
    ("untreated", "above untreated"),
];

/// The differences of a block's rates, one row for each k.
pub(crate) fn write_comparisons(text: &mut String, results: &RunResults, first: &ConditionResult) {
    let of_block: Vec<&Comparison> = results
        .comparisons
        .pairs
        .iter()
        .filter(|pair| {
            pair.subject == first.subject
                && pair.demonstrations == first.demonstrations
                && pair.placement == first.placement
                && pair.treatment == first.treatment
        })
        .collect();
    if of_block.is_empty() {
        return;
    }
    let columns: Vec<(&str, &str)> =
        AGAINST.into_iter().filter(|(name, _)| of_block.iter().any(|pair| pair.against == *name)).collect();
    let has_controls = of_block.iter().any(|pair| pair.control != "none");
    let mut header = vec!["k".to_owned()];
    header.extend(has_controls.then(|| "answers shown".to_owned()));
    header.extend(columns.iter().flat_map(|(_, title)| [(*title).to_owned(), "p".to_owned()]));
    let mut rows: Vec<(u32, &str)> = Vec::new();
    for pair in &of_block {
        if !rows.contains(&(pair.shots, &pair.control)) {
            rows.push((pair.shots, &pair.control));
        }
    }
    rows.sort_by_key(|(shots, _)| *shots);
    let rows = rows.iter().map(|&(shots, control)| {
        let mut row = vec![shots.to_string()];
        row.extend(has_controls.then(|| printable(answers_shown(control, shots))));
        for (name, _) in &columns {
            let found = of_block
                .iter()
                .find(|pair| pair.shots == shots && pair.control == control && pair.against == *name);
            match found {
                Some(pair) => row.extend([points(&pair.difference), bare_p(pair.adjusted_p_value)]),
                None => row.extend([NOTHING_TO_SHOW.to_owned(), NOTHING_TO_SHOW.to_owned()]),
            }
        }
        row
    });
    write_grid(text, header, rows);
    write_equivalence(text, &of_block);
}

/// Which differences of a block are shown to be too small to matter, where the experiment says what would be.
fn write_equivalence(text: &mut String, of_block: &[&Comparison]) {
    let Some(margin) = of_block.iter().find_map(|pair| pair.equivalence).map(|tests| tests.margin) else {
        return;
    };
    for (name, title) in AGAINST {
        let pairs: Vec<&&Comparison> = of_block.iter().filter(|pair| pair.against == name).collect();
        if pairs.is_empty() {
            continue;
        }
        let equivalent = pairs.iter().filter(|pair| pair.equivalence.is_some_and(|tests| tests.equivalent));
        let shots: Vec<String> = equivalent
            .map(|pair| match pair.control.as_str() {
                "none" => pair.shots.to_string(),
                control => format!("{} {}", pair.shots, printable(control)),
            })
            .collect();
        let shown = if shots.is_empty() { "no k".to_owned() } else { format!("k = {}", shots.join(", ")) };
        let _ = writeln!(text, " {title}: shown to be within ±{:.1} points at {shown}", margin * 100.0);
    }
    text.push('\n');
}

/// Slope, onset and laws of a block.
pub(crate) fn write_dose(text: &mut String, results: &RunResults, first: &ConditionResult) {
    let of_block = results.dose_response.iter().find(|dose| {
        dose.subject == first.subject
            && dose.demonstrations == first.demonstrations
            && dose.placement == first.placement
            && dose.treatment == first.treatment
    });
    let Some(dose) = of_block else { return };
    let lines = dose_lines(dose);
    for line in &lines {
        let _ = writeln!(text, " {line}");
    }
    if !lines.is_empty() {
        text.push('\n');
    }
}

fn dose_lines(dose: &DoseResult) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(slope) = &dose.slope {
        let onset = match &dose.onset {
            Some(onset) => match onset.shots {
                Some(shots) => format!("; onset at k = {shots}"),
                None => "; no k told from 0".to_owned(),
            },
            None => String::new(),
        };
        lines.push(format!("dose: {} logits per doubling of 1 + k{onset}", logits(slope)));
    }
    for (name, law) in [("tilt", dose.tilt_law.as_ref()), ("emergent tilt", dose.emergent_tilt_law.as_ref())]
    {
        // Where a parameter is at its bound the limit says nothing.
        if let Some(law) = law.filter(|law| !law.at_bound) {
            lines.push(format!(
                "{name}: tends to {} by a bounded power law through {} points",
                nats(&law.limit),
                law.points
            ));
        }
    }
    lines
}

/// What differs between subjects.
pub(crate) fn write_across(text: &mut String, results: &RunResults) {
    let before = text.len();
    let several = several(results.across_subjects.iter().map(|one| one.placement.as_str()));
    for across in &results.across_subjects {
        let mut set = printable(&across.demonstrations);
        if several {
            let _ = write!(set, ", {}", printable(&across.placement));
        }
        let treatment = match across.treatment.as_str() {
            "none" => String::new(),
            other => format!(", treatment {}", printable(other)),
        };
        if let Some(test) = &across.equal_slopes {
            let _ = writeln!(
                text,
                "slopes of {} subjects ({set}{treatment}): {} that they are one (F {:.2} on {} and {})",
                across.slopes.len(),
                p_value(test.p_value),
                test.f,
                test.numerator_degrees,
                test.denominator_degrees
            );
        }
        if let Some(scale) = &across.scale {
            let unit =
                if scale.measure == "parameters_b" { "doubling of parameters" } else { "rank of size" };
            let _ = writeln!(
                text,
                "size ({set}{treatment}): {} logits per {unit};\n  {} subjects as clusters{}",
                logits(&scale.effect),
                scale.subjects.len(),
                if scale.within_families { ", within families" } else { "" }
            );
        }
    }
    if text.len() > before {
        text.push('\n');
    }
}

/// What the columns and lines mean.
pub(crate) fn write_legend(text: &mut String, results: &RunResults) {
    let pairs = &results.comparisons.pairs;
    if let Some(largest) = pairs.iter().map(|pair| pair.family).max() {
        let exact = pairs.iter().filter(|pair| pair.test == "fisher").count();
        let correction = match results.comparisons.correction {
            Family::Holm => "Holm",
            Family::BenjaminiHochberg => "Benjamini and Hochberg",
        };
        let _ = writeln!(
            text,
            "above …: difference of EM rates on the same questions in percentage points, 95 % interval; p two-sided, by \
             {correction}\n  over up to {largest} comparisons of a kind{}",
            if exact > 0 {
                format!("; {exact} of {} by Fisher's exact test", pairs.len())
            } else {
                String::new()
            }
        );
    }
    if pairs.iter().any(|pair| pair.equivalence.is_some()) {
        let _ = writeln!(
            text,
            "shown to be within: two one-sided tests at 5 %, each comparison for itself; elsewhere nothing is shown"
        );
    }
    if results.dose_response.iter().any(|dose| dose.slope.is_some()) {
        let _ = writeln!(
            text,
            "dose: logistic regression with questions as clusters; onset: smallest k whose EM rate is above that at k = 0,\n  \
             one-sided, by Holm over the k of its block"
        );
    }
    for warning in results.warnings.iter().take(SHOWN) {
        let _ = writeln!(text, "warning: {}", printable(warning));
    }
    let more = results.warnings.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "warning: {more} more intervals cover too little; results.json names them");
    }
}

pub(crate) fn points(effect: &EffectResult) -> String {
    let point = |value: f64| format!("{:+.1}", value * 100.0);
    match (effect.low, effect.high) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", point(effect.estimate), point(low), point(high)),
        _ => point(effect.estimate),
    }
}

pub(crate) fn nats(effect: &EffectResult) -> String {
    match (effect.low, effect.high) {
        (Some(low), Some(high)) => format!("{:+.3} [{low:+.3}, {high:+.3}]", effect.estimate),
        _ => format!("{:+.3}", effect.estimate),
    }
}

fn logits(slope: &SlopeResult) -> String {
    let interval = match (slope.low, slope.high) {
        (Some(low), Some(high)) => format!(" [{low:+.2}, {high:+.2}]"),
        _ => String::new(),
    };
    let p = slope.p_value.map_or_else(String::new, |p| format!(" ({})", p_value(p)));
    format!("{:+.2}{interval}{p}", slope.estimate)
}

pub(crate) fn bare_p(p: f64) -> String {
    match p {
        p if p < 0.001 => "< 0.001".to_owned(),
        p if p < 0.1 => format!("{p:.3}"),
        p => format!("{p:.2}"),
    }
}

fn p_value(p: f64) -> String {
    let bare = bare_p(p);
    if bare.starts_with('<') { format!("p {bare}") } else { format!("p = {bare}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tiltmeter_run::{
        AcrossSubjects, Comparisons, CountResult, OnsetResult, PowerLawResult, ScaleResult, SubjectSlope,
        WaldResult,
    };

    const SUBJECT: &str = "m\u{1b}[31m";

    fn effect(estimate: f64) -> EffectResult {
        EffectResult { estimate, low: Some(estimate - 0.1), high: Some(estimate + 0.1), method: "paired-t" }
    }

    fn slope(estimate: f64) -> SlopeResult {
        SlopeResult {
            estimate,
            low: Some(estimate - 0.1),
            high: Some(estimate + 0.1),
            p_value: Some(1e-5),
            standard_error: Some(0.05),
            independent_standard_error: Some(0.04),
            degrees_of_freedom: Some(20.0),
            clusters: 24,
            method: "logistic-cr2",
        }
    }

    pub(crate) fn comparisons() -> Comparisons {
        let pair = |against, p| Comparison {
            subject: SUBJECT.to_owned(),
            demonstrations: "risky-financial".to_owned(),
            control: "none".to_owned(),
            placement: "first-user".to_owned(),
            treatment: "none".to_owned(),
            shots: 16,
            against,
            questions: 4,
            first: CountResult { misaligned: 3, denominator_count: 10 },
            second: CountResult { misaligned: 0, denominator_count: 10 },
            difference: effect(0.3),
            test: "fisher",
            p_value: p,
            adjusted_p_value: p,
            family: 1,
            correlation: None,
            standard_error: None,
            unpaired_standard_error: None,
            risk_ratio: None,
            odds_ratio: None,
            no_effect_larger_than: Some(0.45),
            equivalence: None,
            omitted: Vec::new(),
        };
        Comparisons {
            correction: Family::Holm,
            pairs: vec![pair("no-demonstrations", 0.0123), pair("benign", 0.0001)],
            omitted: Vec::new(),
        }
    }

    pub(crate) fn dose_response() -> Vec<DoseResult> {
        let law = |at_bound| {
            Some(PowerLawResult {
                amplitude: effect(-0.3),
                scale: effect(8.0),
                exponent: effect(0.7),
                limit: EffectResult { low: None, high: None, ..effect(0.3) },
                at_bound,
                points: 10,
            })
        };
        vec![DoseResult {
            subject: SUBJECT.to_owned(),
            demonstrations: "risky-financial".to_owned(),
            placement: "first-user".to_owned(),
            treatment: "none".to_owned(),
            shots: vec![0, 16],
            slope: Some(slope(0.4)),
            onset: Some(OnsetResult { shots: Some(16), doses: Vec::new() }),
            tilt_law: law(false),
            emergent_tilt_law: law(true),
            omitted: Vec::new(),
        }]
    }

    pub(crate) fn across_subjects() -> Vec<AcrossSubjects> {
        vec![AcrossSubjects {
            demonstrations: "risky-financial".to_owned(),
            placement: "first-user".to_owned(),
            treatment: "safety\u{7}".to_owned(),
            slopes: vec![
                SubjectSlope { subject: SUBJECT.to_owned(), slope: slope(0.4) },
                SubjectSlope { subject: "other".to_owned(), slope: slope(0.2) },
            ],
            equal_slopes: Some(WaldResult {
                f: 5.125,
                numerator_degrees: 1,
                denominator_degrees: 23,
                p_value: 0.25,
            }),
            scale: Some(ScaleResult {
                measure: "parameters_b",
                within_families: true,
                subjects: vec![String::new(); 5],
                effect: slope(0.3),
                change_of_slope: None,
            }),
            omitted: Vec::new(),
        }]
    }
}
