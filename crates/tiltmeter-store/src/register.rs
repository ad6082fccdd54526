//! Writes down what an experiment is, before anything is asked.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tiltmeter_core::experiment::Experiment;
use tiltmeter_core::id::{Canonical, ContentId};
use tiltmeter_core::plan::Plan;
use tiltmeter_core::procedure::{Procedure, SelfCheck, SubsampleVote};
use tiltmeter_core::prompt::RenderedContext;
use tiltmeter_core::treatment::Treatment;
use tiltmeter_core::verdict::{Aspect, RateDefinition};

use crate::directory::RunDirectory;
use crate::error::StoreError;
use crate::rows::{InvocationEnd, count, row_of};
use crate::schema::open_for_writing;
use crate::screening::ScreenRow;

/// Contexts are compressed well, not hard: they are written once.
const COMPRESSION_LEVEL: i32 = 9;

/// A model as it is written down: without keys.
#[derive(Clone, Debug)]
pub struct ModelRecord {
    /// `provider/model`.
    pub model: String,
    /// Settings as JSON.
    pub settings: serde_json::Value,
    /// What is known of the model itself, such as the hash of its weights.
    pub description: Option<serde_json::Value>,
}

/// The judge's prompts for one question, by which its answers are scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgePromptTexts {
    /// For alignment.
    pub alignment: std::sync::Arc<str>,
    /// For coherence.
    pub coherence: std::sync::Arc<str>,
}

/// All that is written down of one start.
#[derive(Debug)]
pub struct Registration<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its plan.
    pub plan: &'a Plan,
    /// The experiment file as written.
    pub source: &'a str,
    /// The subjects, in the experiment's order.
    pub subjects: Vec<ModelRecord>,
    /// How treatments steer subjects, by their indices: what was done to the model, as JSON.
    pub steering: Vec<(usize, usize, serde_json::Value)>,
    /// The judge.
    pub judge: Option<ModelRecord>,
    /// The judge's prompts, by question; empty without a judge.
    pub prompts: Vec<JudgePromptTexts>,
    /// Rows of the filters' models, in the experiment's order.
    pub screens: Vec<ScreenRow>,
    /// Hashes of the guards, in the experiment's order, as their findings are stored under.
    pub guards: Vec<ContentId>,
    /// Version of the program.
    pub version: &'a str,
    /// Now, RFC 3339.
    pub now: String,
}

/// The rows under which things were written down, in the order of the experiment or plan.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// Row of the experiment.
    pub experiment: i64,
    /// Row of this invocation.
    pub invocation: i64,
    /// Rows of the subjects.
    pub subjects: Vec<i64>,
    /// Rows of the plan's contexts.
    pub contexts: Vec<i64>,
    /// Rows of the plan's conditions.
    pub conditions: Vec<i64>,
    /// Rows of the treatments.
    pub treatments: Vec<i64>,
    /// Rows of what the parts of answers under each treatment are asked with: the same row where an answer is one call.
    pub parts_under: Vec<i64>,
    /// Rows of the questions.
    pub questions: Vec<i64>,
    /// Rows of each question's answer pairs.
    pub pairs: Vec<Vec<i64>>,
    /// Row of the judge.
    pub judge: Option<i64>,
    /// Rows and hashes of the judge's prompts by question: alignment, coherence.
    pub prompts: Vec<[(i64, ContentId); 2]>,
}

impl Registration<'_> {
    /// Writes everything in one transaction. What is there already keeps its row.
    ///
    /// # Errors
    /// If the store cannot be opened or written.
    pub fn write(&self, directory: &RunDirectory) -> Result<Registered, StoreError> {
        let mut connection = open_for_writing(&directory.store_path())?;
        let transaction = connection.transaction()?;
        let mut rows = Registered::default();
        self.models(&transaction, &mut rows)?;
        self.questions(&transaction, &mut rows)?;
        rows.experiment = self.experiment(&transaction, &rows)?;
        transaction.execute(
            "INSERT INTO invocation (experiment, version, started_at) VALUES (?1, ?2, ?3)",
            params![rows.experiment, self.version, self.now],
        )?;
        rows.invocation = transaction.last_insert_rowid();
        for &spec in &self.plan.contexts {
            let context = self.experiment.render(spec);
            rows.contexts.push(write_context(&transaction, &context)?);
        }
        self.conditions(&transaction, &mut rows)?;
        transaction.commit()?;
        Ok(rows)
    }

    fn models(&self, connection: &Transaction<'_>, rows: &mut Registered) -> Result<(), StoreError> {
        for (subject, record) in self.experiment.subjects.iter().zip(&self.subjects) {
            let description = record.description.as_ref().map(ToString::to_string);
            let row = find_or_insert(
                connection,
                "subject",
                subject.hash,
                "INSERT INTO subject (hash, name, model, settings, description) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    subject.hash.as_bytes(),
                    &*subject.id,
                    record.model,
                    record.settings.to_string(),
                    description,
                ],
            )?;
            rows.subjects.push(row);
        }
        if let (Some(judge), Some(record)) = (&self.experiment.judge, &self.judge) {
            rows.judge = Some(find_or_insert(
                connection,
                "judge",
                judge.hash,
                "INSERT INTO judge (hash, model, settings) VALUES (?1, ?2, ?3)",
                params![judge.hash.as_bytes(), record.model, record.settings.to_string()],
            )?);
        }
        for treatment in &self.experiment.treatments {
            rows.treatments.push(write_treatment(connection, treatment)?);
            rows.parts_under.push(write_treatment(connection, &treatment.of_parts())?);
        }
        for (subject, treatment, steering) in &self.steering {
            connection.execute(
                "INSERT OR IGNORE INTO steered_under (subject, treatment, steering) VALUES (?1, ?2, ?3)",
                params![rows.subjects[*subject], rows.treatments[*treatment], steering.to_string()],
            )?;
        }
        Ok(())
    }

    fn questions(&self, connection: &Transaction<'_>, rows: &mut Registered) -> Result<(), StoreError> {
        for question in &self.experiment.questions {
            let hash = question.hash();
            let wordings = serde_json::to_string(&question.paraphrases)?;
            let row = find_or_insert(
                connection,
                "question",
                hash,
                "INSERT INTO question (hash, name, area, domain, system, wordings) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    hash.as_bytes(),
                    &*question.id,
                    question.area.as_deref(),
                    question.domain.map(tiltmeter_core::demonstration::Domain::name),
                    question.system.as_deref(),
                    wordings,
                ],
            )?;
            rows.questions.push(row);
            let mut pairs = Vec::new();
            for pair in &question.pairs {
                let hash = Canonical::new("tiltmeter.pair/1")
                    .id(&question.hash())
                    .text(pair.kind.name())
                    .text(&pair.tilted)
                    .text(&pair.upright)
                    .finish();
                pairs.push(find_or_insert(
                    connection,
                    "answer_pair",
                    hash,
                    "INSERT INTO answer_pair (hash, question, kind, tilted, upright) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![hash.as_bytes(), row, pair.kind.name(), &*pair.tilted, &*pair.upright],
                )?);
            }
            rows.pairs.push(pairs);
        }
        for texts in &self.prompts {
            let alignment = write_prompt(connection, &texts.alignment)?;
            let coherence = write_prompt(connection, &texts.coherence)?;
            rows.prompts.push([alignment, coherence]);
        }
        Ok(())
    }

    /// What tells an experiment from others: all that its results depend on.
    fn identity(&self, resolved: &str, rows: &Registered) -> ContentId {
        let mut canonical = Canonical::new("tiltmeter.experiment/1").text(resolved);
        for set in &self.experiment.sets {
            canonical = canonical.id(&set.hash);
        }
        for (_, hash) in &self.experiment.question_sets {
            canonical = canonical.id(hash);
        }
        for probe in &self.experiment.usefulness.probes {
            canonical = canonical.id(&probe.hash);
        }
        for prompts in &rows.prompts {
            canonical = canonical.id(&prompts[0].1).id(&prompts[1].1);
        }
        // Which subjects give log-probabilities decides what is planned, so it belongs to the identity.
        for condition in &self.plan.conditions {
            canonical = canonical.integer(condition.scored.len() as u64);
        }
        // Which demonstrations are shown goes by what these said.
        for screen in &self.experiment.screens {
            canonical = canonical.id(&screen.model.hash).text(&screen.prompt);
        }
        for guard in &self.guards {
            canonical = canonical.id(guard);
        }
        canonical.finish()
    }

    fn experiment(&self, connection: &Transaction<'_>, rows: &Registered) -> Result<i64, StoreError> {
        let resolved = serde_json::to_string(&self.experiment.file)?;
        let hash = self.identity(&resolved, rows);
        let definition =
            self.experiment.judge.as_ref().map_or_else(RateDefinition::default, |judge| judge.definition);
        let notes = serde_json::to_string(&self.experiment.notes)?;
        // An experiment that is run again becomes the newest, so that tables are those of the last start.
        let old: Option<i64> = connection
            .query_row("SELECT id FROM experiment WHERE hash = ?1", params![hash.as_bytes()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(row) = old {
            return Ok(row);
        }
        connection.execute(
            "INSERT INTO experiment (hash, name, source, resolved, judge, misaligned_below, coherent_from,
                 denominator, notes, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                hash.as_bytes(),
                self.experiment.name,
                self.source,
                resolved,
                rows.judge,
                definition.misaligned_below,
                definition.coherent_from,
                definition.denominator.name(),
                notes,
                self.now,
            ],
        )?;
        let experiment = connection.last_insert_rowid();
        let mut insert = connection.prepare(
            "INSERT INTO data_set (experiment, kind, name, origin, hash, rows, terms, share)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for (index, set) in self.experiment.sets.iter().enumerate() {
            let rows = count(set.rows.len() as u64);
            let kind = if self.experiment.probe_of(index).is_some() { "probe" } else { "demonstrations" };
            insert.execute(params![
                experiment,
                kind,
                &*set.name,
                set.origin,
                set.hash.as_bytes(),
                rows,
                set.terms.as_ref().map(|terms| &*terms.name),
                set.terms.as_ref().is_none_or(|terms| terms.share)
            ])?;
        }
        for (origin, hash) in &self.experiment.question_sets {
            let rows = count(self.experiment.evaluation_questions().len() as u64);
            let terms = self.experiment.question_terms.get(origin);
            insert.execute(params![
                experiment,
                "questions",
                origin,
                origin,
                hash.as_bytes(),
                rows,
                terms.map(|terms| &*terms.name),
                terms.is_none_or(|terms| terms.share)
            ])?;
        }
        self.treatments(connection, experiment)?;
        let mut insert =
            connection.prepare("INSERT OR IGNORE INTO experiment_pair (experiment, pair) VALUES (?1, ?2)")?;
        for (question, pairs) in self.experiment.questions.iter().zip(&rows.pairs) {
            for (index, _) in self.experiment.scored_pairs(question) {
                insert.execute(params![experiment, pairs[index]])?;
            }
        }
        let mut insert = connection.prepare(
            "INSERT INTO experiment_prompt (experiment, question, aspect, prompt) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (question, prompts) in rows.questions.iter().zip(&rows.prompts) {
            for (aspect, (prompt, _)) in Aspect::ALL.into_iter().zip(prompts) {
                insert.execute(params![experiment, question, aspect.name(), prompt])?;
            }
        }
        crate::usefulness::write_expectations(connection, experiment, self.experiment, &rows.questions)?;
        Ok(experiment)
    }

    fn treatments(&self, connection: &Transaction<'_>, experiment: i64) -> Result<(), StoreError> {
        let mut insert = connection.prepare(
            "INSERT INTO experiment_treatment (experiment, ord, name, built_in, does, texts, judge, prompt, guard,
                 guard_detectors)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for (ord, treatment) in (0_u32..).zip(&self.experiment.treatments) {
            let filter = treatment.reshaping.filter.as_ref();
            let screen = filter.and_then(|filter| self.screens.get(filter.screen));
            let guard = treatment.reshaping.guard.as_ref().map(|guarding| guarding.guard);
            let detectors = guard
                .and_then(|guard| self.experiment.guards.get(guard))
                .map(tiltmeter_core::guarding::Guard::names);
            let mut texts = treatment.texts();
            if let Some(screen) = filter.and_then(|filter| self.experiment.screens.get(filter.screen)) {
                texts.insert(0, ("asked of each demonstration", screen.prompt.clone()));
            }
            insert.execute(params![
                experiment,
                ord,
                &*treatment.id,
                treatment.is_built_in,
                serde_json::to_string(&treatment.describe())?,
                serde_json::to_string(&texts.iter().map(|(name, text)| (name, &**text)).collect::<Vec<_>>())?,
                screen.map(|screen| screen.judge),
                screen.map(|screen| screen.prompt),
                guard.and_then(|guard| self.guards.get(guard)).map(ContentId::as_bytes),
                detectors.as_ref().map(serde_json::to_string).transpose()?,
            ])?;
        }
        Ok(())
    }

    fn conditions(&self, connection: &Transaction<'_>, rows: &mut Registered) -> Result<(), StoreError> {
        rows.conditions = connection
            .prepare("SELECT id FROM condition WHERE experiment = ?1 ORDER BY ord")?
            .query_map(params![rows.experiment], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if !rows.conditions.is_empty() {
            return Ok(());
        }
        let mut insert_context = connection.prepare(
            "INSERT INTO condition_context (condition, draw, context, rows, dropped, without_score, risk, risk_score,
                 guard_cut, guard_actions) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let mut insert_question = connection.prepare(
            "INSERT INTO condition_question (condition, question, sampled, scored) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (ord, condition) in self.plan.conditions.iter().enumerate() {
            let subject = &self.experiment.subjects[condition.subject];
            connection.execute(
                "INSERT INTO condition (experiment, ord, subject, demonstrations, control, shots, placement,
                     question_format, treatment, reasoning, replicates, treatment_name)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                params![
                    rows.experiment,
                    count(ord as u64),
                    rows.subjects[condition.subject],
                    &*self.experiment.sets[condition.set].name,
                    condition.control.name(),
                    condition.shots,
                    condition.placement.name(),
                    self.experiment.question_format.name(),
                    rows.treatments[condition.treatment],
                    subject.reasoning.name(),
                    self.experiment.replicates_for(condition.purpose),
                    &*self.experiment.treatments[condition.treatment].id,
                ],
            )?;
            let id = connection.last_insert_rowid();
            rows.conditions.push(id);
            crate::usefulness::write_condition(connection, id, self.experiment, condition)?;
            let filters = self.experiment.treatments[condition.treatment].reshaping.filter.is_some();
            let counts = self.experiment.reshaping_counts(condition);
            let guarded = self.experiment.guarded_contexts(condition);
            // Draws that come to the same have one context, and a row each.
            let of_draws = (0_u32..).zip(&condition.contexts).zip(counts).zip(guarded);
            for (((draw, &context), counts), guarded) in of_draws {
                let guarded = guarded.as_ref();
                let spec = self.plan.contexts[context];
                let (dropped, without_score) =
                    filters.then_some((counts.dropped, counts.without_score)).unzip();
                let shown: Vec<usize> =
                    self.experiment.demonstrations(spec).into_iter().map(|(_, _, row)| row).collect();
                let shown = serde_json::to_string(&shown)?;
                let actions =
                    guarded.map(|one| one.actions.iter().map(|action| action.name()).collect::<Vec<_>>());
                insert_context.execute(params![
                    id,
                    draw,
                    rows.contexts[context],
                    shown,
                    dropped,
                    without_score,
                    guarded.map(|one| one.risk.name()),
                    guarded.map(|one| one.score),
                    guarded.map(|one| one.cut),
                    actions.as_ref().map(serde_json::to_string).transpose()?,
                ])?;
            }
            let mut uses: HashMap<usize, (bool, bool)> = HashMap::new();
            for &question in &condition.sampled {
                uses.entry(question).or_default().0 = true;
            }
            for &question in &condition.scored {
                uses.entry(question).or_default().1 = true;
            }
            let mut uses: Vec<_> = uses.into_iter().collect();
            uses.sort_unstable();
            for (question, (sampled, scored)) in uses {
                insert_question.execute(params![id, rows.questions[question], sampled, scored])?;
            }
        }
        Ok(())
    }

    /// Writes how an invocation ended.
    ///
    /// # Errors
    /// If the store cannot be opened or written.
    pub fn end(directory: &RunDirectory, invocation: i64, end: &InvocationEnd) -> Result<(), StoreError> {
        let connection = open_for_writing(&directory.store_path())?;
        connection.execute(
            "UPDATE invocation SET ended_at = ?2, end = ?3, asked = ?4, reused = ?5, attempts = ?6, cost_usd = ?7,
                 timing = ?8 WHERE id = ?1",
            params![
                invocation,
                end.ended_at,
                end.end,
                count(end.asked),
                count(end.reused),
                count(end.attempts),
                end.cost_usd,
                end.timing
            ],
        )?;
        Ok(())
    }
}

pub(crate) fn find_or_insert(
    connection: &Connection,
    table: &str,
    hash: ContentId,
    insert: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<i64, StoreError> {
    if let Some(row) = row_of(connection, table, hash)? {
        return Ok(row);
    }
    connection.prepare_cached(insert)?.execute(values)?;
    Ok(connection.last_insert_rowid())
}

pub(crate) fn write_treatment(connection: &Connection, treatment: &Treatment) -> Result<i64, StoreError> {
    let hash = treatment.hash();
    let marks = treatment.elicitation.as_ref().map(|one| serde_json::to_string(&one.marks)).transpose()?;
    find_or_insert(
        connection,
        "treatment",
        hash,
        "INSERT INTO treatment (hash, name, text, after_examples, after_question, reasoning_marks, procedure)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            hash.as_bytes(),
            &*treatment.instruction.id,
            treatment.instruction.text.as_deref(),
            treatment.after_examples.as_deref(),
            treatment.elicitation.as_ref().map(|one| &*one.text),
            marks,
            treatment.procedure.as_ref().map(|procedure| procedure_text(procedure).to_string()),
        ],
    )
}

fn procedure_text(procedure: &Procedure) -> serde_json::Value {
    match procedure {
        Procedure::SubsampleVote(SubsampleVote { draws, share }) => {
            serde_json::json!({ "kind": procedure.name(), "draws": draws, "share": share })
        }
        Procedure::SelfCheck(SelfCheck { attempts, wording, withheld }) => serde_json::json!({
            "kind": procedure.name(),
            "attempts": attempts,
            "wording": &**wording,
            "withheld": &**withheld,
        }),
    }
}

pub(crate) fn write_prompt(connection: &Connection, text: &str) -> Result<(i64, ContentId), StoreError> {
    let hash = tiltmeter_core::id::text_hash(text);
    let row = find_or_insert(
        connection,
        "judge_prompt",
        hash,
        "INSERT INTO judge_prompt (hash, text) VALUES (?1, ?2)",
        params![hash.as_bytes(), text],
    )?;
    Ok((row, hash))
}

pub(crate) fn write_context(connection: &Connection, context: &RenderedContext) -> Result<i64, StoreError> {
    if let Some(row) = row_of(connection, "context", context.id)? {
        return Ok(row);
    }
    let text = zstd::encode_all(context.text.as_bytes(), COMPRESSION_LEVEL)?;
    let turns: Vec<(&str, &str)> = context.turns.iter().map(|turn| (turn.role.name(), &*turn.text)).collect();
    let turns = zstd::encode_all(serde_json::to_string(&turns)?.as_bytes(), COMPRESSION_LEVEL)?;
    connection
        .prepare_cached(
            "INSERT INTO context (hash, placement, question_format, text, turns, note, withheld)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            context.id.as_bytes(),
            context.placement.name(),
            context.question_format.name(),
            text,
            turns,
            context.note.as_deref(),
            context.withheld.as_deref()
        ])?;
    Ok(connection.last_insert_rowid())
}
