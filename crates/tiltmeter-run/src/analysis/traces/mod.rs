//! What codings of traces come to.

mod draw;
mod shares;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use indexmap::{IndexMap, IndexSet};
use tiltmeter_agreement::label_agreement;
use tiltmeter_core::id::ContentId;
use tiltmeter_core::treatment::ReasoningKind;
use tiltmeter_judge::{CodeBook, CodeRole, CodingOutcome, LabelState};
use tiltmeter_store::{
    CodeBookRow, CoderRow, CodingFailureRow, CodingRow, ConditionRow, ExperimentRow, PersonCodeKind,
    PersonCodeRow, Reader, ResponseOutcome, SampleRow, StoreError, TraceInfo, TraceItemRow, coding_hash,
};

pub use self::draw::{TraceDrawError, draw_traces};

use self::draw::coherent;
use super::judges::cluster_of;
use super::samples::Members;
use super::{AnalysisError, statistics};
use crate::results::FailureCount;
use crate::traces::{
    CodeBookResult, CoderResult, HARM_JUSTIFIED_BY_PERSONA, PERSONA_LABELLED, PublishedShare, SideCounts,
    TraceCounts, TraceResults,
};

/// What a coder says of one trace, column by column.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Whether the column's label applies.
    held: Vec<bool>,
    /// Whether it was given without a quote that holds, and does not apply.
    void: Vec<bool>,
}

/// A drawn trace in its place.
pub(super) struct Drawn {
    misaligned: bool,
    /// Of its question.
    cluster: u32,
    /// Places of the conditions that the answer serves.
    conditions: Vec<usize>,
    /// By coder; `None`: not coded.
    said: Vec<Option<Said>>,
}

/// What is asked of each trace: the labels, and what headline figures make of them.
pub(super) struct Columns {
    labels: usize,
    persona: Vec<usize>,
    harm: Vec<usize>,
}

impl Columns {
    fn new(book: &CodeBook) -> Self {
        Self {
            labels: book.labels.len(),
            persona: book.with_role(CodeRole::Persona),
            harm: book.with_role(CodeRole::HarmRecognised),
        }
    }

    fn has_persona(&self) -> bool {
        !self.persona.is_empty()
    }

    fn has_both(&self) -> bool {
        self.has_persona() && !self.harm.is_empty()
    }

    /// The names of all columns.
    fn names(book: &CodeBook) -> Vec<String> {
        let mut names: Vec<String> = book.labels.iter().map(|label| label.id.clone()).collect();
        names.extend([PERSONA_LABELLED, HARM_JUSTIFIED_BY_PERSONA].map(str::to_owned));
        names
    }

    /// All columns from the labels: those that hold, and those that were given, if only without a quote that holds.
    fn said(&self, held: Vec<bool>, given: Vec<bool>) -> Said {
        let complete = |labels: Vec<bool>| {
            let any =
                |places: &[usize]| places.iter().any(|&place| labels.get(place).copied().unwrap_or(false));
            let persona = any(&self.persona);
            let both = persona && any(&self.harm);
            let mut columns = labels;
            columns.extend([persona, both]);
            columns
        };
        let (held, given) = (complete(held), complete(given));
        let void = held.iter().zip(&given).map(|(held, given)| *given && !held).collect();
        Said { held, void }
    }
}

/// Computes what the codings of a run directory come to, by a code book or else by the one that was used last. `None`
/// where no traces were drawn yet.
///
/// # Errors
/// If the store cannot be read, or holds what cannot be used.
pub fn trace_results(
    directory: &Path,
    book: Option<ContentId>,
) -> Result<Option<TraceResults>, AnalysisError> {
    let reader = Reader::open(directory)?;
    let Some((draw_row, draw)) = reader.trace_draw()? else { return Ok(None) };
    let found = match book {
        Some(hash) => reader.code_books()?.into_iter().find(|row| row.hash == hash),
        None => reader.newest_code_book()?,
    };
    let Some(row) = found else { return Ok(None) };
    let book = stored_book(&row)?;
    let columns = Columns::new(&book);
    let experiment = reader.experiment()?;
    let conditions = reader.conditions(experiment.id)?;
    let items = reader.trace_items(draw_row)?;
    let places: HashMap<i64, usize> =
        items.iter().enumerate().map(|(place, item)| (item.item.response, place)).collect();

    let people = reader.person_codes(row.id)?;
    let codings = reader.codings(row.id)?;
    let failures = reader.coding_failures()?;
    let failed: HashSet<ContentId> = failures.iter().map(|failure| failure.id).collect();
    let mut rows = reader.coders()?;
    rows.retain(|row| {
        let is_failed = |item: &TraceItemRow| failed.contains(&coding_hash(item.sample, row.hash, book.hash));
        codings.iter().any(|coding| coding.coder == row.id) || items.iter().any(is_failed)
    });
    let said = Coders::new(&rows, &people);
    let mut coders = said.models(&codings, &failures, &items, &places, &book);
    coders.extend(said.people(&people, &items, &places));
    let names: Vec<String> = coders.iter().map(|coder| coder.coder.clone()).collect();

    let (mut counts, memberships) = walk(&reader, &experiment, &conditions, &items, &places)?;
    (counts.drawn_at, counts.seed, counts.base_rate) = (draw.created_at.clone(), draw.seed, draw.base_rate);
    let by_trace = said.by_trace(&codings, &people, &places, &book, &columns);
    let mut drawn: Vec<Drawn> = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let Some((cluster, conditions)) = memberships.get(&place) else { continue };
        drawn.push(Drawn {
            misaligned: item.item.misaligned,
            cluster: *cluster,
            conditions: conditions.clone(),
            said: by_trace.get(&place).cloned().unwrap_or_else(|| vec![None; names.len()]),
        });
    }
    let failed = |error| statistics("shares of labels", error);
    let results = shares::shares(&names, &drawn, &conditions, &columns, &book).map_err(failed)?;
    let mut agreement = Vec::new();
    if names.len() > 1 {
        for (column, name) in Columns::names(&book).into_iter().enumerate() {
            let is_meant = match column.checked_sub(columns.labels) {
                None => true,
                Some(0) => columns.has_persona(),
                Some(_) => columns.has_both(),
            };
            if !is_meant {
                continue;
            }
            let of = |said: &Option<Said>| said.as_ref().and_then(|said| said.held.get(column).copied());
            let rows: Vec<(u32, Vec<Option<bool>>)> =
                drawn.iter().map(|trace| (trace.cluster, trace.said.iter().map(of).collect())).collect();
            agreement.push(label_agreement(&name, &names, &rows).map_err(failed)?);
        }
    }
    let judge = experiment.judge.and_then(|judge| reader.judge_models().ok()?.remove(&judge));
    let definition = experiment.definition;
    Ok(Some(TraceResults {
        schema: "tiltmeter.traces/1",
        experiment: experiment.name.clone(),
        judge: judge.unwrap_or_else(|| "no judge".to_owned()),
        definition: format!(
            "misaligned: alignment < {0}, coherence >= {1}; aligned: alignment >= {0}, coherence >= {1}",
            definition.misaligned_below, definition.coherent_from
        ),
        code_book: CodeBookResult { name: book.name.clone(), hash: book.hash, labels: book.labels.clone() },
        notes: notes(&counts, draw.experiment, &experiment, items.len() - drawn.len(), &columns),
        traces: counts,
        coders,
        results,
        agreement,
        published: PublishedShare::PERSONA,
    }))
}

/// A stored code book, read again.
pub(crate) fn stored_book(row: &CodeBookRow) -> Result<CodeBook, StoreError> {
    CodeBook::read(&row.name, &row.source)
        .map_err(|error| StoreError::Damaged { what: format!("the code book `{}`: {error}", row.name) })
}

/// For each place of a drawn trace that is among the experiment's answers: its cluster, and the conditions it serves.
type Memberships = HashMap<usize, (u32, Vec<usize>)>;

/// Counts the answers by what there is of their reasoning, and finds where the drawn ones belong.
fn walk(
    reader: &Reader,
    experiment: &ExperimentRow,
    conditions: &[ConditionRow],
    items: &[TraceItemRow],
    places: &HashMap<i64, usize>,
) -> Result<(TraceCounts, Memberships), StoreError> {
    let members = Members::new(conditions);
    let failed = experiment.judge_failed(&reader.failures()?);
    let traces = reader.traces()?;
    let definition = coherent(experiment.definition);
    let mut counts = TraceCounts {
        drawn_at: String::new(),
        seed: 0,
        base_rate: None,
        misaligned: SideCounts::default(),
        aligned: SideCounts::default(),
        outside: 0,
        kinds: IndexMap::new(),
    };
    let mut memberships = Memberships::new();
    reader.for_each_sample(experiment, |row: SampleRow| {
        let served: Vec<usize> = members.of(&row).collect();
        if served.is_empty() || row.outcome != ResponseOutcome::Answer {
            return;
        }
        let trace = traces.get(&row.response);
        if let Some(&place) = places.get(&row.response) {
            memberships.insert(place, (cluster_of(&row), served.clone()));
            if let Some(TraceInfo::Text(kind)) = trace {
                *counts.kinds.entry(kind.map_or("unknown", ReasoningKind::name)).or_insert(0) += 1;
            }
        }
        let verdict = row.verdict(experiment.judge.is_some(), failed.contains(&row.response));
        let side = match definition.classify(verdict) {
            Some(true) => &mut counts.misaligned,
            Some(false) => &mut counts.aligned,
            None => {
                counts.outside += 1;
                return;
            }
        };
        side.answers += 1;
        match trace {
            Some(TraceInfo::Text(_)) => side.with_trace += 1,
            Some(TraceInfo::Hidden) => side.hidden += 1,
            None if served.iter().any(|&place| conditions[place].asks_for_reasoning) => side.unmarked += 1,
            None => side.no_reasoning += 1,
        }
    })?;
    counts.kinds.sort_unstable_keys();
    for (place, item) in items.iter().enumerate() {
        if memberships.contains_key(&place) {
            (if item.item.misaligned { &mut counts.misaligned } else { &mut counts.aligned }).drawn += 1;
        }
    }
    Ok((counts, memberships))
}

fn notes(
    counts: &TraceCounts,
    drawn_for: i64,
    experiment: &ExperimentRow,
    elsewhere: usize,
    columns: &Columns,
) -> Vec<String> {
    let mut notes = Vec::new();
    if drawn_for != experiment.id {
        notes.push(
            "the traces were drawn when another judge or grid was the newest, and are misaligned or not by that one; \
             `tiltmeter trace RUN` draws them anew"
                .to_owned(),
        );
    } else if counts.misaligned.with_trace > counts.misaligned.drawn {
        notes.push(format!(
            "{} traces of misaligned answers came after the draw; `tiltmeter trace RUN` codes them too",
            counts.misaligned.with_trace - counts.misaligned.drawn
        ));
    }
    if elsewhere > 0 {
        notes.push(format!(
            "{elsewhere} drawn traces belong to no condition of the newest experiment and count nowhere"
        ));
    }
    if counts.base_rate.is_none() {
        notes.push(
            "all aligned traces are coded: their questions are not matched to those of misaligned ones"
                .to_owned(),
        );
    }
    if !columns.has_both() {
        notes.push("the code book gives no label the role `persona`, or none `harm-recognised`: headline figures are left out".to_owned());
    }
    notes
}

/// The coders of a code book: models, then people.
struct Coders<'a> {
    models: Vec<(&'a CoderRow, String)>,
    people: IndexSet<&'a str>,
}

impl<'a> Coders<'a> {
    fn new(rows: &'a [CoderRow], people: &'a [PersonCodeRow]) -> Self {
        let name = |row: &CoderRow| {
            // The same model with other settings is another coder.
            let twins = rows.iter().filter(|other| other.model == row.model).count();
            let hash = row.hash.to_string();
            if twins > 1 {
                format!("{} #{}", row.model, hash.get(..6).unwrap_or_default())
            } else {
                row.model.clone()
            }
        };
        Self {
            models: rows.iter().map(|row| (row, name(row))).collect(),
            people: people.iter().map(|person| person.annotator.as_str()).collect(),
        }
    }

    /// By place of the trace: what each coder says.
    fn by_trace(
        &self,
        codings: &[CodingRow],
        people: &[PersonCodeRow],
        places: &HashMap<i64, usize>,
        book: &CodeBook,
        columns: &Columns,
    ) -> HashMap<usize, Vec<Option<Said>>> {
        let all = self.models.len() + self.people.len();
        let mut by_trace: HashMap<usize, Vec<Option<Said>>> = HashMap::new();
        let mut enter = |response: i64, coder: usize, said: Said| {
            let Some(&place) = places.get(&response) else { return };
            if let Some(slot) = by_trace.entry(place).or_insert_with(|| vec![None; all]).get_mut(coder) {
                *slot = Some(said);
            }
        };
        let marked = |labels: &mut dyn Iterator<Item = &str>| {
            let mut marks = vec![false; book.labels.len()];
            for place in labels.filter_map(|label| book.place(label)) {
                marks[place] = true;
            }
            marks
        };
        for coding in codings.iter().filter(|coding| coding.outcome == CodingOutcome::Coded.name()) {
            let Some(coder) = self.models.iter().position(|(row, _)| row.id == coding.coder) else {
                continue;
            };
            let is_held = |state: &str| state == LabelState::Held.name();
            let labels = |held: bool| {
                let labels = coding.labels.iter().filter(move |label| !held || is_held(&label.state));
                labels.map(|label| label.label.as_str())
            };
            let said = columns.said(marked(&mut labels(true)), marked(&mut labels(false)));
            enter(coding.response, coder, said);
        }
        for person in people {
            let PersonCodeKind::Coded(labels) = &person.kind else { continue };
            let Some(coder) = self.people.get_index_of(person.annotator.as_str()) else { continue };
            let held = marked(&mut labels.iter().map(String::as_str));
            enter(person.response, self.models.len() + coder, columns.said(held.clone(), held));
        }
        by_trace
    }

    fn models(
        &self,
        codings: &[CodingRow],
        failures: &[CodingFailureRow],
        items: &[TraceItemRow],
        places: &HashMap<i64, usize>,
        book: &CodeBook,
    ) -> Vec<CoderResult> {
        let of = |(row, name): &(&CoderRow, String)| {
            let mut result = nothing_said(name, "model", Some(row.hash), items);
            let mut met = 0;
            for coding in codings
                .iter()
                .filter(|coding| coding.coder == row.id && places.contains_key(&coding.response))
            {
                met += 1;
                result.cost_usd += coding.cost_usd.unwrap_or(0.0);
                match CodingOutcome::ALL.into_iter().find(|outcome| outcome.name() == coding.outcome) {
                    Some(CodingOutcome::Coded) | None => result.coded += 1,
                    Some(other) => *result.not_coded.entry(other.name()).or_insert(0) += 1,
                }
                for label in &coding.labels {
                    *match LabelState::ALL.into_iter().find(|state| state.name() == label.state) {
                        Some(LabelState::Held) => &mut result.labels_held,
                        Some(LabelState::NotInTrace) => &mut result.labels_not_in_trace,
                        Some(LabelState::TooShort) => &mut result.labels_too_short,
                        Some(LabelState::Unknown) | None => &mut result.labels_unknown,
                    } += 1;
                }
            }
            let wanted: HashSet<ContentId> =
                items.iter().map(|item| coding_hash(item.sample, row.hash, book.hash)).collect();
            let mut by_kind: IndexMap<&str, FailureCount> = IndexMap::new();
            for failure in failures.iter().filter(|failure| wanted.contains(&failure.id)) {
                by_kind
                    .entry(&failure.kind)
                    .or_insert_with(|| FailureCount {
                        target: "coding".to_owned(),
                        kind: failure.kind.clone(),
                        count: 0,
                        example: failure.message.clone(),
                    })
                    .count += 1;
            }
            let failed: u64 = by_kind.values().map(|failure| failure.count).sum();
            enter_missing(&mut result, met + failed, failed);
            result.failures = by_kind.into_values().collect();
            result
        };
        self.models.iter().map(of).collect()
    }

    fn people(
        &self,
        people: &[PersonCodeRow],
        items: &[TraceItemRow],
        places: &HashMap<i64, usize>,
    ) -> Vec<CoderResult> {
        let of = |name: &&str| {
            let mut result = nothing_said(name, "person", None, items);
            let mut met = 0;
            for person in people
                .iter()
                .filter(|person| person.annotator == **name && places.contains_key(&person.response))
            {
                met += 1;
                match &person.kind {
                    PersonCodeKind::Coded(labels) => {
                        result.coded += 1;
                        result.labels_held += labels.len() as u64;
                    }
                    PersonCodeKind::CannotTell => *result.not_coded.entry("cannot_tell").or_insert(0) += 1,
                }
            }
            enter_missing(&mut result, met, 0);
            result
        };
        self.people.iter().map(of).collect()
    }
}

/// A coder that has not said anything yet.
fn nothing_said(
    coder: &str,
    kind: &'static str,
    hash: Option<ContentId>,
    items: &[TraceItemRow],
) -> CoderResult {
    CoderResult {
        coder: coder.to_owned(),
        kind,
        hash,
        traces: items.len() as u64,
        coded: 0,
        not_coded: IndexMap::new(),
        labels_held: 0,
        labels_not_in_trace: 0,
        labels_too_short: 0,
        labels_unknown: 0,
        cost_usd: 0.0,
        failures: Vec::new(),
    }
}

/// Enters the traces that failed, and those that nobody asked the coder for.
fn enter_missing(result: &mut CoderResult, met: u64, failed: u64) {
    let missing = result.traces.saturating_sub(met);
    for (reason, count) in [("failed", failed), ("missing", missing)] {
        if count > 0 {
            result.not_coded.insert(reason, count);
        }
    }
}
