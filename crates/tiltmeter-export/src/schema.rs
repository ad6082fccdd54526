//! The tables of an export: names, types, units and meanings of all columns. The files are written by it, and
//! docs/export.md is checked against it.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// 64 bits, signed.
    Integer,
    /// 64 bits.
    Number,
    /// True or false.
    Boolean,
    /// A list of texts.
    Texts,
    /// A list of integers.
    Integers,
    /// A list of numbers.
    Numbers,
}

impl Kind {
    /// The name in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Texts => "list of texts",
            Self::Integers => "list of integers",
            Self::Numbers => "list of numbers",
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Unit; empty where there is none.
    pub unit: &'static str,
    /// What it means, and when it is empty.
    pub meaning: &'static str,
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, which is the file's without the ending.
    pub name: &'static str,
    /// What one row is.
    pub row: &'static str,
    /// Its columns, in order.
    pub columns: &'static [Column],
}

const fn column(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Column {
    Column { name, kind, unit, meaning }
}

use Kind::{Boolean, Integer, Integers, Number, Numbers, Text, Texts};

/// Answers.
pub(crate) const SAMPLES: Table = Table {
    name: "samples",
    row: "an answer that was drawn, or a call for one that failed for good; each once, however many conditions it serves",
    columns: &[
        column("sample_id", Text, "", "content address of what determines the answer"),
        column("conditions", Integer, "", "how many rows of `condition_samples` it has"),
        column("subject", Text, "", "name of the subject"),
        column("model", Text, "", "the subject's model as `provider/model`"),
        column(
            "treatment",
            Text,
            "",
            "what is done to the request besides the demonstrations: `none`, or the name of an instruction or defence",
        ),
        column("reasoning", Text, "", "the subject's reasoning mode"),
        column("placement", Text, "", "where the demonstrations stand"),
        column("shots", Integer, "", "number of demonstrations"),
        column("context_id", Text, "", "key into `contexts`"),
        column("question_id", Text, "", "key into `questions`"),
        column("question", Text, "", "name of the question"),
        column("wording", Integer, "", "which of the question's wordings was asked, from 0"),
        column("replicate", Integer, "", "which answer to the question in that context, from 0"),
        column(
            "outcome",
            Text,
            "",
            "`answer`, `refusal` or `filtered` (by the provider), `withheld` (by a defence, which gave none); `error`: the call failed for good",
        ),
        column("error_kind", Text, "", "kind of the error; empty unless the outcome is `error`"),
        column("error_message", Text, "", "its message"),
        column("alignment", Number, "0–100", "the judge's alignment score; empty: none"),
        column("coherence", Number, "0–100", "the judge's coherence score; empty: none"),
        column(
            "no_verdict",
            Text,
            "",
            "why one of the scores is missing: `subject_refusal`, `code`, `judge_refusal`, `unparsable`, `filtered`, `withheld`, `error`, or `none` where no judge was asked; empty: both are there",
        ),
        column(
            "misaligned",
            Boolean,
            "",
            "what the answer counts as by the experiment's definition; empty: it is not in the denominator, so that the mean is the EM rate",
        ),
        column("answer", Text, "", "what was judged"),
        column("raw", Text, "", "all that the model said, where the answer was cut out of it"),
        column("reasoning_text", Text, "", "reasoning that was told apart from the answer"),
        column(
            "reasoning_kind",
            Text,
            "",
            "where it comes from: `text`, `summary`, `elicited`; empty: not known",
        ),
        column("finish", Text, "", "why the answer ended"),
        column("truncated", Boolean, "", "the token limit was met"),
        column("cut", Boolean, "", "the model ran on into another demonstration, which was cut off"),
        column("provider_model", Text, "", "the model as the provider names it in its reply"),
        column("response_id", Text, "", "the provider's id of the reply"),
        column("seed", Integer, "", "seed of the draw, where one was sent"),
        column("input_tokens", Integer, "tokens", "sent, those from a cache included"),
        column("cached_input_tokens", Integer, "tokens", "of these, from the provider's cache"),
        column("output_tokens", Integer, "tokens", "written, reasoning included"),
        column("reasoning_tokens", Integer, "tokens", "of these, reasoning"),
        column("cost_usd", Number, "US dollars", "cost of the call; empty: not known"),
        column("duration_ms", Integer, "ms", "duration of the call, repetitions left out"),
        column(
            "calls",
            Integer,
            "",
            "calls that the answer took, each in `parts` where there are several; tokens, cost and duration are of all of them",
        ),
        column("created_at", Text, "RFC 3339", "when it was stored"),
    ],
};

/// What answers of several calls are put together from.
pub(crate) const PARTS: Table = Table {
    name: "parts",
    row: "a call that went into an answer of several, in the order in which they were made; one that went into several answers has a row for each",
    columns: &[
        column("sample_id", Text, "", "key into `samples`: the answer"),
        column("position", Integer, "", "which of its calls, from 0"),
        column(
            "role",
            Text,
            "",
            "`draw`: voted on; `attempt`: checked; `check`: a check of the attempt before it",
        ),
        column(
            "part_id",
            Text,
            "",
            "content address of the call: where it is an answer for itself too, its `sample_id`",
        ),
        column(
            "outcome",
            Text,
            "",
            "of a draw or an attempt `answer`, `refusal` or `filtered`; of a check `harmful`, `harmless` or `unparsable`",
        ),
        column("chosen", Boolean, "", "whether it is the answer that was given"),
        column("text", Text, "", "what the subject said"),
        column("input_tokens", Integer, "tokens", "sent"),
        column("output_tokens", Integer, "tokens", "written, reasoning included"),
        column("cost_usd", Number, "US dollars", "cost of the call; empty: not known"),
    ],
};

/// Judgements.
pub(crate) const VERDICTS: Table = Table {
    name: "verdicts",
    row: "what the experiment's judge, by its present prompts, said of one aspect of one answer",
    columns: &[
        column("sample_id", Text, "", "key into `samples`"),
        column("judge", Text, "", "the judge as `provider/model`"),
        column("aspect", Text, "", "`alignment` or `coherence`"),
        column(
            "outcome",
            Text,
            "",
            "`score`, `code`, `subject_refusal`, `judge_refusal`, `unparsable`; `error`: the call failed for good",
        ),
        column("score", Number, "0–100", "the score; empty unless the outcome is `score`"),
        column("method", Text, "", "`weighted`, `digit_tree`, `parsed` or `mean_of_draws`"),
        column("replies", Texts, "", "the judge's own words, one for each draw"),
        column("tokens", Texts, "", "likeliest tokens at the first position, where the judge gives them"),
        column("token_log_probabilities", Numbers, "nats", "their log-probabilities"),
        column("number_mass", Number, "0–1", "probability of all tokens that are numbers from 0 to 100"),
        column("provider_model", Text, "", "the judge as its provider names it"),
        column("input_tokens", Integer, "tokens", "sent to the judge"),
        column("output_tokens", Integer, "tokens", "written by it"),
        column("cost_usd", Number, "US dollars", "cost of all its draws; empty: not known"),
        column("error_kind", Text, "", "kind of the error; empty unless the outcome is `error`"),
        column("error_message", Text, "", "its message"),
    ],
};

/// Conditions.
pub(crate) const CONDITIONS: Table = Table {
    name: "conditions",
    row: "a row of the result table",
    columns: &[
        column("condition", Integer, "", "number of the condition, from 0"),
        column("subject", Text, "", "name of the subject"),
        column("subject_id", Text, "", "hash of the settings that determine its answers"),
        column("model", Text, "", "`provider/model`"),
        column("demonstrations", Text, "", "name of the demonstration set"),
        column(
            "control",
            Text,
            "",
            "whose answers the demonstrations have: `none` (the set's own), or the name of a control (`benign`, `mixed-50` …)",
        ),
        column("shots", Integer, "", "number of demonstrations"),
        column(
            "placement",
            Text,
            "",
            "where the demonstrations stand: `first-user`, `chat-turns`, `system`, `retrieved`, `tool-output`, `quoted`",
        ),
        column("question_format", Text, "", "how the question is put behind them: `header`, `plain`"),
        column(
            "treatment",
            Text,
            "",
            "what is done to the request besides the demonstrations: `none`, or the name of an instruction or defence",
        ),
        column("instruction_text", Text, "", "what its system message says; empty: none"),
        column("after_examples", Text, "", "what it puts between the demonstrations and the question"),
        column("after_question", Text, "", "what it puts behind the question"),
        column("reasoning", Text, "", "the subject's reasoning mode"),
        column("contexts", Integer, "", "draws of the context"),
        column("questions", Integer, "", "questions that answers are drawn to"),
        column(
            "replicates",
            Integer,
            "",
            "answers per question and context; with adaptive sampling the most",
        ),
    ],
};

/// Which answers belong to which condition.
pub(crate) const CONDITION_SAMPLES: Table = Table {
    name: "condition_samples",
    row: "an answer in a condition; an answer without demonstrations belongs to one condition of each set",
    columns: &[
        column("condition", Integer, "", "key into `conditions`"),
        column("draw", Integer, "", "which draw of the context, from 0"),
        column("sample_id", Text, "", "key into `samples`"),
    ],
};

/// Which contexts belong to which condition.
pub(crate) const CONDITION_CONTEXTS: Table = Table {
    name: "condition_contexts",
    row: "a context in a condition, with what it was drawn from",
    columns: &[
        column("condition", Integer, "", "key into `conditions`"),
        column("draw", Integer, "", "which draw of the context, from 0"),
        column("context_id", Text, "", "key into `contexts`"),
        column(
            "rows",
            Integers,
            "",
            "rows of the condition's demonstration set that the responses are from, counted from 0, in the order shown",
        ),
        column(
            "risk",
            Text,
            "",
            "what the defence's guard found: `none`, `low` or `high`; empty: none looked",
        ),
        column("risk_score", Number, "", "the number that it was taken from, 0 to 1"),
        column("guard_cut", Integer, "", "demonstrations that the guard cut out"),
        column(
            "guard_actions",
            Text,
            "",
            "what it did: a JSON list of `quarantine`, `instruct` and `block`; after `block` the subject was not shown the context",
        ),
    ],
};

/// Contexts.
pub(crate) const CONTEXTS: Table = Table {
    name: "contexts",
    row: "a context as it was shown, once however many answers were drawn in it",
    columns: &[
        column("context_id", Text, "", "content address"),
        column("placement", Text, "", "where the demonstrations stand"),
        column("question_format", Text, "", "how the question is put behind them"),
        column("shots", Integer, "", "number of demonstrations"),
        column("characters", Integer, "characters", "length of the demonstrations"),
        column(
            "withheld",
            Boolean,
            "",
            "the terms of its set forbid passing its text on, so text and turns are empty; `condition_contexts` and `data_sets` say which rows of what it is",
        ),
        column("text", Text, "", "the demonstrations as one text, for `first-user` and `system`"),
        column("turns", Text, "", "for `chat-turns`: a JSON list of [role, text]"),
        column("note", Text, "", "what a guard put between the demonstrations and the question"),
    ],
};

/// Questions.
pub(crate) const QUESTIONS: Table = Table {
    name: "questions",
    row: "an evaluation question",
    columns: &[
        column("question_id", Text, "", "content address"),
        column("question", Text, "", "name"),
        column("area", Text, "", "its area, for the built-in questions"),
        column("domain", Text, "", "the narrow domain that it touches, where it is known to touch one"),
        column(
            "withheld",
            Boolean,
            "",
            "the terms of a question set of this experiment forbid passing its text on, so system and wordings are empty",
        ),
        column("system", Text, "", "a system message of its own"),
        column("wordings", Texts, "", "ways of putting it"),
    ],
};

/// Data sets.
pub(crate) const DATA_SETS: Table = Table {
    name: "data_sets",
    row: "a data set that the experiment used",
    columns: &[
        column("kind", Text, "", "`demonstrations` or `questions`"),
        column("name", Text, "", "its name; `conditions.demonstrations` is a key into it"),
        column("origin", Text, "", "where it came from: a built-in name, a path, a publisher's set"),
        column("hash", Text, "", "hash of its rows"),
        column("rows", Integer, "", "how many it has"),
        column("terms", Text, "", "licence or terms of a published set"),
        column("share", Boolean, "", "whether its text may be passed on"),
    ],
};

/// Tilt.
pub(crate) const TEXT_SCORES: Table = Table {
    name: "text_scores",
    row: "the log-probability of one text of an answer pair in one context: what the tilt is computed from",
    columns: &[
        column("score_id", Text, "", "content address of model, prompt and text"),
        column("subject", Text, "", "name of the subject"),
        column("model", Text, "", "`provider/model`"),
        column(
            "treatment",
            Text,
            "",
            "what is done to the request besides the demonstrations: `none`, or the name of an instruction or defence",
        ),
        column(
            "context_id",
            Text,
            "",
            "key into `contexts`; with subject and treatment it says which conditions",
        ),
        column("question_id", Text, "", "key into `questions`"),
        column("question", Text, "", "name of the question"),
        column("pair_id", Text, "", "content address of the pair"),
        column(
            "pair_kind",
            Text,
            "",
            "`alignment`: a misaligned and an aligned answer; `decoy`: two aligned ones that differ in style",
        ),
        column("tilted", Boolean, "", "whether it is the misaligned text; of a decoy the casual one"),
        column("text", Text, "", "the text; empty where questions are withheld"),
        column("log_probability", Number, "nats", "sum over the tokens"),
        column("token_log_probabilities", Numbers, "nats", "of each token; their mean is the measure"),
        column("cost_usd", Number, "US dollars", "cost of the call; empty: not known"),
    ],
};

/// Calls that failed for good.
pub(crate) const FAILURES: Table = Table {
    name: "failures",
    row: "a call that failed for good and has not succeeded since, of subject or judge",
    columns: &[
        column("target", Text, "", "`response`, `judgement` or `score`"),
        column("id", Text, "", "content address of what is missing; for a response the `sample_id`"),
        column(
            "sample_id",
            Text,
            "",
            "the answer that a judgement is missing of, or the missing answer itself",
        ),
        column("aspect", Text, "", "what was to be scored, for a judgement"),
        column("error_kind", Text, "", "kind of the last error"),
        column("error_message", Text, "", "its message"),
        column("created_at", Text, "RFC 3339", "when"),
    ],
};

/// What coders said of traces.
pub(crate) const TRACE_CODES: Table = Table {
    name: "trace_codes",
    row: "a label of a code book, or one that a coder made up, for a trace that a coder, model or person, has coded; a trace that was not coded has one row without a label",
    columns: &[
        column("sample_id", Text, "", "the answer that the trace stands before"),
        column("code_book", Text, "", "name of the code book"),
        column("code_book_id", Text, "", "its content address"),
        column("coder", Text, "", "a model as `provider/model`, or a person's name"),
        column("coder_id", Text, "", "content address of a model's settings and wording; empty for people"),
        column("coder_kind", Text, "", "`model` or `person`"),
        column(
            "outcome",
            Text,
            "",
            "`coded`; or why not: `unparsable`, `truncated`, `declined`, `cannot_tell`",
        ),
        column("label", Text, "", "id of the label; empty where the trace was not coded"),
        column(
            "applies",
            Boolean,
            "",
            "whether it applies; empty where the trace was not coded, or the code book has no such label",
        ),
        column(
            "state",
            Text,
            "",
            "of a label that a model gave: `held`; void are `not_in_trace` and `too_short`; `unknown`: the code book has no such label",
        ),
        column("quote", Text, "", "the words that a model gave for it"),
        column(
            "span_start",
            Integer,
            "bytes",
            "where these begin in `reasoning_text` of the answer, of a label that holds",
        ),
        column("span_end", Integer, "bytes", "where they end"),
        column(
            "drawn_as",
            Text,
            "",
            "`misaligned` or `aligned`, in the newest draw of traces; empty: not in it",
        ),
        column("inclusion", Number, "probability", "with which that draw took it; empty: not in it"),
    ],
};

/// Answers to probes of usefulness.
pub(crate) const PROBE_ANSWERS: Table = Table {
    name: "probe_answers",
    row: "an answer to a question of a probe of usefulness, in a condition of the probe; no judge scores it, and it is in no other table of answers",
    columns: &[
        column("sample_id", Text, "", "content address of what determines the answer"),
        column("subject", Text, "", "name of the subject"),
        column("probe", Text, "", "name of the probe, whose harmless demonstrations are shown"),
        column("kind", Text, "", "`helpfulness` or `over-refusal`"),
        column("shots", Integer, "", "number of demonstrations"),
        column("placement", Text, "", "where they stand"),
        column("treatment", Text, "", "`none`, or the name of an instruction or defence"),
        column("reasoning", Text, "", "the subject's reasoning mode"),
        column("draw", Integer, "", "which draw of the context, from 0"),
        column("context_id", Text, "", "content address of the context"),
        column("question", Text, "", "name of the question"),
        column("replicate", Integer, "", "which answer to the question in that context, from 0"),
        column("outcome", Text, "", "`answer`, `refusal`, `filtered` or `withheld`"),
        column("came_to", Text, "", "`useful`, `not_useful`, `refused` or `truncated`"),
        column(
            "refusal_phrase",
            Boolean,
            "",
            "whether it opens with words of refusal, whatever follows them",
        ),
        column("accepted", Text, "", "what the probe accepts, as JSON: `match`, `case`, `accept`"),
        column("answer", Text, "", "its text"),
    ],
};

/// All tables, in the order in which they are documented.
pub const TABLES: [Table; 13] = [
    SAMPLES,
    PARTS,
    VERDICTS,
    CONDITIONS,
    CONDITION_SAMPLES,
    CONDITION_CONTEXTS,
    CONTEXTS,
    QUESTIONS,
    DATA_SETS,
    TEXT_SCORES,
    FAILURES,
    TRACE_CODES,
    PROBE_ANSWERS,
];

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn the_documentation_has_all_columns_as_they_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/export.md");
        let documentation = std::fs::read_to_string(path).unwrap();
        for table in TABLES {
            let mut text = format!(
                "### `{}`\nA row is {}.\n\n| column | type | unit | meaning |\n| --- | --- | --- | --- |\n",
                table.name, table.row
            );
            for Column { name, kind, unit, meaning } in table.columns {
                writeln!(text, "| `{name}` | {} | {unit} | {meaning} |", kind.name()).unwrap();
            }
            assert!(documentation.contains(&text), "docs/export.md lacks, as it stands here:\n{text}");
        }
    }
}
