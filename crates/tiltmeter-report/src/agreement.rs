//! Agreement of judges and people as plain text.

use std::fmt::Write as _;

use indexmap::IndexMap;
use tiltmeter_agreement::{
    Agreement, ConditionLabels, ConditionName, CorrectedRate, DecisionAgreement, Estimate, GroupAgreement,
    HumanLabels, JointAgreement, PairAgreement, RateInterval, ScoreAgreement, ThreeWay,
};
use tiltmeter_core::prompt::Placement;

use crate::table::{NOTHING_TO_SHOW, percent, printable, write_rows, write_wrapped};

/// Judges compared, pair by pair, with what a reader must know below.
pub fn agreement_table(agreement: &Agreement) -> String {
    let mut text = String::new();
    let of: Vec<String> = match &agreement.experiment {
        Some(experiment) => vec![printable(experiment)],
        None => agreement.sources.iter().map(|source| printable(source)).collect(),
    };
    write_wrapped(&mut text, &format!("agreement of judges · {}", of.join(", ")));
    text.push('\n');
    for group in &agreement.groups {
        write_group(&mut text, group);
    }
    if let Some(labels) = &agreement.human_labels {
        text.push_str(&labels_table(labels));
    }
    write_legend(&mut text, agreement);
    text
}

fn write_group(text: &mut String, group: &GroupAgreement) {
    if !group.key.is_empty() {
        let key: Vec<String> = group
            .key
            .iter()
            .map(|(column, value)| format!("{} = {}", printable(column), printable(value)))
            .collect();
        write_wrapped(text, &key.join(", "));
    }
    let header = ["judge", "asked", "scored", "EM rate"].map(str::to_owned).to_vec();
    let rows = group.judges.iter().map(|judge| {
        vec![
            printable(&judge.judge),
            judge.answers.to_string(),
            judge.scored.to_string(),
            rate(judge.em_rate.as_ref()),
        ]
    });
    write_left(text, header, rows);
    for judge in group.judges.iter().filter(|judge| !judge.no_verdict_reasons.is_empty()) {
        write_wrapped(
            text,
            &format!(" {} gave no verdict: {}", printable(&judge.judge), reasons(&judge.no_verdict_reasons)),
        );
    }
    for pair in &group.pairs {
        write_pair(text, pair);
    }
    if let Some(all) = &group.all {
        write_joint(text, all, group.judges.len());
    }
}

fn write_pair(text: &mut String, pair: &PairAgreement) {
    let (first, second) = (printable(&pair.first), printable(&pair.second));
    text.push('\n');
    write_wrapped(text, &format!("1: {first}, 2: {second} · {} answers put to both", pair.answers));
    let verdicts = &pair.verdicts;
    write_wrapped(
        text,
        &format!(
            " verdicts: {} by both, {} by 1 alone, {} by 2 alone, {} by neither",
            verdicts.both, verdicts.first_only, verdicts.second_only, verdicts.neither
        ),
    );
    for (judge, why) in [("1", &verdicts.first_reasons), ("2", &verdicts.second_reasons)] {
        if !why.is_empty() {
            write_wrapped(text, &format!(" none by {judge}: {}", reasons(why)));
        }
    }
    write_decisions(text, pair);
    if let Some(counted) = &pair.counted {
        write_three_ways(text, counted);
    }
    write_scores(text, pair);
    if let Some(rates) = &pair.em_rates {
        let difference = match &rates.difference {
            Some(difference) => points(difference),
            None => NOTHING_TO_SHOW.to_owned(),
        };
        write_wrapped(
            text,
            &format!(
                " EM rate on these answers: {} by 1, {} by 2; difference in points: {difference}",
                rate(rates.first.as_ref()),
                rate(rates.second.as_ref())
            ),
        );
    }
}

fn write_decisions(text: &mut String, pair: &PairAgreement) {
    let decisions: Vec<(&str, &DecisionAgreement)> =
        [("misaligned", &pair.misaligned), ("coherent", &pair.coherent)]
            .into_iter()
            .filter_map(|(what, decision)| Some((what, decision.as_ref()?)))
            .collect();
    if decisions.is_empty() {
        return;
    }
    let header = ["", "both", "1 alone", "2 alone", "neither", "agreement", "κ"].map(str::to_owned).to_vec();
    let rows = decisions.into_iter().map(|(what, decision)| {
        vec![
            what.to_owned(),
            decision.both.to_string(),
            decision.first_only.to_string(),
            decision.second_only.to_string(),
            decision.neither.to_string(),
            rate(Some(&decision.agreement)),
            coefficient(decision.kappa.as_ref()),
        ]
    });
    write_left(text, header, rows);
}

fn write_three_ways(text: &mut String, counted: &ThreeWay) {
    let header = std::iter::once("by 1 ↓, by 2 →".to_owned())
        .chain(counted.categories.iter().map(|&category| category.to_owned()))
        .collect();
    let rows = counted.categories.iter().zip(&counted.table).map(|(&category, counts)| {
        std::iter::once(category.to_owned()).chain(counts.iter().map(u64::to_string)).collect()
    });
    write_left(text, header, rows);
    let (agreement, kappa) = (rate(Some(&counted.agreement)), coefficient(counted.kappa.as_ref()));
    write_wrapped(text, &format!(" counted alike: {agreement}; κ {kappa}"));
}

fn write_scores(text: &mut String, pair: &PairAgreement) {
    let scores: Vec<(&str, &ScoreAgreement)> =
        [("alignment", &pair.alignment), ("coherence", &pair.coherence)]
            .into_iter()
            .filter_map(|(what, scores)| Some((what, scores.as_ref()?)))
            .collect();
    if scores.is_empty() {
        return;
    }
    let header = std::iter::once("scores".to_owned())
        .chain(scores.iter().map(|(what, _)| (*what).to_owned()))
        .collect();
    let line = |what: &str, cell: &dyn Fn(&ScoreAgreement) -> String| -> Vec<String> {
        std::iter::once(what.to_owned()).chain(scores.iter().map(|(_, scores)| cell(scores))).collect()
    };
    let rows = [
        line("answers", &|scores| scores.answers.to_string()),
        line("mean by 1", &|scores| format!("{:.1}", scores.mean_first)),
        line("mean by 2", &|scores| format!("{:.1}", scores.mean_second)),
        line("1 less 2", &|scores| difference(&scores.mean_difference)),
        line("weighted κ", &|scores| coefficient(scores.weighted_kappa.as_ref())),
        line("Pearson", &|scores| coefficient(scores.pearson.as_ref())),
        line("Spearman", &|scores| coefficient(scores.spearman.as_ref())),
    ];
    write_left(text, header, rows.into_iter());
}

fn write_joint(text: &mut String, all: &JointAgreement, judges: usize) {
    if all.alpha_nominal.is_none() && all.alpha_interval.is_none() {
        return;
    }
    text.push('\n');
    write_wrapped(
        text,
        &format!(
            "all {judges}: Krippendorff's α of misaligned or not {}, of the alignment scores {} ({} answers)",
            coefficient(all.alpha_nominal.as_ref()),
            coefficient(all.alpha_interval.as_ref()),
            all.answers
        ),
    );
    text.push('\n');
}

fn write_legend(text: &mut String, agreement: &Agreement) {
    if agreement.groups.iter().all(|group| group.pairs.is_empty()) {
        write_wrapped(text, &format!("EM rate: {}", agreement.definition.text));
    } else {
        write_wrapped(
            text,
            &format!("counted: what the EM rate makes of an answer: {}", agreement.definition.text),
        );
        let over = match &agreement.clusters {
            Some(cluster) => format!("leaving out one `{}` after the other", printable(cluster)),
            None => "leaving out rows, which are taken as independent".to_owned(),
        };
        write_wrapped(
            text,
            &format!(
                "intervals: 95 %; of shares Wilson's, wider where answers of a cluster agree; of the others by {over}. \
                 Weighted κ has quadratic weights on the scores themselves"
            ),
        );
    }
    if agreement.broken > 0 {
        write_wrapped(text, &format!("note: {} broken rows are in no count", agreement.broken));
    }
    for warning in &agreement.warnings {
        write_wrapped(text, &format!("warning: {}", printable(warning)));
    }
}

/// What people's labels say: the sample, who labelled, and the corrected rates.
pub fn labels_table(labels: &HumanLabels) -> String {
    let mut text = String::from("\nlabels by people\n");
    let sample = &labels.sample;
    write_wrapped(
        &mut text,
        &format!(
            " {} of {} answers were drawn, seed {}; {} have a label that decides",
            sample.drawn, sample.answers, sample.seed, sample.labelled
        ),
    );
    let header =
        ["annotator", "labelled", "misaligned", "incoherent", "refusal", "cannot tell", "κ with the judge"];
    let rows = labels.annotators.iter().map(|one| {
        let with_judge = labels
            .agreement
            .pairs
            .iter()
            .find(|pair| {
                labels.agreement.judges.first().is_some_and(|judge| judge.judge == pair.first)
                    && pair.second == one.annotator
            })
            .and_then(|pair| pair.misaligned.as_ref()?.kappa.as_ref());
        vec![
            printable(&one.annotator),
            one.labelled.to_string(),
            one.misaligned.to_string(),
            one.incoherent.to_string(),
            one.refusal.to_string(),
            one.cannot_tell.to_string(),
            coefficient(with_judge),
        ]
    });
    write_left(&mut text, header.map(str::to_owned).to_vec(), rows);
    let people = labels
        .agreement
        .pairs
        .iter()
        .filter(|pair| labels.agreement.judges.first().is_none_or(|judge| judge.judge != pair.first));
    for pair in people {
        let Some(misaligned) = &pair.misaligned else { continue };
        write_wrapped(
            &mut text,
            &format!(
                " {} and {}: agree on {} of {} answers, κ {}",
                printable(&pair.first),
                printable(&pair.second),
                misaligned.both + misaligned.neither,
                misaligned.answers,
                coefficient(misaligned.kappa.as_ref())
            ),
        );
    }
    write_corrected(&mut text, labels);
    write_wrapped(
        &mut text,
        "by judge: the judge's rate on all answers; Rogan–Gladen, prediction-powered: corrected by labels, each weighted \
         by its probability of having been drawn; κ is unweighted, on the drawn answers",
    );
    if let Some(errors) = &labels.judge_errors {
        write_wrapped(
            &mut text,
            &format!(
                "judge's errors alike in {} conditions: p = {:.3} by permutation; labels are {}pooled",
                errors.groups,
                errors.permutation_p_value,
                if errors.pooled { "" } else { "not " }
            ),
        );
    }
    if labels.undecided > 0 {
        write_wrapped(
            &mut text,
            &format!(
                "note: on {} answers annotators are evenly split; they count as not labelled",
                labels.undecided
            ),
        );
    }
    for note in &labels.notes {
        write_wrapped(&mut text, &format!("note: {}", printable(note)));
    }
    text
}

fn write_corrected(text: &mut String, labels: &HumanLabels) {
    let is_pooled = labels.conditions.iter().any(|condition| condition.labels.rogan_gladen_pooled.is_some());
    let mut header = vec!["k".to_owned(), "labelled".to_owned()];
    header.push(if is_pooled { "Rogan–Gladen, pooled" } else { "Rogan–Gladen" }.to_owned());
    header.push("prediction-powered".to_owned());
    let mut rest = labels.conditions.as_slice();
    while let Some(first) = rest.first() {
        let same = |one: &ConditionLabels| block(&one.condition) == block(&first.condition);
        let length = rest.iter().take_while(|one| same(one)).count();
        let (conditions, after) = rest.split_at(length);
        rest = after;
        write_wrapped(text, &block(&first.condition));
        let rows = conditions.iter().map(|condition| {
            let labels = &condition.labels;
            let rogan_gladen =
                if is_pooled { labels.rogan_gladen_pooled.as_ref() } else { labels.rogan_gladen.as_ref() };
            vec![
                condition.condition.shots.to_string(),
                labels.labelled.to_string(),
                corrected(rogan_gladen),
                corrected(labels.ppi.as_ref()),
            ]
        });
        write_left(text, header.clone(), rows);
    }
}

/// All of a condition but k, in words.
fn block(condition: &ConditionName) -> String {
    let mut name = format!("{} · {}", printable(&condition.subject), printable(&condition.demonstrations));
    if condition.control != "none" {
        let _ = write!(name, " · {}", printable(&condition.control));
    }
    // The usual placement goes without saying.
    if condition.placement != Placement::default().name() {
        let _ = write!(name, " · {}", printable(&condition.placement));
    }
    if condition.treatment != "none" {
        let _ = write!(name, " · treatment {}", printable(&condition.treatment));
    }
    name
}

/// A table of columns to the left, and an empty line.
fn write_left(text: &mut String, header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) {
    write_rows(text, " ", header, rows, |_| false);
    text.push('\n');
}

fn reasons(reasons: &IndexMap<&'static str, u64>) -> String {
    let parts: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{count} {}", reason.replace('_', " "))).collect();
    parts.join(", ")
}

fn rate(rate: Option<&RateInterval>) -> String {
    match rate {
        Some(RateInterval { estimate, low, high, .. }) => {
            format!("{} % [{}, {}]", percent(*estimate), percent(*low), percent(*high))
        }
        None => NOTHING_TO_SHOW.to_owned(),
    }
}

fn corrected(rate: Option<&CorrectedRate>) -> String {
    match rate {
        Some(CorrectedRate { estimate, low, high, .. }) => {
            format!("{} % [{}, {}]", percent(*estimate), percent(*low), percent(*high))
        }
        None => NOTHING_TO_SHOW.to_owned(),
    }
}

fn coefficient(estimate: Option<&Estimate>) -> String {
    match estimate {
        Some(Estimate { estimate, low: Some(low), high: Some(high), .. }) => {
            format!("{estimate:.2} [{low:.2}, {high:.2}]")
        }
        Some(Estimate { estimate, .. }) => format!("{estimate:.2}"),
        None => NOTHING_TO_SHOW.to_owned(),
    }
}

/// A difference of scores.
fn difference(estimate: &Estimate) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{:+.1} [{low:+.1}, {high:+.1}]", estimate.estimate),
        _ => format!("{:+.1}", estimate.estimate),
    }
}

/// A difference of rates, in percentage points.
fn points(estimate: &Estimate) -> String {
    let times = |end: Option<f64>| end.map(|end| 100.0 * end);
    difference(&Estimate {
        estimate: 100.0 * estimate.estimate,
        low: times(estimate.low),
        high: times(estimate.high),
        ..*estimate
    })
}
