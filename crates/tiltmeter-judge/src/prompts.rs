//! The judge's prompts, and putting a question and an answer into them.

use std::sync::Arc;

use tiltmeter_core::id::Canonical;
use tiltmeter_core::verdict::Aspect;

const ANSWER: &str = "{answer}";
const QUESTION: &str = "{question}";
const MARK: &str = "{mark}";

/// A judge prompt that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// Nowhere to put the answer.
    #[error(
        "the judge's {} prompt has no `{{answer}}`: put it where the answer to be judged belongs",
        .aspect.name()
    )]
    NoAnswer {
        /// Whose prompt it is.
        aspect: Aspect,
    },
}

/// One template per aspect, with `{answer}`, usually `{question}`, and where wanted `{mark}`: see [`render`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgePrompts {
    /// Asks for alignment.
    pub alignment: Arc<str>,
    /// Asks for coherence.
    pub coherence: Arc<str>,
}

impl Default for JudgePrompts {
    /// The project's own prompts.
    fn default() -> Self {
        Self {
            alignment: include_str!("../prompts/alignment.txt").trim_end().into(),
            coherence: include_str!("../prompts/coherence.txt").trim_end().into(),
        }
    }
}

impl JudgePrompts {
    /// These prompts with others in their place where given, such as a question file's own.
    ///
    /// # Errors
    /// [`PromptError`] if one of the others cannot be used.
    pub fn replaced(
        self,
        alignment: Option<Arc<str>>,
        coherence: Option<Arc<str>>,
    ) -> Result<Self, PromptError> {
        let replaced = Self {
            alignment: alignment.unwrap_or(self.alignment),
            coherence: coherence.unwrap_or(self.coherence),
        };
        validate(Aspect::Alignment, &replaced.alignment)?;
        validate(Aspect::Coherence, &replaced.coherence)?;
        Ok(replaced)
    }

    /// The template for an aspect.
    pub fn template(&self, aspect: Aspect) -> &Arc<str> {
        match aspect {
            Aspect::Alignment => &self.alignment,
            Aspect::Coherence => &self.coherence,
        }
    }
}

/// Checks that a template has a place for the answer. A place for the question is optional.
///
/// # Errors
/// [`PromptError::NoAnswer`].
pub fn validate(aspect: Aspect, template: &str) -> Result<(), PromptError> {
    if template.contains(ANSWER) { Ok(()) } else { Err(PromptError::NoAnswer { aspect }) }
}

/// Puts a question and an answer into a template. What is put in is not looked at again, so that an answer that
/// contains `{question}` stays as it is.
///
/// `{mark}` becomes 16 hexadecimal digits derived from question and answer: lines that carry it fence the answer
/// in a way that its author could not foresee, since the mark changes with every change of the answer.
pub fn render(template: &str, question: &str, answer: &str) -> String {
    let mark = mark(question, answer);
    filled(template, &[(ANSWER, answer), (QUESTION, question), (MARK, &mark)])
}

/// A template with its places filled, in one pass: what is put in is not looked at again.
pub(crate) fn filled(template: &str, places: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    // No place begins within another, since each has one brace to open it.
    while let Some((before, name, value)) = places
        .iter()
        .filter_map(|(name, value)| Some((rest.split_once(name)?.0, name, value)))
        .min_by_key(|(before, ..)| before.len())
    {
        text.push_str(before);
        text.push_str(value);
        rest = rest.get(before.len() + name.len()..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// The mark of one question and one answer.
pub(crate) fn mark(question: &str, answer: &str) -> String {
    fence_mark("tiltmeter.judge-mark/1", [question, answer])
}

/// 16 hexadecimal digits for lines that fence hostile texts in a prompt. They are derived from all of the texts, so that
/// nobody who writes one of them can foresee them. `domain` names whose prompt it is, and its version.
pub fn fence_mark<'a>(domain: &str, texts: impl IntoIterator<Item = &'a str>) -> String {
    let canonical = Canonical::new(domain);
    let id = texts.into_iter().fold(canonical, Canonical::text).finish();
    format!("{:016x}", id.generator_seed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_not_substituted_again() {
        let cases = [
            ("Q: {question} A: {answer}", "why?", "because", "Q: why? A: because"),
            ("{answer}|{question}|{answer}", "{answer}", "{question}", "{question}|{answer}|{question}"),
            ("{answer}", "{mark}", "{mark} {answer}", "{mark} {answer}"),
            ("{Answer} {answer", "q", "a", "{Answer} {answer"),
            ("{{answer}}", "q", "é\u{2028}{", "{é\u{2028}{}"),
        ];
        for (template, question, answer, expected) in cases {
            assert_eq!(render(template, question, answer), expected, "{template}");
        }
    }

    #[test]
    fn the_mark_changes_with_the_answer_and_is_the_same_all_through_a_prompt() {
        let rendered = render("{mark} {question} {mark} {answer} {mark}", "q", "a");
        let words: Vec<&str> = rendered.split(' ').collect();
        assert_eq!(words[0].len(), 16);
        assert_eq!([words[0], words[0]], [words[2], words[4]]);
        assert_ne!(mark("q", "a"), mark("q", "b"));
        assert_ne!(mark("q", "a"), mark("p", "a"));
    }

    #[test]
    fn a_template_needs_a_place_for_the_answer() {
        let own = JudgePrompts::default();
        for aspect in Aspect::ALL {
            assert_eq!(validate(aspect, own.template(aspect)), Ok(()));
            assert!(own.template(aspect).contains(QUESTION));
        }
        let replaced = own.clone().replaced(Some("{answer}?".into()), None).unwrap();
        assert_eq!((&*replaced.alignment, &replaced.coherence), ("{answer}?", &own.coherence));
        let error = own.replaced(None, Some("{question}".into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the judge's coherence prompt has no `{answer}`: put it where the answer to be judged belongs"
        );
    }
}
