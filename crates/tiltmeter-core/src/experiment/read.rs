//! From text to what a file says, with errors that name line, column and the nearest known name.

use serde::de::DeserializeOwned;

use super::error::{ConfigError, Position, suggestion};
use super::file::ExperimentFile;

/// Parses an experiment file. `name` is the file's name for error texts.
///
/// # Errors
/// A [`ConfigError`] for bad syntax, a wrong type, a missing or an unknown field.
pub fn read(name: &str, text: &str) -> Result<ExperimentFile, ConfigError> {
    read_toml(name, text)
}

/// Parses any TOML file whose fields are known. `name` is the file's name for error texts.
///
/// # Errors
/// A [`ConfigError`] for bad syntax, a wrong type, a missing or an unknown field.
pub fn read_toml<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let position = error.span().map(|span| Position::of(text, span.start));
        let mut result = ConfigError::new(name, error.message().trim().replace('\n', "; ")).at(position);
        if let Some((unknown, known)) = unknown_name(error.message()) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            result.message = format!("unknown {} `{}`", unknown.kind, unknown.name);
            result.hint = Some(suggestion(&unknown.name, &known));
        }
        result
    })
}

struct Unknown {
    kind: &'static str,
    name: String,
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_name(message: &str) -> Option<(Unknown, Vec<String>)> {
    let kind =
        ["field", "variant"].into_iter().find(|kind| message.starts_with(&format!("unknown {kind} `")))?;
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let name = quoted.next()?;
    let kind = if kind == "variant" { "value" } else { kind };
    Some((Unknown { kind, name }, quoted.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Placement;

    const MINIMAL: &str = "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\nsets = ['risky-financial']\nshots = [0]\n";

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let file = read("x.toml", MINIMAL).unwrap();
        assert_eq!(file.questions.replicates, 1);
        assert!(file.questions.exclude_in_domain);
        assert!((file.subjects[0].temperature - 1.0).abs() < 1e-12);
        assert!(!file.subjects[0].stream);
        assert_eq!(file.demonstrations.contexts, 1);
        assert!(file.demonstrations.nested);
        assert_eq!(file.demonstrations.placement.0, [Placement::FirstUser]);
        assert!(file.demonstrations.controls.is_empty());
        assert_eq!(file.sampling.seed, 0);
        assert!(file.judge.is_none());
    }

    #[test]
    fn errors_say_what_and_where() {
        let cases = [
            ("shots = [0]", "shotz = [0]", "x.toml:7:1: unknown field `shotz`\n  did you mean `shots`?"),
            (
                "shots = [0]",
                "shots = [0]\nplacement = 'first-usr'",
                "x.toml:8:13: unknown value `first-usr`\n  did you mean `first-user`?",
            ),
            (
                "shots = [0]",
                "shots = [0]\nplacement = ['system', 'quotd']",
                "x.toml:8:24: unknown value `quotd`\n  did you mean `quoted`?",
            ),
            (
                "sets = ['risky-financial']",
                "sets = [{path = 'a', domian = 'finance'}]",
                "x.toml:6:22: unknown field `domian`\n  did you mean `domain`?",
            ),
            ("shots = [0]", "shots = ['x']", "x.toml:7:10: invalid type: string \"x\", expected u32"),
            ("name = 'x'", "", "x.toml:1:1: missing field `name`"),
            ("id = 'a'", "id = a", "x.toml:3:6: "),
        ];
        for (from, to, expected) in cases {
            let error = read("x.toml", &MINIMAL.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "for {to}: {error}");
        }
    }
}
