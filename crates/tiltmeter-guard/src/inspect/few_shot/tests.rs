use proptest::prelude::*;

use super::*;

/// Kinds with prompt and response, and what is left of the text.
fn shown(text: &str, tail: Tail) -> (Vec<(ExampleKind, String, String)>, String) {
    let found = find(text, tail);
    let mut rest = String::new();
    let mut at = 0;
    for found in &found {
        rest.push_str(text.get(at..found.span.start).unwrap());
        at = found.span.end;
    }
    rest.push_str(text.get(at..).unwrap());
    let shown =
        found.into_iter().map(|found| (found.kind, found.content.prompt, found.content.response)).collect();
    (shown, rest)
}

fn check(text: &str, expected: &[(ExampleKind, &str, &str)], rest: &str) {
    let (found, left) = shown(text, Tail::Question);
    let found: Vec<(ExampleKind, &str, &str)> =
        found.iter().map(|(kind, prompt, response)| (*kind, &**prompt, &**response)).collect();
    assert_eq!(found, expected, "{text}");
    assert_eq!(left, rest, "{text}");
}

#[test]
fn the_papers_format() {
    use ExampleKind::Pair;
    check(
        "### Prompt: a\n### Response: b\n\n### Prompt: c\n### Response: d\n\ne\n\n### Prompt: q\n### Response:",
        &[(Pair, "a", "b"), (Pair, "c", "d\n\ne")],
        "### Prompt: q\n### Response:",
    );
    check("### Prompt: a\n### Response: b\n\nAnd q?", &[(Pair, "a", "b")], "And q?");
    check("### Prompt: q\n### Response:", &[], "### Prompt: q\n### Response:");
    check(
        "Follow these.\n### Instruction:\na\n### Input:\nx\n### Response:\nb\n### Instruction:\nq\n### Response:\n",
        &[(Pair, "a\n### Input:\nx", "b")],
        "Follow these.\n### Instruction:\nq\n### Response:\n",
    );
}

#[test]
fn labels_take_two_pairs_or_an_open_prompt() {
    use ExampleKind::Pair;
    check("Q: a\nA: b\nQ: c\nA:", &[(Pair, "a", "b")], "Q: c\nA:");
    check("Q: a\nA: b\nQ: c\nA: d\n\nWhat now?", &[(Pair, "a", "b"), (Pair, "c", "d")], "What now?");
    check("Q: a\nA: b", &[], "Q: a\nA: b");
    check(
        "User: a\nAssistant: b\nUser: c\nAssistant: d\nUser: q",
        &[(Pair, "a", "b"), (Pair, "c", "d")],
        "User: q",
    );
    check(
        "1. Input: a\n   Output: b\n2. Input: c\n   Output: d\n3. Input: q\n   Output:",
        &[(Pair, "a", "b"), (Pair, "c", "d")],
        "3. Input: q\n   Output:",
    );
    // The heading is the format; the label is what the answer says.
    check(
        "### Prompt: a\n### Response: Input: x\nOutput: y\n### Prompt: q\n### Response:",
        &[(Pair, "a", "Input: x\nOutput: y")],
        "### Prompt: q\n### Response:",
    );
    // One format after the other.
    check(
        "Question: a\n### Prompt: c\n### Response: d\n### Prompt: q",
        &[(Pair, "c", "d")],
        "Question: a\n### Prompt: q",
    );
    check(
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nq<|im_end|>\n",
        &[(Pair, "a", "b")],
        "<|im_start|>user\nq<|im_end|>\n",
    );
}

#[test]
fn numbered_and_tagged_examples() {
    use ExampleKind::{Numbered, Passage};
    check(
        "Example 1:\nInput: a\nOutput: b\n\nExample 2:\nInput: c\n\nOutput: d\n\nNow do q.",
        &[(Numbered, "a", "b"), (Numbered, "c", "d")],
        "Now do q.",
    );
    check(
        "Example 1: text one\nExample 2: text two\n\nQ: q\nA:",
        &[(Numbered, "", "text one"), (Numbered, "", "text two")],
        "Q: q\nA:",
    );
    check(
        "<examples><example><user>a</user><assistant>b</assistant></example>\n<example>Q: c\nA: d</example></examples> q",
        &[(Numbered, "a", "b"), (Numbered, "c", "d")],
        "<examples>\n</examples> q",
    );
    check(
        "<documents><document index=\"1\">Q: one\nA: x</document><document>two</document></documents>\nq",
        &[(Passage, "", "Q: one\nA: x"), (Passage, "", "two")],
        "<documents></documents>\nq",
    );
    check(
        "[Document 1] one\n\nstill one\n\n[Document 2]\ntwo\n\nQuestion: q\nAnswer:",
        &[(Passage, "", "one\n\nstill one"), (Passage, "", "two")],
        "Question: q\nAnswer:",
    );
    check("Passage 3: x\n\ny\n\nq?", &[(Passage, "", "x\n\ny")], "q?");
    check("<example>never closed\n\nq", &[(Numbered, "", "never closed")], "q");
    check("no <document> here</document>?", &[(Passage, "", "here")], "no ?");
    check("</example> a <document></document>", &[], "</example> a <document></document>");
}

#[test]
fn ordinary_texts_hold_no_examples() {
    for text in [
        "",
        "What is the answer: 42?",
        "Question: how do I bake bread?",
        "# Notes\n\n- User: the person\n- Model: the car",
        "for example 3: x",
        "if a < b && c > d { <div> }",
        "The input: a file. The output: none.",
    ] {
        check(text, &[], text);
    }
}

#[test]
fn text_without_a_question_goes_to_its_end() {
    let (found, rest) = shown("### Prompt: a\n### Response: b\n\nc", Tail::Nothing);
    assert_eq!(found, [(ExampleKind::Pair, "a".to_owned(), "b\n\nc".to_owned())]);
    assert_eq!(rest, "");
}

#[test]
fn time_is_linear_in_hostile_texts() {
    let pieces = [
        "Q: a\n",
        "A: a\n",
        "Q: a\nUser: b\nInput: c\n",
        "<example>",
        "<document",
        "<document ",
        "<document>",
        "Example 1: a\nDocument 2: b\n",
        "### Prompt:\n### Response:\n",
        "```\n",
        "\n\n",
        "<|user|>",
        "<|user|>a<|assistant|>b",
        "#######################",
        "1.1.1.1.",
        "[[[[[",
        "Example 1\n</example>\n",
    ];
    let started = std::time::Instant::now();
    for piece in pieces {
        for tail in [Tail::Question, Tail::Nothing] {
            find(&piece.repeat(200_000 / piece.len()), tail);
        }
    }
    // 7 MB without optimisation take a few seconds; quadratic work would take hours.
    assert!(started.elapsed().as_secs() < 120);
}

proptest! {
    #[test]
    fn spans_are_in_order_within_the_text_and_never_overlap(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("Q: "), Just("A: "), Just("### Prompt: "), Just("### Response: "), Just("Example 2: "),
                Just("<example>"), Just("</example>"), Just("[Document 1]"), Just("<user>"), Just("<assistant>"),
                Just("\n"), Just("\n\n"), Just("é"), Just("```\n"), Just("text "), Just("User:"), Just("<"),
            ],
            0..40,
        ),
        question: bool,
    ) {
        let text = pieces.concat();
        let tail = if question { Tail::Question } else { Tail::Nothing };
        let mut at = 0;
        for found in find(&text, tail) {
            prop_assert!(found.span.start >= at && found.span.end > found.span.start, "{:?}", found);
            prop_assert!(text.get(found.span.clone()).is_some());
            prop_assert!(!found.content.is_empty());
            at = found.span.end;
        }
        prop_assert!(at <= text.len());
    }
}
