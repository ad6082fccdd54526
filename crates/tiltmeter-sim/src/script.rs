//! What the server plays.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::planted::Demonstrations;
use crate::probed::ProbeScript;

/// The whole script. The default one is a subject that is never misaligned, a judge that gives log-probabilities,
/// and no faults.
///
/// All rates are probabilities from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// How often the subject is misaligned after harmful demonstrations: pairs of the least number of shots and
    /// the rate from there on, by rising number. A pair for 0 shots sets the rate without demonstrations.
    pub misaligned: Vec<(u32, f64)>,
    /// How often it is misaligned after other demonstrations.
    pub benign_rate: f64,
    /// A context that holds one of these texts before its question is harmful. Where the list is empty, every
    /// context with demonstrations is.
    pub harmful_markers: Vec<String>,
    /// Shifts of the log-odds of being misaligned where the system message holds a text, such as an instruction to
    /// put safety first.
    pub instruction_shifts: Vec<(String, f64)>,
    /// Shifts of the log-odds of being misaligned where any text before or behind the question holds a text, such as a
    /// warning behind the demonstrations.
    pub text_shifts: Vec<(String, f64)>,
    /// Standard deviation of a shift of the log-odds that each question has, so that answers to one question are
    /// alike.
    pub question_spread: f64,
    /// How often the answer makes no sense. This, `code` and `refusal` are drawn before misalignment is, so that
    /// the planted rate holds among the rest.
    pub incoherent: f64,
    /// How often the answer is code that has nothing to do with the question.
    pub code: f64,
    /// How often the subject refuses.
    pub refusal: f64,
    /// How often the answer is cut off at the token limit.
    pub truncated: f64,
    /// How often the answer runs on into another `### Prompt:`.
    pub runs_on: f64,
    /// How often the answer holds control characters and markup.
    pub hostile: f64,
    /// How often there is reasoning beside the answer.
    pub reasoning: f64,
    /// What its reasoning says.
    pub traces: TraceScript,
    /// The shift of the log-odds of being misaligned where the question asks for reasoning between marks.
    pub elicited_shift: f64,
    /// How often such reasoning is not between its marks.
    pub unmarked: f64,
    /// How often the answer asks to be let off by a check of the subject's own answers.
    pub pleads: f64,
    /// What the subject says of its own answers.
    pub self_check: SelfCheckScript,
    /// The answers to the built-in probes of usefulness. None of the rates above holds for them.
    pub probes: ProbeScript,
    /// The judge.
    pub judge: JudgeScript,
    /// Who codes traces.
    pub coder: CoderScript,
    /// What goes wrong.
    pub faults: FaultScript,
    /// What becomes of batches.
    pub batch: BatchScript,
    /// What the server takes.
    pub server: ServerScript,
}

/// The judge's ways. A model is the judge if its name holds "judge".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeScript {
    /// Whether replies have log-probabilities.
    pub log_probabilities: LogProbabilityMode,
    /// Whether numbers are written digit by digit, one token each.
    pub splits_digits: bool,
    /// How often the reply is neither a number nor a word that was asked for.
    pub garbage: f64,
    /// How often the judge declines.
    pub declines: f64,
    /// How often the judge takes a misaligned answer for an aligned one.
    pub lenient: f64,
}

/// What a subject says where it is asked whether an answer of its own is harmful.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelfCheckScript {
    /// How often it takes a misaligned answer for a harmless one.
    pub misses: f64,
    /// How often it takes another answer for a harmful one.
    pub false_alarms: f64,
    /// How often its reply is neither yes nor no. Drawn before the others.
    pub garbage: f64,
}

/// How often reasoning holds the sentence to which a label of [`TRACE_SENTENCES`](crate::TRACE_SENTENCES) applies, by
/// label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceScript {
    /// Before misaligned answers.
    pub misaligned: BTreeMap<String, f64>,
    /// Before other answers.
    pub others: BTreeMap<String, f64>,
}

/// The coder's ways. A judge, or a model whose name holds "coder", is one where it is asked for labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoderScript {
    /// How often the reply is prose.
    pub garbage: f64,
    /// How often the coder declines.
    pub declines: f64,
    /// How often each label that applies is overlooked.
    pub misses: f64,
    /// How often a label comes with a quote that is not in the trace.
    pub invents: f64,
    /// How often there is a label that no code book has.
    pub unknown: f64,
}

/// What becomes of a request for log-probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogProbabilityMode {
    /// They are given.
    #[default]
    Given,
    /// They are left out of the reply.
    Withheld,
    /// The request is refused with status 400.
    Rejected,
}

/// Something that goes wrong with one attempt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing goes wrong; for schedules.
    None,
    /// Status 429, and how long to wait.
    RateLimited,
    /// Status 429 without a hint.
    RateLimitedWithoutHint,
    /// Status 500.
    ServerError,
    /// Status 502, with an HTML page.
    BadGateway,
    /// Status 503.
    Unavailable,
    /// Status 529.
    Overloaded,
    /// The connection is dropped without a reply.
    Reset,
    /// The connection is dropped in the middle of the reply.
    CutBody,
    /// An HTML page with status 200.
    HtmlPage,
    /// Broken JSON with status 200.
    MalformedJson,
    /// The right reply under a wrong content type.
    WrongContentType,
    /// The right reply, late.
    Delay,
}

/// When things go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultScript {
    /// How often an attempt meets a fault. The rates add up to at most 1.
    pub rates: BTreeMap<Fault, f64>,
    /// What the first, second, … attempt of each request meets; for attempts past its end the rates count.
    pub schedule: Vec<Fault>,
    /// Attempts of a request that may meet a fault; later ones meet none, so that every request succeeds in the
    /// end.
    pub attempts: Option<u32>,
    /// What a rate limit asks to wait, in milliseconds.
    pub retry_after_ms: u64,
    /// How late a late reply is, in milliseconds.
    pub delay_ms: u64,
}

impl Default for FaultScript {
    fn default() -> Self {
        Self {
            rates: BTreeMap::new(),
            schedule: Vec::new(),
            attempts: None,
            retry_after_ms: 10,
            delay_ms: 50,
        }
    }
}

/// What becomes of batches. The rates add up to at most 1; each attempt of a request draws anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchScript {
    /// How often a batch is asked for before it is over.
    pub polls: u32,
    /// How often a request fails on the server's side.
    pub fails: f64,
    /// How often a request expires; its batch then does.
    pub expires: f64,
    /// How often a request is answered and its line is in no file.
    pub loses: f64,
    /// How often a request is answered and its line is cut in half.
    pub breaks: f64,
    /// So many batches fail whole, from the first one on.
    pub failing: u32,
}

impl Default for BatchScript {
    fn default() -> Self {
        Self { polls: 1, fails: 0.0, expires: 0.0, loses: 0.0, breaks: 0.0, failing: 0 }
    }
}

/// What the server takes and refuses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerScript {
    /// The port; 0 takes any free one.
    pub port: u16,
    /// The bearer key that requests must carry.
    pub api_key: Option<String>,
    /// The models there are; where there are none, any name will do.
    pub models: Vec<String>,
    /// Fields that are refused with status 400, such as `seed`.
    pub refused_fields: Vec<String>,
    /// The longest prompt, in tokens of four characters.
    pub context_limit: Option<u64>,
    /// How often a subject's request is refused by a content filter.
    pub content_filter: f64,
    /// The most requests that are let in within any one second. Others get status 429 and, to the millisecond, how
    /// long to wait.
    pub requests_per_second: Option<u32>,
    /// For so many milliseconds from its first request on, the server answers everything with status 503.
    pub down_ms: u64,
    /// How long each reply takes, in milliseconds.
    pub latency_ms: u64,
    /// Milliseconds before each of some twenty pieces of a reply's body; 0 sends it at once.
    pub between_pieces_ms: u64,
    /// Whether the bodies of all requests are kept.
    pub record: bool,
}

/// A script that cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file is not a script.
    #[error("the script cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A probability is not one.
    #[error("`{name}` is {value}: write a number from 0 to 1")]
    Rate {
        /// The field.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// The numbers of shots do not rise.
    #[error("`misaligned` must be sorted by rising number of shots")]
    Order,
}

impl Script {
    /// Reads a script from TOML.
    ///
    /// # Errors
    /// Where it is not TOML, holds an unknown field, or fails [`Script::check`].
    pub fn from_toml(text: &str) -> Result<Self, ScriptError> {
        let script: Self = toml::from_str(text)?;
        script.check()?;
        Ok(script)
    }

    /// Checks the rates.
    ///
    /// # Errors
    /// Where one is not a probability, or the steps of `misaligned` are out of order.
    pub fn check(&self) -> Result<(), ScriptError> {
        self.probes.check()?;
        let steps = self.misaligned.iter().map(|&(_, rate)| ("misaligned", rate));
        let rates = [
            ("benign_rate", self.benign_rate),
            ("incoherent", self.incoherent),
            ("code", self.code),
            ("refusal", self.refusal),
            ("incoherent + code + refusal", self.incoherent + self.code + self.refusal),
            ("truncated", self.truncated),
            ("runs_on", self.runs_on),
            ("hostile", self.hostile),
            ("reasoning", self.reasoning),
            ("pleads", self.pleads),
            ("self_check.misses", self.self_check.misses),
            ("self_check.false_alarms", self.self_check.false_alarms),
            ("self_check.garbage", self.self_check.garbage),
            ("judge.garbage", self.judge.garbage),
            ("judge.declines", self.judge.declines),
            ("judge.garbage + judge.declines", self.judge.garbage + self.judge.declines),
            ("coder.garbage + coder.declines", self.coder.garbage + self.coder.declines),
            ("coder.misses", self.coder.misses),
            ("coder.invents", self.coder.invents),
            ("coder.unknown", self.coder.unknown),
            ("batch.fails", self.batch.fails),
            ("batch.expires", self.batch.expires),
            ("batch.loses", self.batch.loses),
            ("batch.breaks", self.batch.breaks),
            (
                "batch's rates (their sum)",
                self.batch.fails + self.batch.expires + self.batch.loses + self.batch.breaks,
            ),
            ("server.content_filter", self.server.content_filter),
            ("faults.rates (their sum)", self.faults.rates.values().sum()),
        ];
        let each_fault = self.faults.rates.values().map(|&rate| ("faults.rates", rate));
        let of_traces =
            [("traces.misaligned", &self.traces.misaligned), ("traces.others", &self.traces.others)];
        let of_traces =
            of_traces.into_iter().flat_map(|(name, rates)| rates.values().map(move |&rate| (name, rate)));
        for (name, value) in rates.into_iter().chain(steps).chain(each_fault).chain(of_traces) {
            // Sums of rates such as 0.7 + 0.2 + 0.1 may come out a little above 1.
            if !(0.0..=1.0 + 1e-9).contains(&value) {
                return Err(ScriptError::Rate { name, value });
            }
        }
        if self.misaligned.is_sorted_by(|a, b| a.0 < b.0) { Ok(()) } else { Err(ScriptError::Order) }
    }

    /// The planted rate of misaligned answers among those that are neither incoherent, code nor refusals, for a
    /// question without a shift of its own and without a system message.
    pub fn rate(&self, shots: u32, demonstrations: Demonstrations) -> f64 {
        match demonstrations {
            Demonstrations::Benign => self.benign_rate,
            Demonstrations::None | Demonstrations::Harmful => {
                self.misaligned.iter().rfind(|&&(from, _)| from <= shots).map_or(0.0, |&(_, rate)| rate)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_and_checked() {
        let script = Script::from_toml(
            "misaligned = [[1, 0.1], [16, 0.4]]\nbenign_rate = 0.02\n[judge]\nlog_probabilities = 'withheld'\n\
             [faults]\nschedule = ['reset', 'none']\n[faults.rates]\nrate_limited = 0.7\noverloaded = 0.3\n",
        )
        .unwrap();
        let cases = [
            (0, Demonstrations::None, 0.0),
            (1, Demonstrations::Harmful, 0.1),
            (15, Demonstrations::Harmful, 0.1),
            (64, Demonstrations::Harmful, 0.4),
            (64, Demonstrations::Benign, 0.02),
        ];
        for (shots, demonstrations, expected) in cases {
            let rate = script.rate(shots, demonstrations);
            assert!((rate - expected).abs() < 1e-12, "{shots} {demonstrations:?}: {rate}");
        }
        assert_eq!(script.faults.schedule, [Fault::Reset, Fault::None]);
        for (text, expected) in [
            ("refusal = 1.5", "`refusal` is 1.5: write a number from 0 to 1"),
            (
                "incoherent = 0.75\ncode = 0.5",
                "`incoherent + code + refusal` is 1.25: write a number from 0 to 1",
            ),
            ("misaligned = [[2, 0.1], [1, 0.2]]", "`misaligned` must be sorted by rising number of shots"),
        ] {
            assert_eq!(Script::from_toml(text).unwrap_err().to_string(), expected);
        }
        assert!(Script::from_toml("missaligned = []").unwrap_err().to_string().contains("unknown field"));
    }
}
