//! Text and figures as the page shows them.

pub(crate) use tiltmeter_core::shown::{count, visible};

/// The first characters of a text that is too long for its place.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A share in percent, one decimal.
pub(crate) fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

/// A share with its interval.
pub(crate) fn percent_interval(estimate: f64, low: f64, high: f64) -> String {
    format!("{} % [{}, {}]", percent(estimate), percent(low), percent(high))
}

/// A number without needless zeros, to six digits.
pub(crate) fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let decimals = (5.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A signed measure in nats, three decimals.
pub(crate) fn nats(value: f64) -> String {
    format!("{value:+.3}").replace('-', "−")
}

/// An amount of money.
pub(crate) fn dollars(value: f64) -> String {
    format!("US$ {value:.4}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_exact() {
        let cases = [(0.0, "0"), (0.05, "0.05"), (-2.5, "-2.5"), (100.0, "100"), (0.1 + 0.2, "0.3")];
        for (value, expected) in cases {
            assert_eq!(significant(value), expected);
        }
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(12), "12");
    }
}
