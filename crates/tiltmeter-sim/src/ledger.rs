//! What the server has seen and done.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tiltmeter_core::id::{Canonical, ContentId};

use crate::planted::{Demonstrations, Outcome, Planted};
use crate::probed::ProbeOutcome;
use crate::script::Fault;

/// Counts so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests to the subject that were understood, whatever became of them.
    pub subject_requests: u64,
    /// Requests to the judge that were understood, whatever became of them.
    pub judge_requests: u64,
    /// Replies by status. A connection that was dropped has none.
    pub by_status: BTreeMap<u16, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Different requests that were answered in full.
    pub answered: u64,
    /// Requests whose very body had been answered in full before: work that was paid for twice.
    pub duplicates: u64,
    /// Batches that were made.
    pub batches: u64,
    /// The most requests at one time.
    pub most_in_flight: u64,
}

/// The truth about the subject's answers so far, for one kind of context.
#[derive(Clone, Debug, PartialEq)]
pub struct TruthRow {
    /// Demonstrations in the context.
    pub shots: u32,
    /// Whether they are harmful.
    pub demonstrations: Demonstrations,
    /// The mean of the answers' planted probabilities of being misaligned, among those that are neither
    /// incoherent, code nor refusals.
    pub planted_rate: f64,
    /// Different answers given, by what they are.
    pub answers: BTreeMap<Outcome, u64>,
}

impl TruthRow {
    /// Misaligned answers among the misaligned and the aligned; `None` where there are neither.
    pub fn realised_rate(&self) -> Option<f64> {
        let count = |outcome| self.answers.get(&outcome).copied().unwrap_or(0) as f64;
        let misaligned = count(Outcome::Misaligned);
        let both = misaligned + count(Outcome::Aligned);
        (both > 0.0).then(|| misaligned / both)
    }
}

/// The answers to one probe so far, for one number of demonstrations and one system message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTruth {
    /// Name of the probe.
    pub probe: &'static str,
    /// Demonstrations in the context.
    pub shots: u32,
    /// The system message.
    pub system: Option<String>,
    /// Different answers given, by what they are.
    pub answers: BTreeMap<ProbeOutcome, u64>,
}

/// The hash of a body.
pub(crate) fn body_id(body: &[u8]) -> ContentId {
    Canonical::new("tiltmeter.sim.body/1").text(&String::from_utf8_lossy(body)).finish()
}

/// The subject's different answers for one kind of context.
#[derive(Debug, Default)]
struct Tally {
    rates: f64,
    count: u64,
    answers: BTreeMap<Outcome, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) counters: Counters,
    in_flight: u64,
    attempts: HashMap<ContentId, u32>,
    answered: HashSet<ContentId>,
    truths: BTreeMap<(Demonstrations, u32), Tally>,
    probes: BTreeMap<(&'static str, u32, Option<String>), BTreeMap<ProbeOutcome, u64>>,
    pub(crate) recorded: Vec<Bytes>,
    /// Requests that were recorded before the first was replied to.
    pub(crate) before_first_reply: Option<usize>,
}

impl Ledger {
    /// Enters a request, and says which attempt of it this is, from 0.
    pub(crate) fn begin(&mut self, id: ContentId) -> u32 {
        self.in_flight += 1;
        self.counters.most_in_flight = self.counters.most_in_flight.max(self.in_flight);
        self.attempt(id)
    }

    /// Enters a request that is a part of another, and says which attempt of it this is, from 0.
    pub(crate) fn attempt(&mut self, id: ContentId) -> u32 {
        if self.answered.contains(&id) {
            self.counters.duplicates += 1;
        }
        let attempts = self.attempts.entry(id).or_default();
        *attempts += 1;
        *attempts - 1
    }

    pub(crate) fn end(&mut self) {
        self.in_flight -= 1;
    }

    pub(crate) fn status(&mut self, status: u16) {
        *self.counters.by_status.entry(status).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        *self.counters.faults.entry(fault).or_default() += 1;
    }

    /// Enters a full answer; `truth` where it is the subject's.
    pub(crate) fn answered(&mut self, id: ContentId, truth: Option<&Planted>) {
        if !self.answered.insert(id) {
            return;
        }
        self.counters.answered += 1;
        let Some(truth) = truth else { return };
        if let Some(probe) = truth.probe {
            let answers = self.probes.entry((probe.probe, truth.shots, truth.system.clone())).or_default();
            *answers.entry(probe.outcome).or_default() += 1;
            return;
        }
        let tally = self.truths.entry((truth.demonstrations, truth.shots)).or_default();
        tally.rates += truth.rate;
        tally.count += 1;
        *tally.answers.entry(truth.outcome).or_default() += 1;
    }

    pub(crate) fn probe_truth(&self) -> Vec<ProbeTruth> {
        let row =
            |((probe, shots, system), answers): (&(&'static str, u32, Option<String>), &BTreeMap<_, _>)| {
                ProbeTruth { probe, shots: *shots, system: system.clone(), answers: answers.clone() }
            };
        self.probes.iter().map(row).collect()
    }

    pub(crate) fn truth(&self) -> Vec<TruthRow> {
        self.truths
            .iter()
            .map(|(&(demonstrations, shots), tally)| TruthRow {
                shots,
                demonstrations,
                planted_rate: tally.rates / tally.count as f64,
                answers: tally.answers.clone(),
            })
            .collect()
    }
}
