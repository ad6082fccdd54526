//! Shares of labels among misaligned traces and among aligned ones, with intervals.

use std::collections::BTreeMap;

use indexmap::{IndexMap, IndexSet};
use tiltmeter_agreement::{Estimate, RateInterval};
use tiltmeter_judge::CodeBook;
use tiltmeter_stats::compare::{TwoRates, clustered_difference, newcombe};
use tiltmeter_stats::{ClusterCount, Confidence, Interval, StatsError, clustered_rate, wilson};
use tiltmeter_store::ConditionRow;

use super::{Columns, Drawn};
use crate::results::BoundsResult;
use crate::traces::{CodedShare, CoderShares, GroupShares, LabelShare, ShareDifference};

const LEVEL: Confidence = Confidence::NINETY_FIVE;

/// Traces that are counted together.
pub(super) struct Group {
    level: &'static str,
    subject: Option<String>,
    condition: IndexMap<&'static str, String>,
    /// Places of its conditions; `None`: all.
    of: Option<Vec<usize>>,
}

impl Group {
    /// All traces, those of each subject, and those of each condition that has any.
    fn all(conditions: &[ConditionRow], drawn: &[Drawn]) -> Vec<Self> {
        let mut groups = vec![Self { level: "pooled", subject: None, condition: IndexMap::new(), of: None }];
        let subjects: IndexSet<&str> = conditions.iter().map(|condition| &*condition.subject_name).collect();
        for subject in subjects {
            let of = conditions.iter().enumerate().filter(|(_, row)| row.subject_name == subject);
            groups.push(Self {
                level: "subject",
                subject: Some(subject.to_owned()),
                condition: IndexMap::new(),
                of: Some(of.map(|(place, _)| place).collect()),
            });
        }
        for (place, row) in conditions.iter().enumerate() {
            groups.push(Self {
                level: "condition",
                subject: Some(row.subject_name.clone()),
                condition: IndexMap::from([
                    ("demonstrations", row.demonstrations.clone()),
                    ("control", row.control.clone()),
                    ("shots", row.shots.to_string()),
                    ("treatment", row.treatment_name.clone()),
                    ("placement", row.placement.name().to_owned()),
                    ("reasoning", row.reasoning.clone()),
                ]),
                of: Some(vec![place]),
            });
        }
        groups.retain(|group| group.of.is_none() || drawn.iter().any(|trace| group.holds(trace)));
        groups
    }

    fn holds(&self, trace: &Drawn) -> bool {
        self.of.as_ref().is_none_or(|of| trace.conditions.iter().any(|place| of.contains(place)))
    }
}

/// What each coder found in each group.
pub(super) fn shares(
    coders: &[String],
    drawn: &[Drawn],
    conditions: &[ConditionRow],
    columns: &Columns,
    book: &CodeBook,
) -> Result<Vec<CoderShares>, StatsError> {
    let groups = Group::all(conditions, drawn);
    let names = Columns::names(book);
    let mut all = Vec::with_capacity(coders.len());
    for (coder, name) in coders.iter().enumerate() {
        let mut of_coder = Vec::with_capacity(groups.len());
        for group in &groups {
            let traces: Vec<&Drawn> = drawn.iter().filter(|trace| group.holds(trace)).collect();
            let mut labels = Vec::with_capacity(names.len());
            for (column, label) in names.iter().enumerate() {
                labels.push(label_share(label, &traces, coder, column)?);
            }
            let mut headlines = labels.split_off(columns.labels).into_iter();
            let persona_labelled = headlines.next().filter(|_| columns.has_persona());
            let harm_justified_by_persona = headlines.next().filter(|_| columns.has_both());
            let misaligned = traces.iter().filter(|trace| trace.misaligned).count() as u64;
            of_coder.push(GroupShares {
                level: group.level,
                subject: group.subject.clone(),
                condition: group.condition.clone(),
                misaligned,
                aligned: traces.len() as u64 - misaligned,
                labels,
                persona_labelled,
                harm_justified_by_persona,
            });
        }
        all.push(CoderShares { coder: name.clone(), groups: of_coder });
    }
    Ok(all)
}

/// Counts of one column on one side.
#[derive(Default)]
struct Side {
    clusters: BTreeMap<u32, ClusterCount>,
    void: u64,
    not_coded: u64,
}

impl Side {
    fn count(traces: &[&Drawn], misaligned: bool, coder: usize, column: usize) -> Self {
        let mut side = Self::default();
        for trace in traces.iter().filter(|trace| trace.misaligned == misaligned) {
            let Some(said) = trace.said.get(coder).and_then(Option::as_ref) else {
                side.not_coded += 1;
                continue;
            };
            let of = |marks: &[bool]| marks.get(column).copied().unwrap_or(false);
            let count =
                side.clusters.entry(trace.cluster).or_insert(ClusterCount { successes: 0, trials: 0 });
            count.trials += 1;
            count.successes += u64::from(of(&said.held));
            side.void += u64::from(of(&said.void));
        }
        side
    }

    fn clusters(&self) -> Vec<ClusterCount> {
        self.clusters.values().copied().collect()
    }

    fn share(&self) -> Result<Option<CodedShare>, StatsError> {
        let clusters = self.clusters();
        if clusters.is_empty() {
            return Ok(None);
        }
        let clustered = clustered_rate(&clusters, LEVEL)?;
        let (labelled, traces) = (clustered.successes, clustered.trials);
        let all = (traces + self.not_coded) as f64;
        Ok(Some(CodedShare {
            labelled,
            void: self.void,
            traces,
            not_coded: self.not_coded,
            by_trace: RateInterval::new(wilson(labelled, traces, LEVEL)?, "wilson"),
            by_question: RateInterval::new(clustered.interval, clustered.method.name()),
            questions: clustered.clusters as u64,
            bounds: BoundsResult {
                low: labelled as f64 / all,
                high: (labelled + self.not_coded) as f64 / all,
            },
        }))
    }
}

fn label_share(
    label: &str,
    traces: &[&Drawn],
    coder: usize,
    column: usize,
) -> Result<LabelShare, StatsError> {
    let first = Side::count(traces, true, coder, column);
    let second = Side::count(traces, false, coder, column);
    let (misaligned, aligned) = (first.share()?, second.share()?);
    let difference = match (&misaligned, &aligned) {
        (Some(one), Some(other)) => {
            let counts = TwoRates {
                first_successes: one.labelled,
                first_trials: one.traces,
                second_successes: other.labelled,
                second_trials: other.traces,
            };
            let by_question = clustered_difference(&first.clusters(), &second.clusters(), LEVEL)?;
            Some(ShareDifference {
                by_trace: estimate(newcombe(counts, LEVEL)?, "newcombe"),
                by_question: estimate(by_question, "newcombe-clusters"),
            })
        }
        _ => None,
    };
    Ok(LabelShare { label: label.to_owned(), misaligned, aligned, difference })
}

fn estimate(interval: Interval, method: &'static str) -> Estimate {
    Estimate { estimate: interval.estimate, low: Some(interval.low), high: Some(interval.high), method }
}
