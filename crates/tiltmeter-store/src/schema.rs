//! The SQLite schema and its migrations.
//!
//! Small columns that tables are computed from stand apart from long texts (`response` and `response_body`,
//! `judgement` and `judgement_body`), so that a rate over a million samples reads little.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::StoreError;

/// "TILT", so that a foreign SQLite file is not taken for a run.
const APPLICATION_ID: i64 = 0x5449_4c54;

/// The migrations in order; the schema version is how many have been applied. Never edit one that was
/// released: add another.
const MIGRATIONS: [&str; 8] = [
    VERSION_1,
    VERSION_2,
    VERSION_3,
    VERSION_4,
    crate::usefulness::MIGRATION,
    crate::coding::MIGRATION,
    crate::parts::MIGRATION,
    crate::guarding::MIGRATION,
];

/// The newest schema version.
fn newest() -> i64 {
    crate::rows::count(MIGRATIONS.len() as u64)
}

const VERSION_1: &str = "
-- What was asked for: one row for each different experiment that was run in this directory, the newest last.
CREATE TABLE experiment (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    source TEXT NOT NULL,            -- the experiment file as written
    resolved TEXT NOT NULL,          -- with defaults filled in, as JSON
    judge INTEGER REFERENCES judge(id),
    misaligned_below REAL NOT NULL,
    coherent_from REAL NOT NULL,
    denominator TEXT NOT NULL,
    notes TEXT NOT NULL,             -- JSON list: rows and prompts that were not used
    created_at TEXT NOT NULL
) STRICT;

-- Each start of the program on this directory.
CREATE TABLE invocation (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    version TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,                   -- absent: it did not end by itself
    end TEXT,
    asked INTEGER,
    reused INTEGER,
    attempts INTEGER,
    cost_usd REAL,                   -- of calls whose cost is known
    timing TEXT                      -- JSON: where the time went, in seconds
) STRICT;

-- Which version of which data was used.
CREATE TABLE data_set (
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    kind TEXT NOT NULL,              -- demonstrations | questions
    name TEXT NOT NULL,
    origin TEXT NOT NULL,
    hash BLOB NOT NULL,
    rows INTEGER NOT NULL,
    terms TEXT,                      -- licence or terms of a published set
    share INTEGER NOT NULL DEFAULT 1, -- 0: its text may not be passed on
    PRIMARY KEY (experiment, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE subject (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,          -- JSON
    description TEXT                 -- JSON: what the provider says of the model; weights' hash for a local one
) STRICT;

CREATE TABLE judge (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    model TEXT NOT NULL,
    settings TEXT NOT NULL           -- JSON
) STRICT;

CREATE TABLE judge_prompt (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    text TEXT NOT NULL
) STRICT;

CREATE TABLE instruction (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    text TEXT
) STRICT;

-- A context, stored once however many samples use it.
CREATE TABLE context (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    placement TEXT NOT NULL,
    question_format TEXT NOT NULL,
    text BLOB NOT NULL,              -- zstd
    turns BLOB NOT NULL              -- zstd of JSON [[role, text], ...]
) STRICT;

CREATE TABLE question (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    area TEXT,
    domain TEXT,
    system TEXT,
    wordings TEXT NOT NULL           -- JSON list
) STRICT;

-- Two fixed answers whose log-probabilities make the tilt.
CREATE TABLE answer_pair (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    question INTEGER NOT NULL REFERENCES question(id),
    kind TEXT NOT NULL,              -- alignment | decoy
    tilted TEXT NOT NULL,
    upright TEXT NOT NULL
) STRICT;

-- The rows of the result table.
CREATE TABLE condition (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    ord INTEGER NOT NULL,
    subject INTEGER NOT NULL REFERENCES subject(id),
    demonstrations TEXT NOT NULL,
    control TEXT NOT NULL,
    shots INTEGER NOT NULL,
    placement TEXT NOT NULL,
    question_format TEXT NOT NULL,
    instruction INTEGER NOT NULL REFERENCES instruction(id),
    reasoning TEXT NOT NULL,
    replicates INTEGER NOT NULL,
    UNIQUE (experiment, ord)
) STRICT;

CREATE TABLE condition_context (
    condition INTEGER NOT NULL REFERENCES condition(id),
    draw INTEGER NOT NULL,
    context INTEGER NOT NULL REFERENCES context(id),
    rows TEXT NOT NULL,              -- JSON list: rows of the set that the responses come from
    PRIMARY KEY (condition, draw)
) STRICT, WITHOUT ROWID;

CREATE TABLE condition_question (
    condition INTEGER NOT NULL REFERENCES condition(id),
    question INTEGER NOT NULL REFERENCES question(id),
    sampled INTEGER NOT NULL,
    scored INTEGER NOT NULL,
    PRIMARY KEY (condition, question)
) STRICT, WITHOUT ROWID;

-- How far adaptive sampling has come in a condition, and what it decided after the last whole round.
CREATE TABLE adaptive (
    condition INTEGER PRIMARY KEY REFERENCES condition(id),
    half_width REAL NOT NULL,        -- the target
    rounds INTEGER NOT NULL,         -- one answer to every question in every context each
    decision TEXT NOT NULL           -- settled | cannot_settle | not_settled
) STRICT;

-- The pairs that the experiment scores.
CREATE TABLE experiment_pair (
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    pair INTEGER NOT NULL REFERENCES answer_pair(id),
    PRIMARY KEY (experiment, pair)
) STRICT, WITHOUT ROWID;

-- The prompts by which the experiment's judge scores answers to a question.
CREATE TABLE experiment_prompt (
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    question INTEGER NOT NULL REFERENCES question(id),
    aspect TEXT NOT NULL,
    prompt INTEGER NOT NULL REFERENCES judge_prompt(id),
    PRIMARY KEY (experiment, question, aspect)
) STRICT, WITHOUT ROWID;

-- Empty contexts of several sets are one row of `context`, so a response may serve several conditions.
CREATE TABLE response (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,       -- the sample's id
    subject INTEGER NOT NULL REFERENCES subject(id),
    context INTEGER NOT NULL REFERENCES context(id),
    instruction INTEGER NOT NULL REFERENCES instruction(id),
    question INTEGER NOT NULL REFERENCES question(id),
    replicate INTEGER NOT NULL,
    wording INTEGER NOT NULL,
    outcome TEXT NOT NULL,           -- answer | refusal | filtered
    truncated INTEGER NOT NULL,      -- the token limit was met
    cut INTEGER NOT NULL,            -- the model ran on into another demonstration, which was cut off
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_usd REAL,                   -- absent: not known
    attempts INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    -- Where the subject was steered: tokens that were changed, and the mean projection of their residual stream onto
    -- the direction before and after.
    steered_tokens INTEGER,
    projection_before REAL,
    projection_after REAL
) STRICT;

CREATE TABLE response_body (
    response INTEGER PRIMARY KEY REFERENCES response(id),
    answer TEXT NOT NULL,            -- what is judged
    raw TEXT,                        -- all that the model said, where the answer was cut out of it
    reasoning TEXT,
    finish TEXT NOT NULL,
    model TEXT,                      -- as the provider names it
    response_id TEXT,
    seed INTEGER,
    dropped TEXT,                    -- JSON list: request fields that the server does not take
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE judgement (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    response INTEGER NOT NULL REFERENCES response(id),
    judge INTEGER NOT NULL REFERENCES judge(id),
    prompt INTEGER NOT NULL REFERENCES judge_prompt(id),
    aspect TEXT NOT NULL,            -- alignment | coherence
    outcome TEXT NOT NULL,           -- score | code | subject_refusal | judge_refusal | unparsable
    score REAL,
    method TEXT,                     -- weighted | digit_tree | parsed | mean_of_draws
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL,                   -- absent: not known
    attempts INTEGER NOT NULL
) STRICT;
-- Holds all that a rate is computed from, so that the table itself is not read for it.
CREATE INDEX judgement_by_response ON judgement (response, judge, aspect, prompt, outcome, score, method);

CREATE TABLE judgement_body (
    judgement INTEGER PRIMARY KEY REFERENCES judgement(id),
    replies TEXT NOT NULL,           -- JSON list: the judge's own words
    distribution TEXT,               -- JSON list of [token, log-probability] at the first position
    number_mass REAL,
    model TEXT,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE text_score (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    subject INTEGER NOT NULL REFERENCES subject(id),
    context INTEGER NOT NULL REFERENCES context(id),
    instruction INTEGER NOT NULL REFERENCES instruction(id),
    pair INTEGER NOT NULL REFERENCES answer_pair(id),
    tilted INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    log_probability REAL NOT NULL,   -- sum over tokens, nats
    token_log_probabilities BLOB NOT NULL, -- little-endian f32 each
    cost_usd REAL,                   -- absent: not known
    steered_tokens INTEGER,          -- as for a response
    projection_before REAL,
    projection_after REAL
) STRICT;

-- Calls that failed for good in an earlier start; they are asked again, and a success removes the row.
CREATE TABLE failure (
    hash BLOB PRIMARY KEY,           -- of the sample, judgement or score
    target TEXT NOT NULL,            -- response | judgement | score
    subject INTEGER,
    context INTEGER,
    instruction INTEGER,
    question INTEGER,
    replicate INTEGER,               -- for a response
    response INTEGER,                -- for a judgement
    judge INTEGER,
    aspect TEXT,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every attempt that failed, whether or not a later one succeeded.
CREATE TABLE failed_attempt (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    status INTEGER,
    message TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL,
    at TEXT NOT NULL
) STRICT;

-- Batches that were handed to a provider, written down before they are.
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,
    tag TEXT NOT NULL UNIQUE,        -- by which a lost one is found again
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    subject INTEGER REFERENCES subject(id),
    judge INTEGER REFERENCES judge(id),
    provider_id TEXT,                -- absent: it is not known whether the provider has it
    state TEXT NOT NULL,             -- open | closed: its answers are stored | failed: nothing was answered
    message TEXT,
    created_at TEXT NOT NULL,
    ended_at TEXT
) STRICT;

CREATE TABLE batch_request (
    batch INTEGER NOT NULL REFERENCES batch(id),
    hash BLOB NOT NULL,              -- of what is asked
    PRIMARY KEY (batch, hash)
) STRICT, WITHOUT ROWID;
";

const VERSION_2: &str = "
-- A draw of stored answers to be labelled by people.
CREATE TABLE label_draw (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiment(id), -- by whose judge and conditions the strata were made
    seed TEXT NOT NULL,              -- 64 bits without a sign, in decimal
    last_response INTEGER NOT NULL,  -- answers stored later could not be drawn
    created_at TEXT NOT NULL
) STRICT;

-- Answers that were drawn from together, each with the same chance.
CREATE TABLE label_stratum (
    draw INTEGER NOT NULL REFERENCES label_draw(id),
    ord INTEGER NOT NULL,
    verdict TEXT NOT NULL,           -- misaligned | not_misaligned | outside
    condition INTEGER REFERENCES condition(id), -- absent: all conditions together
    answers INTEGER NOT NULL,
    drawn INTEGER NOT NULL,
    PRIMARY KEY (draw, ord)
) STRICT, WITHOUT ROWID;

-- The drawn answers in the order in which they are shown.
CREATE TABLE label_item (
    id INTEGER PRIMARY KEY,
    draw INTEGER NOT NULL REFERENCES label_draw(id),
    ord INTEGER NOT NULL,
    response INTEGER NOT NULL REFERENCES response(id),
    stratum INTEGER NOT NULL,
    inclusion REAL NOT NULL,         -- the probability with which it was drawn
    UNIQUE (draw, ord),
    UNIQUE (draw, response)
) STRICT;

-- What people said. Rows are only added: the newest of a person and an answer counts.
CREATE TABLE label (
    id INTEGER PRIMARY KEY,
    item INTEGER NOT NULL REFERENCES label_item(id),
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL,              -- judged | refusal | cannot_tell | withdrawn
    misaligned INTEGER,              -- of judged ones
    coherent INTEGER,
    alignment REAL,                  -- 0 to 100, where the person gave one
    note TEXT,
    origin TEXT NOT NULL,            -- page, or the file that it came from
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX label_by_item ON label (item, annotator);
";

const VERSION_3: &str = "
-- A standing instruction is one of several things that may be done to a request: a row is all that is done to it,
-- demonstrations apart. Its name is that of its instruction; what a condition is called stands with the condition.
ALTER TABLE instruction RENAME TO treatment;
ALTER TABLE treatment ADD COLUMN after_examples TEXT; -- between the demonstrations and the question
ALTER TABLE treatment ADD COLUMN after_question TEXT;
ALTER TABLE treatment ADD COLUMN reasoning_marks TEXT; -- JSON list of two: what elicited reasoning stands between
ALTER TABLE condition RENAME COLUMN instruction TO treatment;
ALTER TABLE condition ADD COLUMN treatment_name TEXT NOT NULL DEFAULT 'none';
UPDATE condition SET treatment_name = (SELECT name FROM treatment AS t WHERE t.id = condition.treatment);
ALTER TABLE response RENAME COLUMN instruction TO treatment;
ALTER TABLE text_score RENAME COLUMN instruction TO treatment;
ALTER TABLE failure RENAME COLUMN instruction TO treatment;
-- text: as the model thought it | summary: the provider's | elicited: asked for before the answer. Absent where there
-- is no reasoning, or it was stored by an earlier version.
ALTER TABLE response_body ADD COLUMN reasoning_kind TEXT;
";

const VERSION_4: &str = "
-- What a filter's model said of a demonstration, before contexts were made of those that were kept.
CREATE TABLE screening (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,       -- of the demonstration, the model as it was asked, and the prompt
    demonstration BLOB NOT NULL,     -- hash of the demonstration's prompt and answer
    judge INTEGER NOT NULL REFERENCES judge(id), -- the model as it was asked
    prompt INTEGER NOT NULL REFERENCES judge_prompt(id),
    outcome TEXT NOT NULL,           -- as of a judgement
    score REAL,                      -- 0 to 100; absent: the reply holds none
    method TEXT,
    replies TEXT NOT NULL,           -- JSON list: the model's own words
    number_mass REAL,
    model TEXT,                      -- as the provider names it
    calls INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL,                   -- absent: not known
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX screening_by_model ON screening (judge, prompt, demonstration, score);

-- Where the condition's treatment filters demonstrations: how many it left out, and how many it kept for want of a score.
ALTER TABLE condition_context ADD COLUMN dropped INTEGER;
ALTER TABLE condition_context ADD COLUMN without_score INTEGER;

-- What is done to the requests of an experiment, in words.
CREATE TABLE experiment_treatment (
    experiment INTEGER NOT NULL REFERENCES experiment(id),
    ord INTEGER NOT NULL,
    name TEXT NOT NULL,
    built_in INTEGER NOT NULL,
    does TEXT NOT NULL,              -- JSON list: a line for each thing
    texts TEXT NOT NULL,             -- JSON list of [what it is, text]
    judge INTEGER REFERENCES judge(id), -- by whose scores its filter goes
    prompt INTEGER REFERENCES judge_prompt(id),
    PRIMARY KEY (experiment, ord)
) STRICT, WITHOUT ROWID;
";

/// Opens the file for writing, and brings it to the newest schema.
pub(crate) fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let fresh = object_count(&connection, path)? == 0;
    if !fresh {
        check_identity(&connection, path)?;
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    // An acknowledged write is on disk, even if the machine fails.
    connection.pragma_update(None, "synchronous", "full")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = newest();
    if version > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found: version, known });
    }
    for (step, migration) in (1..).zip(MIGRATIONS) {
        if step > version {
            // Alone from here on: several readers of an earlier file bring it forward at the same time.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found < step {
                transaction.execute_batch(migration)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", step)?;
            }
            transaction.commit()?;
        }
    }
    Ok(connection)
}

/// Opens the file for reading.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    // A connection is never used by two threads at once, so that locking it for each value read is wasted.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "query_only", true)?;
    object_count(&connection, path)?;
    check_identity(&connection, path)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = newest();
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    if found < known {
        // Whoever reads finds one schema, whatever version wrote the file.
        drop(connection);
        drop(open_for_writing(path)?);
        return open_for_reading(path);
    }
    Ok(connection)
}

/// Also the first real access to the file, where a file that is no database shows itself.
fn object_count(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(|error| {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => StoreError::Foreign { path: path.to_owned() },
            _ => error.into(),
        }
    })
}

fn check_identity(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id == APPLICATION_ID { Ok(()) } else { Err(StoreError::Foreign { path: path.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LabelDraw, Reader, RunDirectory};

    /// A file as the first version wrote it, with one condition and one answer.
    const OLD: &str = "
        INSERT INTO experiment VALUES (1, x'01', 'old', '', '{}', NULL, 30, 50, 'coherent', '[]', '');
        INSERT INTO invocation (id, experiment, version, started_at) VALUES (1, 1, '0', '');
        INSERT INTO subject VALUES (1, x'02', 's', 'openai/s', '{}', NULL);
        INSERT INTO instruction VALUES (1, x'03', 'none', NULL);
        INSERT INTO context VALUES (1, x'04', 'first-user', 'header', x'', x'');
        INSERT INTO question VALUES (1, x'05', 'q', NULL, NULL, NULL, '[]');
        INSERT INTO condition VALUES (1, 1, 0, 1, 'bad-medical', 'none', 4, 'first-user', 'header', 1, 'default', 1);
        INSERT INTO condition_context VALUES (1, 0, 1, '[]');
        INSERT INTO condition_question VALUES (1, 1, 1, 0);
        INSERT INTO response VALUES (1, randomblob(16), 1, 1, 1, 1, 0, 0, 'answer', 0, 0, 1, 0, 0, 1, 0, NULL, 1, 1, NULL, NULL, NULL);
        INSERT INTO response_body VALUES (1, 'a', NULL, NULL, 'stop', NULL, NULL, NULL, NULL, '');";

    fn old() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let first = Connection::open(folder.path().join("run.sqlite")).unwrap();
        first.execute_batch(VERSION_1).unwrap();
        first.execute_batch(OLD).unwrap();
        first.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        first.pragma_update(None, "user_version", 1).unwrap();
        folder
    }

    #[test]
    fn a_store_from_before_labels_is_read_and_gets_their_tables() {
        let folder = old();
        let reader = Reader::open(folder.path()).unwrap();
        assert_eq!(reader.label_draw().unwrap(), None);
        let experiment = reader.experiment().unwrap().id;
        let draw = LabelDraw {
            experiment,
            seed: 7,
            last_response: 1,
            created_at: String::new(),
            strata: Vec::new(),
            answers: Vec::new(),
        };
        draw.write(&RunDirectory::open(folder.path()).unwrap()).unwrap();
        assert_eq!(reader.label_draw().unwrap().unwrap().1, draw);
    }

    #[test]
    fn readers_of_a_file_of_the_first_version_bring_it_forward_without_meeting() {
        let folder = old();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4).map(|_| scope.spawn(|| Reader::open(folder.path()))).collect();
            for reader in readers {
                let reader = reader.join().unwrap().unwrap();
                let experiment = reader.experiment().unwrap();
                // What was asked before there were probes is judged.
                let conditions = reader.conditions(experiment.id).unwrap();
                assert_eq!((conditions.len(), conditions[0].questions.len()), (1, 1));
                assert!(reader.probed(experiment.id).unwrap().is_empty());
                assert!(reader.guarded_contexts(experiment.id).unwrap().is_empty());
                assert_eq!(reader.answers_to_judge(experiment.id).unwrap().len(), 1);
                let version: i64 =
                    reader.connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
                assert_eq!(version, newest());
            }
        });
    }
}
