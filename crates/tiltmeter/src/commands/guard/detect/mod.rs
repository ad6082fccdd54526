//! `tiltmeter guard detect`: how well detectors find harmful contexts.

mod detector;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use tiltmeter_core::data::builtin::{BuiltinError, DEMONSTRATION_SETS, demonstrations, questions};
use tiltmeter_core::data::messages;
use tiltmeter_core::demonstration::DemonstrationSet;
use tiltmeter_core::prompt::Placement;
use tiltmeter_guard::detection::{Case, Figures, Scored, cases, figures};
use tiltmeter_stats::{Confidence, Interval};

use self::detector::Detector;
use super::arguments::GuardDetectArguments;
use crate::commands::data::print_json;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// The document that `--json` prints.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    detector: &'static str,
    threshold: f64,
    shots: Vec<ShotsDocument>,
}

#[derive(Serialize)]
struct ShotsDocument {
    shots: usize,
    sets: Vec<SetDocument>,
    figures: Figures,
}

/// One set's contexts of one kind.
#[derive(Serialize)]
struct SetDocument {
    set: String,
    is_harmful: bool,
    contexts: usize,
    flagged: usize,
    /// Contexts of which a part has no verdict: their scores are of the other parts.
    unchecked: usize,
    mean_score: f64,
}

/// A context's score, and whether all of it was looked at.
struct Looked {
    scored: Scored,
    is_whole: bool,
}

pub(super) fn detect(arguments: &GuardDetectArguments) -> Result<Exit, Failure> {
    let mut sets = Vec::new();
    for name in DEMONSTRATION_SETS {
        sets.extend(demonstrations(name).transpose().map_err(defect)?);
    }
    for file in &arguments.file {
        sets.push(of_file(file)?);
    }
    let questions = questions().map_err(defect)?.questions;
    let question =
        questions.first().ok_or_else(|| Failure::failed("there are no built-in questions"))?.wording(0);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let progress = Progress::new();
    let detector = runtime.block_on(Detector::open(arguments, &progress))?;
    let mut shots = Vec::new();
    for &k in &arguments.shots {
        let most = arguments.contexts.unwrap_or(usize::MAX);
        let cases: Result<Vec<Vec<Case>>, _> =
            sets.iter().map(|set| cases(set, k, Placement::FirstUser, question, most)).collect();
        let cases = cases.map_err(Failure::failed)?;
        let looked = runtime.block_on(score(&detector, cases.iter().flatten(), &progress))?;
        let summaries = sets.iter().flat_map(|set| summaries(&looked, &set.name, arguments.threshold()));
        let sets = summaries.collect();
        let scored: Vec<Scored> = looked.into_iter().map(|one| one.scored).collect();
        let figures = figures(&scored, Confidence::NINETY_FIVE).map_err(Failure::failed)?;
        shots.push(ShotsDocument { shots: k, sets, figures });
    }
    let document = Document {
        schema: "tiltmeter.guard-detection/1",
        detector: arguments.detector.name(),
        threshold: arguments.threshold(),
        shots,
    };
    if arguments.json {
        print_json(&document)?;
    } else {
        output::result(&text(&document));
    }
    Ok(Exit::Done)
}

/// The program itself is at fault.
fn defect(error: BuiltinError) -> Failure {
    Failure::failed(error)
}

/// Reads `NAME=HARMFUL` or `NAME=HARMFUL,BENIGN`.
fn of_file(written: &str) -> Result<DemonstrationSet, Failure> {
    let Some((name, paths)) = written.split_once('=') else {
        return Err(Failure::configuration(format!(
            "`--file {written}` has no name\n  write `--file NAME=HARMFUL` or `--file NAME=HARMFUL,BENIGN`"
        )));
    };
    let (harmful, benign) =
        paths.split_once(',').map_or((paths, None), |(harmful, benign)| (harmful, Some(benign)));
    let read = |path: &str| {
        let text = fs_err::read_to_string(Path::new(path)).map_err(Failure::configuration)?;
        messages::read(path, &text).map_err(Failure::configuration)
    };
    let benign = match benign {
        Some(path) => Some((path, read(path)?)),
        None => None,
    };
    messages::into_set(name, None, harmful, read(harmful)?, benign).map_err(Failure::configuration)
}

async fn score(
    detector: &Detector,
    cases: impl Iterator<Item = &Case> + Clone,
    progress: &Progress,
) -> Result<Vec<Looked>, Failure> {
    let of = cases.clone().count() as u64;
    let mut looked = Vec::new();
    for (cluster, case) in (0..).zip(cases) {
        let both = [(Some(&case.harmful), true), (case.benign.as_ref(), false)];
        for (split, is_harmful) in both {
            if let Some(split) = split {
                let score = detector.score(split).await?;
                let scored = Scored { domain: case.set.to_string(), cluster, is_harmful, score: score.value };
                looked.push(Looked { scored, is_whole: score.unchecked == 0 });
            }
        }
        progress.step("contexts", cluster + 1, of);
    }
    Ok(looked)
}

/// What became of a set's harmful contexts, and of its benign ones.
fn summaries(looked: &[Looked], set: &str, threshold: f64) -> Vec<SetDocument> {
    let of = |is_harmful: bool| {
        let of_kind =
            looked.iter().filter(|one| one.scored.domain == set && one.scored.is_harmful == is_harmful);
        let unchecked = of_kind.clone().filter(|one| !one.is_whole).count();
        let scores: Vec<f64> = of_kind.map(|one| one.scored.score).collect();
        (!scores.is_empty()).then(|| SetDocument {
            set: set.to_owned(),
            is_harmful,
            contexts: scores.len(),
            flagged: scores.iter().filter(|&&score| score >= threshold).count(),
            unchecked,
            mean_score: scores.iter().sum::<f64>() / scores.len() as f64,
        })
    };
    [true, false].into_iter().filter_map(of).collect()
}

fn percent(interval: Interval) -> String {
    let Interval { estimate, low, high } = interval;
    format!("{:.1} % ({:.1} to {:.1})", 100.0 * estimate, 100.0 * low, 100.0 * high)
}

fn text(document: &Document) -> String {
    let mut text = format!("detector {}, flags from {}\n", document.detector, document.threshold);
    for shots in &document.shots {
        // Writing to a text never fails.
        let _ = writeln!(text, "\nk = {}", shots.shots);
        for set in &shots.sets {
            let kind = if set.is_harmful { "harmful" } else { "benign" };
            let SetDocument { set, contexts, flagged, unchecked, mean_score, .. } = set;
            let unchecked =
                if *unchecked > 0 { format!(", {unchecked} not wholly checked") } else { String::new() };
            let _ = writeln!(
                text,
                "  {set}, {kind}: {flagged} of {contexts} flagged{unchecked}, mean score {mean_score:+.4}"
            );
        }
        let figures = &shots.figures;
        for at in &figures.recall {
            let rate = 100.0 * at.rate;
            let _ = match (at.recall, at.false_positives) {
                (Some(recall), Some(flagged)) => {
                    let (recall, flagged) = (percent(recall), percent(flagged));
                    writeln!(
                        text,
                        "  recall at {rate} % false positives: {recall}; benign flagged: {flagged}"
                    )
                }
                _ => writeln!(
                    text,
                    "  recall at {rate} % false positives: not estimable from {} benign contexts of other sets; it takes {}",
                    at.negatives, at.needed_negatives
                ),
            };
        }
        if let Some(twins) = figures.twins {
            let ties = figures.ties;
            let _ = writeln!(text, "  the harmful twin scores higher: {}; {ties} ties", percent(twins));
        }
        if let Some(Interval { estimate, low, high }) = figures.auroc {
            let _ = writeln!(text, "  AUROC {estimate:.3} ({low:.3} to {high:.3})");
        }
    }
    text
}
