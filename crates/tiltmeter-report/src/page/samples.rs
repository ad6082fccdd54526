//! The answers of all runs for the page: small columns that rates are recomputed from, and texts in chunks that are read
//! when they are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use serde::Serialize;
use tiltmeter_core::verdict::{NoVerdict, Verdict};
use tiltmeter_store::{ConditionRow, SampleRow, StoreError, TreatmentTexts};

use super::ReportError;
use super::embed;
use super::model::{Place, Run};
use super::texts::{Failed, texts_of};
use super::traces::{self, ShownCoding};

/// Texts of one chunk, in bytes of JSON.
const CHUNK_BYTES: usize = 2 << 20;

/// A condition, by which a browser finds its samples.
#[derive(Serialize)]
pub(crate) struct ConditionShape {
    run: usize,
    /// Its place in the run's results; absent for conditions of probes, which have no rates.
    position: Option<usize>,
    title: String,
    blocks: Vec<usize>,
    questions: Vec<usize>,
    replicates: u32,
    /// Where it stands in the plot by size.
    size: Option<SizeShape>,
}

/// A subject's size, and the panel that it belongs to.
#[derive(Serialize)]
struct SizeShape {
    value: f64,
    measure: &'static str,
    panel: String,
}

/// Samples that share a prompt up to the question.
#[derive(Serialize)]
pub(crate) struct BlockShape {
    context: usize,
    treatment: String,
    treatment_texts: Vec<(&'static str, String)>,
}

/// A question's name, and its wordings where they may be passed on.
#[derive(Serialize)]
pub(crate) struct QuestionShape {
    pub(crate) name: String,
    wordings: Option<Vec<String>>,
    /// What a probe accepts, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<String>,
}

/// A context: its text within the page, a page of its own, or a reference to what it was made of.
#[derive(Clone, Serialize)]
pub(crate) struct ContextShape {
    pub(crate) shots: u32,
    pub(crate) placement: &'static str,
    pub(crate) characters: usize,
    pub(crate) href: Option<String>,
    pub(crate) reference: Option<String>,
}

/// Where a context is stored.
pub(crate) struct ContextSource {
    pub(crate) run: usize,
    pub(crate) row: i64,
}

/// One entry for each sample in every list.
#[derive(Clone, Default, Serialize)]
pub(crate) struct Columns {
    id: Vec<String>,
    block: Vec<usize>,
    question: Vec<usize>,
    replicate: Vec<u32>,
    alignment: Vec<Option<f64>>,
    coherence: Vec<Option<f64>>,
    /// 0: both scores are there; else one more than the place among [`NoVerdict::ALL`].
    verdict: Vec<u8>,
    truncated: Vec<u8>,
    /// Of samples whose trace has labels: their places among [`Index::labels`].
    codes: BTreeMap<usize, Vec<usize>>,
    /// What answers to probes come to.
    probed: BTreeMap<usize, &'static str>,
}

impl Columns {
    pub(crate) fn len(&self) -> usize {
        self.block.len()
    }

    fn push(
        &mut self,
        block: usize,
        question: usize,
        replicate: u32,
        id: String,
        verdict: Verdict,
        truncated: bool,
    ) {
        let (alignment, coherence) = match verdict {
            Verdict::Scored { alignment, coherence } => (Some(alignment), Some(coherence)),
            Verdict::CoherenceOnly { coherence, .. } => (None, Some(coherence)),
            Verdict::None(_) => (None, None),
        };
        let reason =
            verdict.reason().and_then(|reason| (1..).zip(NoVerdict::ALL).find(|one| one.1 == reason));
        self.id.push(id);
        self.block.push(block);
        self.question.push(question);
        self.replicate.push(replicate);
        self.alignment.push(alignment);
        self.coherence.push(coherence);
        self.verdict.push(reason.map_or(0, |(code, _)| code));
        self.truncated.push(u8::from(truncated));
    }

    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        fn cut<T: Clone>(values: &[T], range: &Range<usize>) -> Vec<T> {
            values.get(range.clone()).map(<[T]>::to_vec).unwrap_or_default()
        }
        Self {
            id: cut(&self.id, &range),
            block: cut(&self.block, &range),
            question: cut(&self.question, &range),
            replicate: cut(&self.replicate, &range),
            alignment: cut(&self.alignment, &range),
            coherence: cut(&self.coherence, &range),
            verdict: cut(&self.verdict, &range),
            truncated: cut(&self.truncated, &range),
            codes: self
                .codes
                .range(range.clone())
                .map(|(sample, labels)| (sample - range.start, labels.clone()))
                .collect(),
            probed: self
                .probed
                .range(range.clone())
                .map(|(sample, &what)| (sample - range.start, what))
                .collect(),
        }
    }
}

/// Texts of some samples, as inert JSON.
pub(crate) struct Chunk {
    pub(crate) range: Range<usize>,
    pub(crate) json: String,
}

/// Whether texts are wanted beside the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    Wanted,
    LeftOut,
}

/// A run whose conditions are being gone through.
struct Drawn<'a> {
    run: &'a Run,
    number: usize,
    treatments: BTreeMap<i64, TreatmentTexts>,
    include_restricted: bool,
}

/// Everything but the texts.
pub(crate) struct Index {
    pub(crate) conditions: Vec<ConditionShape>,
    pub(crate) blocks: Vec<BlockShape>,
    pub(crate) questions: Vec<QuestionShape>,
    pub(crate) contexts: Vec<ContextShape>,
    pub(crate) context_sources: Vec<ContextSource>,
    /// Labels that traces have, by name.
    pub(crate) labels: Vec<String>,
    keys: HashMap<(usize, i64, i64, i64), usize>,
    question_keys: HashMap<(usize, i64), usize>,
    /// The most answers of a block and question that any condition takes.
    wanted: HashMap<(usize, usize), u32>,
}

impl Index {
    /// Conditions, blocks, questions and contexts of all runs, without a sample.
    pub(crate) fn new(
        runs: &[Run],
        places: &[Place<'_>],
        include_restricted: bool,
    ) -> Result<Self, ReportError> {
        let mut index = Self {
            conditions: Vec::new(),
            blocks: Vec::new(),
            questions: Vec::new(),
            contexts: Vec::new(),
            context_sources: Vec::new(),
            labels: runs
                .iter()
                .filter_map(|run| run.traces.as_ref())
                .flat_map(|traces| traces.code_book.labels.iter().map(|label| label.id.clone()))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            keys: HashMap::new(),
            question_keys: HashMap::new(),
            wanted: HashMap::new(),
        };
        let several = runs.len() > 1;
        let mut contexts: HashMap<(usize, i64), usize> = HashMap::new();
        let mut all = Vec::with_capacity(runs.len());
        for (number, run) in runs.iter().enumerate() {
            all.push(Drawn { run, number, treatments: run.reader.treatment_texts()?, include_restricted });
        }
        for drawn in &all {
            let run = drawn.run;
            for (position, condition) in run.conditions.iter().enumerate() {
                let place =
                    places.iter().find(|place| std::ptr::eq(place.run, run) && place.position == position);
                let title = place.map(|place| super::model::title(place, several)).unwrap_or_default();
                let size = place.and_then(|place| {
                    let (family, value, measure) = run.size(&place.result.subject)?;
                    let panel = super::figures::size_panel(place, &family, several);
                    Some(SizeShape { value, measure, panel })
                });
                let shape = index.condition(drawn, condition, &mut contexts)?;
                index.conditions.push(ConditionShape { position: Some(position), title, size, ..shape });
            }
        }
        // Behind those of all runs, so that the others are where tables say that they are.
        for drawn in &all {
            for probed in &drawn.run.probed {
                let shape = index.condition(drawn, &probed.condition, &mut contexts)?;
                let title = super::probes::title(drawn.run, probed, several);
                index.conditions.push(ConditionShape { title, ..shape });
            }
        }
        Ok(index)
    }

    /// A condition's questions, contexts and blocks; those that are new are added.
    fn condition(
        &mut self,
        drawn: &Drawn<'_>,
        condition: &ConditionRow,
        contexts: &mut HashMap<(usize, i64), usize>,
    ) -> Result<ConditionShape, ReportError> {
        let &Drawn { run, number, ref treatments, include_restricted } = drawn;
        let may_share_questions = include_restricted || run.may_share_questions();
        let mut questions = Vec::new();
        for &(row, is_sampled, _) in &condition.questions {
            if is_sampled {
                questions.push(self.question(run, number, row, may_share_questions));
            }
        }
        let mut blocks = Vec::new();
        for (draw, &row) in (0_u32..).zip(&condition.contexts) {
            let known = contexts.get(&(number, row)).copied();
            let context = if let Some(known) = known {
                known
            } else {
                let may_share =
                    condition.shots == 0 || include_restricted || run.may_share(&condition.demonstrations);
                self.contexts.push(context_shape(run, condition, draw, row, may_share)?);
                self.context_sources.push(ContextSource { run: number, row });
                contexts.insert((number, row), self.contexts.len() - 1);
                self.contexts.len() - 1
            };
            let key = (number, condition.subject, row, condition.treatment);
            let block = *self.keys.entry(key).or_insert_with(|| {
                self.blocks.push(BlockShape {
                    context,
                    treatment: condition.treatment_name.clone(),
                    treatment_texts: treatments
                        .get(&condition.treatment)
                        .map(shown_texts)
                        .unwrap_or_default(),
                });
                self.blocks.len() - 1
            });
            blocks.push(block);
            for &question in &questions {
                let most = self.wanted.entry((block, question)).or_insert(0);
                *most = (*most).max(condition.replicates);
            }
        }
        Ok(ConditionShape {
            run: number,
            position: None,
            title: String::new(),
            blocks,
            questions,
            replicates: condition.replicates,
            size: None,
        })
    }

    fn question(&mut self, run: &Run, number: usize, row: i64, may_share: bool) -> usize {
        *self.question_keys.entry((number, row)).or_insert_with(|| {
            self.questions.push(QuestionShape {
                name: run.questions.get(&row).cloned().unwrap_or_default(),
                wordings: run.wordings.get(&row).filter(|_| may_share).cloned(),
                accepted: run.probe_questions.get(&row).map(super::probes::accepted),
            });
            self.questions.len() - 1
        })
    }

    /// The place of a sample's block and question, where a condition asks for it.
    fn place(
        &self,
        run: usize,
        key: (i64, i64, i64),
        question: i64,
        replicate: u32,
    ) -> Option<(usize, usize)> {
        let block = *self.keys.get(&(run, key.0, key.1, key.2))?;
        let question = *self.question_keys.get(&(run, question))?;
        let most = *self.wanted.get(&(block, question))?;
        (replicate < most).then_some((block, question))
    }

    /// Adds the samples of all runs. Texts are handed out chunk by chunk, each with the samples that it is of.
    pub(crate) fn fill(
        &self,
        runs: &[Run],
        texts: Texts,
        columns: &mut Columns,
        mut take: impl FnMut(&Columns, Chunk) -> Result<(), ReportError>,
    ) -> Result<(), ReportError> {
        let mut chunk = String::new();
        let mut start = 0;
        for (number, run) in runs.iter().enumerate() {
            let has_judge = run.experiment.judge.is_some();
            let judge_failed = run.experiment.judge_failed(&run.failures);
            let codings = traces::codings(&run.reader, run.traces.as_ref())?;
            if texts == Texts::LeftOut {
                run.reader.for_each_sample(&run.experiment, |row| {
                    let failed = judge_failed.contains(&row.response);
                    if self.add(columns, number, run, &row, String::new(), row.verdict(has_judge, failed)) {
                        self.add_codes(columns, codings.get(&row.response));
                    }
                })?;
            } else {
                run.reader.for_each_transcript::<ReportError>(&run.experiment, |transcript| {
                    let row = transcript.sample;
                    let verdict = row.verdict(has_judge, judge_failed.contains(&row.response));
                    if self.add(columns, number, run, &row, transcript.id.to_string(), verdict) {
                        let codings = codings.get(&row.response);
                        self.add_codes(columns, codings);
                        let parts = if transcript.is_composed {
                            run.reader.parts_of(row.response)?
                        } else {
                            Vec::new()
                        };
                        let codings = codings.map_or(&[][..], Vec::as_slice);
                        push(&mut chunk, &texts_of(&transcript, codings, parts)?);
                        if chunk.len() > CHUNK_BYTES {
                            hand_out(columns, &mut chunk, &mut start, &mut take)?;
                        }
                    }
                    Ok(())
                })?;
            }
            for failure in &run.failures {
                let Some((subject, context, treatment, question, replicate)) = failure.sample else {
                    continue;
                };
                let key = (subject, context, treatment);
                let Some((block, question)) = self.place(number, key, question, replicate) else { continue };
                columns.push(
                    block,
                    question,
                    replicate,
                    String::new(),
                    Verdict::None(NoVerdict::Error),
                    false,
                );
                if texts == Texts::Wanted {
                    push(
                        &mut chunk,
                        &serde_json::to_string(&Failed { failed: (&failure.kind, &failure.message) })?,
                    );
                }
            }
        }
        if !chunk.is_empty() {
            hand_out(columns, &mut chunk, &mut start, &mut take)?;
        }
        Ok(())
    }

    /// Adds the labels of the newest sample's trace.
    fn add_codes(&self, columns: &mut Columns, codings: Option<&Vec<ShownCoding>>) {
        let held: BTreeSet<usize> = codings
            .into_iter()
            .flatten()
            .flat_map(ShownCoding::held)
            .filter_map(|label| self.labels.iter().position(|known| known == label))
            .collect();
        if let Some(sample) = columns.len().checked_sub(1).filter(|_| !held.is_empty()) {
            columns.codes.insert(sample, held.into_iter().collect());
        }
    }

    /// Adds a stored answer; false where no condition asks for it.
    fn add(
        &self,
        columns: &mut Columns,
        number: usize,
        run: &Run,
        row: &SampleRow,
        id: String,
        verdict: Verdict,
    ) -> bool {
        let key = (row.subject, row.context, row.treatment);
        let Some((block, question)) = self.place(number, key, row.question, row.replicate) else {
            return false;
        };
        if let Some(came_to) = run.useful.get(&row.response) {
            columns.probed.insert(columns.len(), came_to.name());
        }
        columns.push(block, question, row.replicate, id, verdict, row.truncated);
        true
    }
}

fn hand_out(
    columns: &Columns,
    chunk: &mut String,
    start: &mut usize,
    take: &mut impl FnMut(&Columns, Chunk) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    chunk.push(']');
    let end = columns.len();
    take(columns, Chunk { range: *start..end, json: embed::inert(chunk) })?;
    *start = end;
    chunk.clear();
    Ok(())
}

fn push(chunk: &mut String, json: &str) {
    chunk.push(if chunk.is_empty() { '[' } else { ',' });
    chunk.push_str(json);
}

fn context_shape(
    run: &Run,
    condition: &ConditionRow,
    draw: u32,
    row: i64,
    may_share: bool,
) -> Result<ContextShape, StoreError> {
    let context = run.reader.context(row)?;
    let reference = (!may_share).then(|| {
        let set = run
            .data_sets
            .iter()
            .find(|set| set.kind == "demonstrations" && set.name == condition.demonstrations);
        let rows = run
            .sources
            .get(&(condition.id, draw))
            .map(|rows| rows.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
        format!(
            "{} demonstrations of the set {} ({}; hash of its rows {}), {} answers: rows {}",
            condition.shots,
            condition.demonstrations,
            set.map_or("origin unknown", |set| set.origin.as_str()),
            set.map_or_else(|| "unknown".to_owned(), |set| set.hash.to_string()),
            if condition.control == "none" { "misaligned" } else { condition.control.as_str() },
            rows.as_deref().unwrap_or("unknown"),
        )
    });
    Ok(ContextShape {
        shots: condition.shots,
        placement: condition.placement.name(),
        characters: context.characters(),
        href: None,
        reference,
    })
}

/// What a treatment puts into a prompt, each text with its place.
fn shown_texts(texts: &TreatmentTexts) -> Vec<(&'static str, String)> {
    let TreatmentTexts { instruction, after_examples, after_question } = texts;
    [
        ("in the system message", instruction),
        ("between demonstrations and question", after_examples),
        ("behind the question", after_question),
    ]
    .into_iter()
    .filter_map(|(place, text)| Some((place, text.as_deref()?.to_owned())))
    .collect()
}
