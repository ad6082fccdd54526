//! What a server's headers say of its limits, and how long it asks to wait.
//!
//! Servers report their limits in headers of every reply, each family under names of its own. They are read here
//! into one small report, so that a scheduler can reconcile its own count with the server's.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

/// One limit, as far as the server tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// The most in one window, usually a minute.
    pub limit: Option<u64>,
    /// How much of it is left.
    pub remaining: Option<u64>,
    /// How long until the window starts anew, from when the reply came.
    pub reset: Option<Duration>,
}

impl RateLimit {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The limits that a reply's headers told of; those that it did not tell of are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimits {
    /// Requests.
    pub requests: RateLimit,
    /// Tokens, read and written together.
    pub tokens: RateLimit,
    /// Tokens read, where the server counts them apart.
    pub input_tokens: RateLimit,
    /// Tokens written, where the server counts them apart.
    pub output_tokens: RateLimit,
    /// How long the server asks to wait before the next request.
    pub retry_after: Option<Duration>,
}

/// The names of the three headers of one limit: the most, what is left, and the time until it starts anew.
type Names = [&'static str; 3];

/// OpenAI's names, which xAI, Groq, Together and Fireworks share; Anthropic's; Mistral's; and OpenRouter's.
const REQUESTS: [Names; 4] = [
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    ["x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute", "x-ratelimit-reset-req-minute"],
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
];
const TOKENS: [Names; 4] = [
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
    [
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ],
    [
        "x-ratelimit-limit-tokens-minute",
        "x-ratelimit-remaining-tokens-minute",
        "x-ratelimit-reset-tokens-minute",
    ],
    ["x-tokenlimit-limit", "x-tokenlimit-remaining", "x-tokenlimit-reset"],
];
const INPUT_TOKENS: [Names; 2] = [
    [
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    [
        "x-ratelimit-limit-tokens-prompt",
        "x-ratelimit-remaining-tokens-prompt",
        "x-ratelimit-reset-tokens-prompt",
    ],
];
const OUTPUT_TOKENS: [Names; 2] = [
    [
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ],
    [
        "x-ratelimit-limit-tokens-generated",
        "x-ratelimit-remaining-tokens-generated",
        "x-ratelimit-reset-tokens-generated",
    ],
];

impl RateLimits {
    /// Reads a reply's headers; `None` where they tell of no limit. Boxed, so that errors stay small.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Box<Self>> {
        let now = server_time(headers, SystemTime::now());
        let limits = Self {
            requests: first(headers, &REQUESTS, now),
            tokens: first(headers, &TOKENS, now),
            input_tokens: first(headers, &INPUT_TOKENS, now),
            output_tokens: first(headers, &OUTPUT_TOKENS, now),
            retry_after: asked_to_wait(headers, now),
        };
        (limits != Self::default()).then(|| Box::new(limits))
    }

    /// The time until every limit that is used up has started anew.
    fn until_all_reset(&self) -> Option<Duration> {
        [self.requests, self.tokens, self.input_tokens, self.output_tokens]
            .into_iter()
            .filter(|limit| limit.remaining == Some(0))
            .filter_map(|limit| limit.reset)
            .max()
    }
}

/// The first family of names that the headers use.
fn first(headers: &HeaderMap, families: &[Names], now: SystemTime) -> RateLimit {
    let read = |[limit, remaining, reset]: &Names| RateLimit {
        limit: text(headers, limit).and_then(whole_number),
        remaining: text(headers, remaining).and_then(whole_number),
        reset: text(headers, reset).and_then(|text| until(text, now)),
    };
    families.iter().map(read).find(|limit| !limit.is_empty()).unwrap_or_default()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A count; some servers write one with a fraction.
fn whole_number(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let (whole, fraction) = text.split_once('.')?;
        fraction.chars().all(|c| c.is_ascii_digit()).then_some(())?;
        whole.parse().ok()
    })
}

/// The time from now until what a header names: a duration (`6m0s`), seconds, a point in time in seconds or
/// milliseconds since 1970, or a date and time.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    /// Seconds from here on are a point in time (2001), not a duration of more than 31 years.
    const POINT_IN_SECONDS: f64 = 1e9;
    /// From here on, milliseconds.
    const POINT_IN_MILLISECONDS: f64 = 1e12;
    if let Ok(number) = text.parse::<f64>() {
        if number < POINT_IN_SECONDS {
            return Duration::try_from_secs_f64(number).ok();
        }
        let seconds = if number < POINT_IN_MILLISECONDS { number } else { number / 1000.0 };
        let since_1970 = Duration::try_from_secs_f64(seconds).ok()?;
        let point = SystemTime::UNIX_EPOCH.checked_add(since_1970)?;
        return Some(point.duration_since(now).unwrap_or_default());
    }
    if let Ok(point) = text.parse::<Timestamp>() {
        return Some(SystemTime::try_from(point).ok()?.duration_since(now).unwrap_or_default());
    }
    go_duration(text)
}

/// The server's own clock, where it shows it: a date of the server's is compared with that.
fn server_time(headers: &HeaderMap, now: SystemTime) -> SystemTime {
    text(headers, "date").and_then(|text| httpdate::parse_http_date(text).ok()).unwrap_or(now)
}

/// What `retry-after-ms` says, or `retry-after` in seconds or as a date.
fn asked_to_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(milliseconds) = text(headers, "retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
    }
    let text = text(headers, "retry-after")?;
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// How long the server asks to wait: what it says outright, or the time until a limit that is used up starts
/// anew.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let limits = RateLimits::read(headers)?;
    limits.retry_after.or_else(|| limits.until_all_reset())
}

/// A duration such as `6m0s`, `1.5s` or `20ms`.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        seconds += number.parse::<f64>().ok()?
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => return None,
            };
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    fn map(headers: Headers) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_time_to_wait() {
        let cases: [(Headers, Option<u64>); 12] = [
            (&[], None),
            (&[("retry-after", "7")], Some(7_000)),
            (&[("retry-after", "0.25")], Some(250)),
            (&[("retry-after-ms", "1500"), ("retry-after", "2")], Some(1_500)),
            (
                &[
                    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"),
                ],
                Some(30_000),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "1e300")], None),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "20ms"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0.5s"),
                ],
                Some(360_500),
            ),
            (&[("x-ratelimit-remaining-requests", "3"), ("x-ratelimit-reset-requests", "1h")], None),
            (
                &[
                    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("anthropic-ratelimit-input-tokens-remaining", "0"),
                    ("anthropic-ratelimit-input-tokens-reset", "1994-11-06T08:49:47Z"),
                ],
                Some(10_000),
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(retry_after(&map(headers)), expected.map(Duration::from_millis), "{headers:?}");
        }
    }

    #[test]
    fn the_limits_of_each_family() {
        let limit = |limit: Option<u64>, remaining: Option<u64>, reset: Option<u64>| RateLimit {
            limit,
            remaining,
            reset: reset.map(Duration::from_millis),
        };
        let cases: [(Headers, RateLimits); 4] = [
            (
                &[
                    ("x-ratelimit-limit-requests", "500"),
                    ("x-ratelimit-remaining-requests", "499"),
                    ("x-ratelimit-reset-requests", "120ms"),
                    ("x-ratelimit-limit-tokens", "30000"),
                    ("x-ratelimit-remaining-tokens", "29000.0"),
                    ("x-ratelimit-reset-tokens", "2s"),
                ],
                RateLimits {
                    requests: limit(Some(500), Some(499), Some(120)),
                    tokens: limit(Some(30_000), Some(29_000), Some(2_000)),
                    ..RateLimits::default()
                },
            ),
            (
                &[
                    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ("anthropic-ratelimit-requests-limit", "50"),
                    ("anthropic-ratelimit-requests-remaining", "49"),
                    ("anthropic-ratelimit-requests-reset", "1994-11-06T08:49:38Z"),
                    ("anthropic-ratelimit-input-tokens-remaining", "7"),
                    ("anthropic-ratelimit-output-tokens-limit", "8"),
                    ("retry-after", "4"),
                ],
                RateLimits {
                    requests: limit(Some(50), Some(49), Some(1_000)),
                    input_tokens: limit(None, Some(7), None),
                    output_tokens: limit(Some(8), None, None),
                    retry_after: Some(Duration::from_secs(4)),
                    ..RateLimits::default()
                },
            ),
            (
                &[
                    ("date", "Sun, 09 Sep 2001 01:46:40 GMT"),
                    ("x-ratelimit-limit", "20"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1000000003000"),
                ],
                RateLimits { requests: limit(Some(20), Some(0), Some(3_000)), ..RateLimits::default() },
            ),
            (
                &[("x-ratelimit-limit-req-minute", "60"), ("x-ratelimit-remaining-tokens-minute", "5")],
                RateLimits {
                    requests: limit(Some(60), None, None),
                    tokens: limit(None, Some(5), None),
                    ..RateLimits::default()
                },
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(RateLimits::read(&map(headers)).as_deref(), Some(&expected), "{headers:?}");
        }
        assert_eq!(RateLimits::read(&map(&[("x-ratelimit-limit-requests", "many")])), None);
    }

    #[test]
    fn durations_that_are_none() {
        for text in ["", "s", "5", "5x", "1.2.3s", "ms5", "é"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }
}
