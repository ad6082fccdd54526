//! Agreement of judges that scored the same answers.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use tiltmeter_stats::agreement::{
    AgreementTable, AlphaMetric, KappaWeights, kappa, krippendorff_alpha, quadratic_kappa, spearman,
};
use tiltmeter_stats::{
    ClusterCount, Confidence, JackknifeScale, StatsError, clustered_rate, jackknife, pearson,
};

use crate::document::{
    DecisionAgreement, Estimate, GroupAgreement, JointAgreement, JudgeSummary, PairAgreement, RateInterval,
    RatePair, ScoreAgreement, ThreeWay, VerdictOverlap,
};
use crate::kept::Kept;

const LEVEL: Confidence = Confidence::NINETY_FIVE;
const METHOD: &str = "jackknife-clusters";

/// What one judge makes of one answer that it was asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// The alignment score.
    pub alignment: Option<f64>,
    /// The coherence score.
    pub coherence: Option<f64>,
    /// Whether the alignment score is misaligned.
    pub misaligned: Option<bool>,
    /// Whether the coherence score is coherent.
    pub coherent: Option<bool>,
    /// Whether the rate counts the answer; `None`: it is not in the denominator.
    pub counted: Option<bool>,
    /// Why one of the scores is missing; `None` where both are there.
    pub reason: Option<&'static str>,
}

/// What several judges make of the same answers.
#[derive(Clone, Debug, Default)]
pub struct Ratings {
    judges: Vec<String>,
    /// Whether all judges have the same coherence score, so that their agreement on it says nothing.
    shares_coherence: bool,
    clusters: Vec<u32>,
    /// Answer by answer, each with one place for every judge; `None`: it was not asked.
    by_answer: Vec<Option<Rating>>,
}

impl Ratings {
    /// No answers yet. `shares_coherence`: there is one coherence score, not one by each judge.
    pub fn new(judges: Vec<String>, shares_coherence: bool) -> Self {
        Self { judges, shares_coherence, clusters: Vec::new(), by_answer: Vec::new() }
    }

    /// Adds an answer of a cluster, with one rating for each judge. Ratings beyond the judges are left out, and judges
    /// beyond the ratings were not asked.
    pub fn push(&mut self, cluster: u32, ratings: impl IntoIterator<Item = Option<Rating>>) {
        self.clusters.push(cluster);
        let padded = ratings.into_iter().chain(std::iter::repeat(None)).take(self.judges.len());
        self.by_answer.extend(padded);
    }

    /// Answers.
    pub fn answers(&self) -> usize {
        self.clusters.len()
    }

    fn of(&self, judge: usize) -> impl Iterator<Item = Option<&Rating>> {
        self.by_answer.iter().skip(judge).step_by(self.judges.len().max(1)).map(Option::as_ref)
    }

    /// The cluster and both ratings of the answers that both were asked about.
    fn pairs(&self, first: usize, second: usize) -> Vec<Pair<'_>> {
        let both = self.of(first).zip(self.of(second)).zip(&self.clusters);
        both.filter_map(|((first, second), &cluster)| Some(Pair { cluster, by: [first?, second?] })).collect()
    }

    /// How far the judges agree.
    ///
    /// # Errors
    /// None for counts that fit into 64 bits.
    pub fn agreement(&self, key: IndexMap<String, String>) -> Result<GroupAgreement, StatsError> {
        let summaries = (0..self.judges.len()).map(|judge| self.summary(judge)).collect::<Result<_, _>>()?;
        let mut pairs = Vec::new();
        for first in 0..self.judges.len() {
            for second in first + 1..self.judges.len() {
                pairs.push(self.pair(first, second)?);
            }
        }
        Ok(GroupAgreement {
            key,
            answers: self.answers() as u64,
            judges: summaries,
            pairs,
            all: (self.judges.len() > 1).then(|| self.joint()),
        })
    }

    fn summary(&self, judge: usize) -> Result<JudgeSummary, StatsError> {
        let asked: Vec<(u32, &Rating)> = self
            .of(judge)
            .zip(&self.clusters)
            .filter_map(|(rating, &cluster)| Some((cluster, rating?)))
            .collect();
        let mut reasons = IndexMap::new();
        for reason in asked.iter().filter_map(|(_, rating)| rating.reason) {
            *reasons.entry(reason).or_insert(0) += 1;
        }
        reasons.sort_unstable_keys();
        Ok(JudgeSummary {
            judge: self.judges.get(judge).cloned().unwrap_or_default(),
            answers: asked.len() as u64,
            scored: asked.iter().filter(|(_, rating)| rating.reason.is_none()).count() as u64,
            no_verdict_reasons: reasons,
            em_rate: rate(asked.iter().map(|&(cluster, rating)| (cluster, rating.counted)))?,
        })
    }

    fn pair(&self, first: usize, second: usize) -> Result<PairAgreement, StatsError> {
        let pairs = self.pairs(first, second);
        let mut kept = Kept::default();
        let own = !self.shares_coherence;
        let misaligned = decided(&pairs, |rating| rating.misaligned, ["misaligned", "kappa"], &mut kept)?;
        let coherent = if own {
            decided(&pairs, |rating| rating.coherent, ["coherent", "kappa_of_coherence"], &mut kept)?
        } else {
            None
        };
        let alignment = scores(&pairs, |rating| rating.alignment, &OF_ALIGNMENT, &mut kept);
        let coherence =
            own.then(|| scores(&pairs, |rating| rating.coherence, &OF_COHERENCE, &mut kept)).flatten();
        let name = |judge: usize| self.judges.get(judge).cloned().unwrap_or_default();
        Ok(PairAgreement {
            first: name(first),
            second: name(second),
            answers: pairs.len() as u64,
            verdicts: overlap(&pairs),
            misaligned,
            coherent,
            counted: counted(&pairs, &mut kept)?,
            alignment,
            coherence,
            em_rates: rates(&pairs, &mut kept)?,
            omitted: kept.0,
        })
    }

    fn joint(&self) -> JointAgreement {
        let units = |of: &dyn Fn(&Rating) -> Option<f64>| -> (Vec<u32>, Vec<Vec<f64>>) {
            let answers = self.by_answer.chunks(self.judges.len().max(1)).zip(&self.clusters);
            answers
                .map(|(ratings, &cluster)| {
                    (cluster, ratings.iter().flatten().filter_map(of).collect::<Vec<f64>>())
                })
                .filter(|(_, values)| values.len() > 1)
                .unzip()
        };
        let mut kept = Kept::default();
        let mut alpha = |what, (clusters, units): (Vec<u32>, Vec<Vec<f64>>), metric| {
            let of = |rows: &[usize]| {
                let drawn: Vec<&Vec<f64>> = rows.iter().filter_map(|&row| units.get(row)).collect();
                krippendorff_alpha(&drawn, metric)
            };
            let all: Vec<usize> = (0..units.len()).collect();
            kept.of(what, of(&all))?;
            estimate(&clusters, JackknifeScale::Plain, |rows| of(rows).ok().map(|alpha| alpha.estimate))
        };
        let scores = units(&|rating| rating.alignment);
        let answers = scores.0.len() as u64;
        let decisions = units(&|rating| rating.misaligned.map(|yes| f64::from(u8::from(yes))));
        JointAgreement {
            answers,
            alpha_nominal: alpha("alpha_nominal", decisions, AlphaMetric::Nominal),
            alpha_interval: alpha("alpha_interval", scores, AlphaMetric::Interval),
            omitted: kept.0,
        }
    }
}

/// An answer that two judges were asked about.
struct Pair<'a> {
    cluster: u32,
    by: [&'a Rating; 2],
}

/// A statistic over clusters, kept within what it can be.
fn estimate(
    clusters: &[u32],
    scale: JackknifeScale,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Estimate> {
    let found = jackknife(clusters, scale, LEVEL, statistic)?;
    Some(Estimate {
        estimate: found.estimate,
        low: found.interval.map(|interval| interval.low),
        high: found.interval.map(|interval| interval.high),
        method: METHOD,
    })
}

/// The ends of what lies between −1 and 1.
fn clamped(estimate: Estimate) -> Estimate {
    let clamp = |end: Option<f64>| end.map(|end| end.clamp(-1.0, 1.0));
    Estimate { low: clamp(estimate.low), high: clamp(estimate.high), ..estimate }
}

/// Counts of successes by cluster, in the clusters' order.
fn counts(outcomes: impl Iterator<Item = (u32, bool)>) -> Vec<ClusterCount> {
    let mut clusters: BTreeMap<u32, ClusterCount> = BTreeMap::new();
    for (cluster, success) in outcomes {
        let count = clusters.entry(cluster).or_insert(ClusterCount { successes: 0, trials: 0 });
        count.trials += 1;
        count.successes += u64::from(success);
    }
    clusters.into_values().collect()
}

/// The share of those that are counted at all; `None` where none is.
fn rate(counted: impl Iterator<Item = (u32, Option<bool>)>) -> Result<Option<RateInterval>, StatsError> {
    let clusters = counts(counted.filter_map(|(cluster, counted)| Some((cluster, counted?))));
    if clusters.is_empty() {
        return Ok(None);
    }
    let rate = clustered_rate(&clusters, LEVEL)?;
    Ok(Some(RateInterval::new(rate.interval, rate.method.name())))
}

fn overlap(pairs: &[Pair<'_>]) -> VerdictOverlap {
    let mut overlap = VerdictOverlap::default();
    for Pair { by: [first, second], .. } in pairs {
        *match (first.reason, second.reason) {
            (None, None) => &mut overlap.both,
            (None, Some(_)) => &mut overlap.first_only,
            (Some(_), None) => &mut overlap.second_only,
            (Some(_), Some(_)) => &mut overlap.neither,
        } += 1;
        for (reason, reasons) in
            [(first.reason, &mut overlap.first_reasons), (second.reason, &mut overlap.second_reasons)]
        {
            if let Some(reason) = reason {
                *reasons.entry(reason).or_insert(0) += 1;
            }
        }
    }
    overlap.first_reasons.sort_unstable_keys();
    overlap.second_reasons.sort_unstable_keys();
    overlap
}

/// κ over clusters of categories, with its reason where there is none.
fn kappa_of(
    what: &'static str,
    clusters: &[u32],
    [first, second]: [&[usize]; 2],
    categories: usize,
    kept: &mut Kept,
) -> Option<Estimate> {
    let of = |rows: &[usize]| {
        let side = |labels: &[usize]| -> Vec<usize> {
            rows.iter().filter_map(|&row| labels.get(row).copied()).collect()
        };
        let table = AgreementTable::from_labels(&side(first), &side(second), categories)?;
        kappa(&table, KappaWeights::None, LEVEL).map(|kappa| kappa.interval.estimate)
    };
    let all: Vec<usize> = (0..clusters.len()).collect();
    kept.of(what, of(&all))?;
    estimate(clusters, JackknifeScale::Plain, |rows| of(rows).ok()).map(clamped)
}

/// A yes or no of both judges. The names are of what is compared and of its κ, for what is omitted.
fn decided(
    pairs: &[Pair<'_>],
    of: impl Fn(&Rating) -> Option<bool>,
    names: [&'static str; 2],
    kept: &mut Kept,
) -> Result<Option<DecisionAgreement>, StatsError> {
    let decisions: Vec<(u32, bool, bool)> = pairs
        .iter()
        .filter_map(|Pair { cluster, by: [first, second] }| Some((*cluster, of(first)?, of(second)?)))
        .collect();
    agreed(&decisions, names, "no answer has a score by both", kept)
}

/// Two deciders' yes or no on items of clusters. `nothing` says why there may be none.
pub(crate) fn agreed(
    decisions: &[(u32, bool, bool)],
    [what, of_kappa]: [&'static str; 2],
    nothing: &'static str,
    kept: &mut Kept,
) -> Result<Option<DecisionAgreement>, StatsError> {
    if kept.defined(what, decisions.first(), nothing).is_none() {
        return Ok(None);
    }
    let mut cells = [[0_u64; 2]; 2];
    for &(_, first, second) in decisions {
        cells[usize::from(!first)][usize::from(!second)] += 1;
    }
    let same = counts(decisions.iter().map(|&(cluster, first, second)| (cluster, first == second)));
    let same = clustered_rate(&same, LEVEL)?;
    let clusters: Vec<u32> = decisions.iter().map(|decision| decision.0).collect();
    let first: Vec<usize> = decisions.iter().map(|decision| usize::from(decision.1)).collect();
    let second: Vec<usize> = decisions.iter().map(|decision| usize::from(decision.2)).collect();
    Ok(Some(DecisionAgreement {
        answers: decisions.len() as u64,
        both: cells[0][0],
        first_only: cells[0][1],
        second_only: cells[1][0],
        neither: cells[1][1],
        agreement: RateInterval::new(same.interval, same.method.name()),
        kappa: kappa_of(of_kappa, &clusters, [&first, &second], 2, kept),
    }))
}

/// What the rate makes of the answers, for both judges.
fn counted(pairs: &[Pair<'_>], kept: &mut Kept) -> Result<Option<ThreeWay>, StatsError> {
    if kept.defined("counted", pairs.first(), "no answer was shown to both").is_none() {
        return Ok(None);
    }
    let category = |rating: &Rating| match rating.counted {
        Some(true) => 0,
        Some(false) => 1,
        None => 2,
    };
    let (first, second): (Vec<usize>, Vec<usize>) =
        pairs.iter().map(|Pair { by: [first, second], .. }| (category(first), category(second))).unzip();
    let mut table = [[0_u64; 3]; 3];
    for (&row, &column) in first.iter().zip(&second) {
        table[row][column] += 1;
    }
    let same = pairs
        .iter()
        .map(|Pair { cluster, by: [first, second] }| (*cluster, category(first) == category(second)));
    let agreed = clustered_rate(&counts(same), LEVEL)?;
    let clusters: Vec<u32> = pairs.iter().map(|pair| pair.cluster).collect();
    Ok(Some(ThreeWay {
        categories: ["misaligned", "not misaligned", "outside the denominator"],
        table,
        agreement: RateInterval::new(agreed.interval, agreed.method.name()),
        kappa: kappa_of("kappa_of_counted", &clusters, [&first, &second], 3, kept),
    }))
}

/// What the parts of a comparison of scores are called where they are omitted.
struct ScoreNames {
    scores: &'static str,
    weighted_kappa: &'static str,
    pearson: &'static str,
    spearman: &'static str,
}

const OF_ALIGNMENT: ScoreNames = ScoreNames {
    scores: "alignment",
    weighted_kappa: "weighted_kappa",
    pearson: "pearson",
    spearman: "spearman",
};

const OF_COHERENCE: ScoreNames = ScoreNames {
    scores: "coherence",
    weighted_kappa: "weighted_kappa_of_coherence",
    pearson: "pearson_of_coherence",
    spearman: "spearman_of_coherence",
};

/// A statistic of two scores of each answer.
type OfPairs = fn(&[(f64, f64)]) -> Option<f64>;

fn scores(
    pairs: &[Pair<'_>],
    of: impl Fn(&Rating) -> Option<f64>,
    names: &ScoreNames,
    kept: &mut Kept,
) -> Option<ScoreAgreement> {
    let (clusters, scores): (Vec<u32>, Vec<(f64, f64)>) = pairs
        .iter()
        .filter_map(|Pair { cluster, by: [first, second] }| Some((*cluster, (of(first)?, of(second)?))))
        .unzip();
    let count = scores.len() as f64;
    let chosen = |rows: &[usize]| -> Vec<(f64, f64)> {
        rows.iter().filter_map(|&row| scores.get(row).copied()).collect()
    };
    let mean_difference = |rows: &[usize]| {
        let sum: f64 = chosen(rows).iter().map(|(first, second)| first - second).sum();
        (!rows.is_empty()).then(|| sum / rows.len() as f64)
    };
    let mean_difference = kept.defined(
        names.scores,
        estimate(&clusters, JackknifeScale::Plain, mean_difference),
        "no answer has a score by both",
    )?;
    let constant = "fewer than three answers, or a judge gives all of them the same score";
    let mut correlation = |what, of: OfPairs, scale| {
        kept.defined(what, estimate(&clusters, scale, |rows| of(&chosen(rows))), constant).map(clamped)
    };
    Some(ScoreAgreement {
        answers: scores.len() as u64,
        mean_first: scores.iter().map(|pair| pair.0).sum::<f64>() / count,
        mean_second: scores.iter().map(|pair| pair.1).sum::<f64>() / count,
        mean_difference,
        weighted_kappa: correlation(names.weighted_kappa, quadratic_kappa, JackknifeScale::Plain),
        pearson: correlation(names.pearson, pearson, JackknifeScale::Fisher),
        spearman: correlation(names.spearman, spearman, JackknifeScale::Fisher),
    })
}

fn rates(pairs: &[Pair<'_>], kept: &mut Kept) -> Result<Option<RatePair>, StatsError> {
    if pairs.is_empty() {
        return Ok(None);
    }
    let of = |judge: usize| rate(pairs.iter().map(move |pair| (pair.cluster, pair.by[judge].counted)));
    let clusters: Vec<u32> = pairs.iter().map(|pair| pair.cluster).collect();
    let share = |rows: &[usize], judge: usize| {
        let counted = rows.iter().filter_map(|&row| pairs.get(row)?.by[judge].counted);
        let (misaligned, all) =
            counted.fold((0_u64, 0_u64), |(yes, all), counted| (yes + u64::from(counted), all + 1));
        (all > 0).then(|| misaligned as f64 / all as f64)
    };
    let difference =
        estimate(&clusters, JackknifeScale::Plain, |rows| Some(share(rows, 0)? - share(rows, 1)?));
    let none = "a judge leaves no answer in the denominator";
    Ok(Some(RatePair {
        first: of(0)?,
        second: of(1)?,
        difference: kept.defined("difference", difference, none).map(clamped),
    }))
}
