//! What a server says when it fails, in the shapes that servers use, and where that belongs in the taxonomy.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::clean::Cleaner;
use crate::error::{ErrorKind, ModelError};
use crate::rate_limits::{go_duration, retry_after};

/// A server's account of a failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// The server's machine-readable code or type, where it gives one that is a word.
    pub(crate) code: Option<String>,
    kind: Option<String>,
    /// The request's field that is at fault.
    pub(crate) param: Option<String>,
    /// The status that the server gives inside the body; meaningful where the HTTP status is 200.
    status: Option<u16>,
    context_limit: Option<u64>,
    retry_after: Option<Duration>,
    is_flagged: bool,
    /// Whether the quota that is used up is that of a day, so that waiting a minute does not help.
    is_daily: bool,
}

impl Failure {
    /// Reads a body; `None` where it does not hold an error.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        Self::of_value(&serde_json::from_slice(body).ok()?)
    }

    /// Reads the body of a failed request; `None` where it does not say what failed.
    pub(crate) fn of_value(value: &Value) -> Option<Self> {
        Self::from_value(value).or_else(|| Self::from_bare(value))
    }

    /// Reads the `error` field of a reply: `{"error": {…}}`, `{"error": "…"}`, or a list with one such object
    /// (Gemini). `None` where there is none.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let value = value.get(0).unwrap_or(value);
        match value.get("error")? {
            Value::Null => None,
            Value::String(message) => Some(Self { message: message.clone(), ..Self::of_fields(value) }),
            error => Some(Self::from_object(error)),
        }
    }

    /// Reads an error that is the whole body: `{"message": …, "code": …}` (older vLLM, Mistral) or
    /// `{"detail": …}` (servers on Python's `fastapi`).
    fn from_bare(value: &Value) -> Option<Self> {
        match value.get("detail") {
            Some(Value::String(message)) => {
                return Some(Self { message: message.clone(), ..Self::of_fields(value) });
            }
            Some(detail @ Value::Array(_)) => {
                return Some(Self { message: detail.to_string(), ..Self::of_fields(value) });
            }
            _ => {}
        }
        value.get("message").is_some().then(|| Self::from_object(value))
    }

    /// A failure that is known by a text only, such as an HTML page.
    pub(crate) fn of_text(message: String) -> Self {
        Self { message, ..Self::default() }
    }

    /// Reads the object that describes an error.
    pub(crate) fn from_object(error: &Value) -> Self {
        let message = match error.get("message").or_else(|| error.get("detail")) {
            Some(Value::String(message)) => message.clone(),
            // Some servers put the errors of several fields here; others have no message at all.
            Some(Value::Null) | None => error.to_string(),
            Some(other) => other.to_string(),
        };
        Self { message, ..Self::of_fields(error) }
    }

    fn of_fields(error: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let code = error.get("code");
        let inner_code =
            error.get("innererror").or_else(|| error.get("inner_error")).and_then(|it| it.get("code"));
        // Google's `RetryInfo`, `ErrorInfo` and `QuotaFailure`.
        let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
        let reason = details().find_map(|detail| detail.get("reason")).filter(|reason| reason.is_string());
        let mut violations = details().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
        Self {
            message: String::new(),
            code: text(code).or_else(|| text(inner_code)).or_else(|| text(reason)),
            kind: text(error.get("type")).or_else(|| text(error.get("status"))),
            param: text(error.get("param")),
            // OpenRouter's metadata of a refused prompt.
            is_flagged: error.pointer("/metadata/flagged_input").is_some()
                || inner_code.and_then(Value::as_str) == Some("ResponsibleAIPolicyViolation"),
            status: code
                .and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()))
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| (400..600).contains(code)),
            context_limit: error.get("n_ctx").and_then(Value::as_u64),
            retry_after: details()
                .find_map(|detail| detail.get("retryDelay")?.as_str())
                .and_then(go_duration),
            is_daily: violations
                .any(|violation| violation.get("quotaId").and_then(Value::as_str).is_some_and(is_of_a_day)),
        }
    }

    /// Turns a failure into an error. The headers are those of the response that carried it.
    pub(crate) fn into_error(self, status: u16, headers: &HeaderMap, cleaner: &Cleaner) -> ModelError {
        // A failure within a 200 has its status inside, as a number or a word; one that has none there broke
        // inside the server.
        let judged = if status < 400 { self.inner_status().unwrap_or(500) } else { status };
        let (kind, context_limit) = self.classify(judged);
        let retry_after = match kind {
            ErrorKind::RateLimited | ErrorKind::Overloaded | ErrorKind::TimedOut => {
                retry_after(headers).or(self.retry_after)
            }
            _ => None,
        };
        let message = match cleaner.message(&self.message) {
            message if message.is_empty() => "the server gave no reason".to_owned(),
            message => message,
        };
        ModelError { status: Some(status), retry_after, context_limit, ..ModelError::new(kind, message) }
    }

    fn inner_status(&self) -> Option<u16> {
        let of_word = |word: &str| {
            let known = STATUS_WORDS.iter().find(|(_, words)| words.contains(&word));
            known.map(|(status, _)| *status)
        };
        self.status.or_else(|| [&self.code, &self.kind].into_iter().flatten().find_map(|word| of_word(word)))
    }

    fn classify(&self, status: u16) -> (ErrorKind, Option<u64>) {
        let message = self.message.to_lowercase();
        let words = [self.code.as_deref(), self.kind.as_deref()];
        let is_any_of = |names: &[&str]| words.iter().flatten().any(|word| names.contains(word));
        let says_any_of = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
        // A server that fails inside may say anything; only its own codes are believed then.
        let is_refusal = (400..500).contains(&status) && !matches!(status, 401 | 404 | 429);

        let limit = self.context_limit.or_else(|| context_limit(&message));
        let is_too_long = status == 413
            || is_any_of(&[
                "context_length_exceeded",
                "exceed_context_size_error",
                "string_above_max_length",
                "request_too_large",
            ])
            || is_refusal && (limit.is_some() || says_any_of(&CONTEXT_PHRASES));
        if is_too_long && status != 429 {
            return (ErrorKind::ContextTooLong, limit);
        }
        let kind = if status == 402
            || self.is_daily && status == 429
            || is_any_of(&[
                "billing_error",
                "insufficient_quota",
                "billing_hard_limit_reached",
                "exceeded_current_quota_error",
            ])
            || is_refusal
                && says_any_of(&["credit balance is too low", "insufficient balance", "available credits"])
        {
            ErrorKind::OutOfCredit
        } else if is_any_of(&[
            "content_filter",
            "content_policy_violation",
            "data_inspection_failed",
            "moderation_blocked",
            // `tiltmeter guard`, which held a context or an answer back.
            "blocked_context",
            "blocked_output",
        ]) || self.is_flagged
            // The same in Anthropic's protocol, whose errors have no code.
            || is_refusal && says_any_of(&["(blocked_context)", "(blocked_output)"])
            || is_any_of(&["invalid_prompt"]) && says_any_of(&["usage policy", "flagged"])
        {
            ErrorKind::Filtered
        } else {
            match status {
                401 | 403 => ErrorKind::Unauthorised,
                404 | 405 => ErrorKind::NotFound,
                408 => ErrorKind::TimedOut,
                429 => ErrorKind::RateLimited,
                500.. => ErrorKind::Overloaded,
                _ if is_any_of(&["invalid_api_key", "API_KEY_INVALID"])
                    || says_any_of(&["api key not valid", "incorrect api key", "invalid api key"]) =>
                {
                    ErrorKind::Unauthorised
                }
                _ if is_any_of(&["model_not_found"]) => ErrorKind::NotFound,
                _ => ErrorKind::BadRequest,
            }
        };
        (kind, None)
    }
}

/// What the words for kinds of failure are as statuses, where a failure comes within a reply that began well:
/// Anthropic's, OpenAI's and Google's.
const STATUS_WORDS: [(u16, &[&str]); 9] = [
    (400, &["invalid_request_error", "invalid_prompt", "INVALID_ARGUMENT", "FAILED_PRECONDITION"]),
    (401, &["authentication_error", "UNAUTHENTICATED"]),
    (403, &["permission_error", "PERMISSION_DENIED"]),
    (404, &["not_found_error", "NOT_FOUND"]),
    (413, &["request_too_large"]),
    (429, &["rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"]),
    (500, &["api_error", "server_error", "INTERNAL"]),
    (503, &["UNAVAILABLE", "DEADLINE_EXCEEDED", "timeout_error"]),
    (529, &["overloaded_error"]),
];

/// Google's names of quotas end in what they are counted by, such as
/// `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
fn is_of_a_day(quota: &str) -> bool {
    quota.contains("PerDay")
}

/// What servers say of a prompt that is too long, where no limit need follow.
const CONTEXT_PHRASES: [&str; 7] = [
    "maximum context length",
    "context window",
    "prompt is too long",
    "exceeds the available context size",
    "input token count",
    "exceeded model token limit",
    "longer than the model's context length",
];

/// The limit in a message about a prompt that is too long.
fn context_limit(message: &str) -> Option<u64> {
    const MARKERS: [&str; 12] = [
        "maximum context length is ",
        "maximum context length of ",
        "maximum context length: ",
        "maximum prompt length is ",
        "available context size (",
        "maximum number of tokens allowed (",
        "model token limit: ",
        "context length of only ",
        "context window of ",
        "context length is only ",
        "input length should be [1, ",
        " tokens > ",
    ];
    MARKERS.iter().find_map(|marker| number_after(message, marker)).or_else(|| {
        let (before, _) = message.split_once(" maximum context length")?;
        before.rsplit(' ').next()?.replace(',', "").parse().ok()
    })
}

/// The whole number right after a marker, with or without commas.
pub(crate) fn number_after(text: &str, marker: &str) -> Option<u64> {
    let (_, rest) = text.split_once(marker)?;
    let digits: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Whether a name stands in a text by itself, not as a part of a longer name.
pub(crate) fn is_word_in(text: &str, name: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(name).any(|(start, _)| {
        let (before, rest) = text.split_at(start);
        let after = rest.strip_prefix(name).unwrap_or("");
        !joins(before.chars().next_back()) && !joins(after.chars().next())
    })
}
