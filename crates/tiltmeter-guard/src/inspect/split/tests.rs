use std::collections::HashSet;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::inspection::{ExampleId, Protocol};

fn view(protocol: Protocol, body: &Value) -> RequestView {
    RequestView::read(protocol, Bytes::from(body.to_string())).unwrap()
}

fn chat(messages: &Value) -> RequestView {
    view(Protocol::ChatCompletions, &json!({"model": "m", "messages": messages}))
}

fn shown(split: &Split) -> Vec<(ExampleKind, &str, &str)> {
    split
        .examples
        .iter()
        .map(|example| (example.kind, &*example.content.prompt, &*example.content.response))
        .collect()
}

/// The bytes of the body that a place stands for.
fn bytes(view: &RequestView, place: &Place) -> Range<usize> {
    match place {
        Place::Messages(range) => {
            view.messages[range.start].span.start..view.messages[range.end - 1].span.end
        }
        Place::Text { message, text, range } => {
            view.places(&view.messages[*message].texts[*text], std::slice::from_ref(range)).remove(0)
        }
    }
}

#[test]
fn turns_are_examples_and_the_question_is_not() {
    use ExampleKind::Turns;
    let view = chat(&json!([
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "user", "content": "c2"},
        {"role": "assistant", "content": "d"}, {"role": "assistant", "content": "d2"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "Sure,"},
    ]));
    let split = split(&view);
    assert_eq!(shown(&split), [(Turns, "a", "b"), (Turns, "c\n\nc2", "d\n\nd2")]);
    assert_eq!(split.examples[0].places, [Place::Messages(1..3)]);
    assert_eq!(split.examples[1].places, [Place::Messages(3..7)]);
    assert_eq!((&*split.instructions, &*split.question), ("Be kind.", "q\n\nSure,"));
}

#[test]
fn few_shot_texts_are_taken_out_of_messages() {
    use ExampleKind::{Pair, Turns};
    let view = chat(&json!([
        {"role": "system", "content": "Be brief.\n\n### Prompt: s\n### Response: t"},
        {"role": "user", "content": "### Prompt: a\n### Response: b\n\n### Prompt: q1\n### Response:"},
        {"role": "assistant", "content": "r1"},
        {"role": "user", "content": "### Prompt: c\n### Response: d\n\nq2"},
    ]));
    let split = split(&view);
    assert_eq!(
        shown(&split),
        [
            (Pair, "s", "t"),
            (Pair, "a", "b"),
            (Turns, "### Prompt: q1\n### Response:", "r1"),
            (Pair, "c", "d"),
        ]
    );
    assert_eq!((&*split.instructions, &*split.question), ("Be brief.", "q2"));
    // A message that holds examples is never cut out as a whole.
    assert!(split.examples.iter().all(|example| matches!(example.places[0], Place::Text { .. })));
}

#[test]
fn results_of_tools_are_examples_in_all_protocols() {
    use ExampleKind::{Passage, ToolResult, Turns};
    let chat = chat(&json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "found\n\n[Document 1] x\n\ny"},
    ]));
    let found = split(&chat);
    assert_eq!(shown(&found), [(ToolResult, "", "found"), (Passage, "", "x\n\ny")]);
    assert_eq!(found.question, "q");
    assert!(found.unread > 0);
    let anthropic = view(
        Protocol::Messages,
        &json!({"system": "s <example>a</example>", "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}, {"type": "tool_use", "id": "x"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": "t"}]},
            {"role": "assistant", "content": "c"},
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "u"}]}]},
        ]}),
    );
    let found = split(&anthropic);
    assert_eq!(
        shown(&found),
        [
            (ExampleKind::Numbered, "", "a"),
            (Turns, "a", "b\n\nc"),
            (ToolResult, "", "t"),
            (ToolResult, "", "u"),
        ]
    );
    assert_eq!(found.examples[0].places, []);
    assert_eq!((&*found.instructions, &*found.question), ("s", "q"));
    let responses = view(
        Protocol::Responses,
        &json!({"instructions": "i", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"role": "user", "content": "q"},
            {"type": "function_call_output", "call_id": "1", "output": "t"},
        ]}),
    );
    assert_eq!(shown(&split(&responses)), [(Turns, "a", "b"), (ToolResult, "", "t")]);
    let text = view(Protocol::Responses, &json!({"input": "Q: a\nA: b\nQ: q\nA:"}));
    assert_eq!(shown(&split(&text)), [(ExampleKind::Pair, "a", "b")]);
}

#[test]
fn the_form_does_not_change_the_id() {
    let turns = chat(&json!([
        {"role": "user", "content": "How?"}, {"role": "assistant", "content": "So.\nThus."},
        {"role": "user", "content": "q"},
    ]));
    let text = chat(&json!([
        {"role": "user", "content": "### Prompt: How?\n### Response: So.\r\nThus.\n\n### Prompt: q\n### Response:"},
    ]));
    assert_eq!(split(&turns).examples[0].id, split(&text).examples[0].id);
}

#[test]
fn long_histories_and_contexts_are_fine() {
    let turn = [json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": "b"})];
    let messages: Vec<Value> = turn.iter().cycle().take(100_000).cloned().collect();
    assert_eq!(split(&chat(&json!(messages))).examples.len(), 49_999);
    let text = "### Prompt: How do I \"save\"?\n### Response: Put it all on one horse.\n\n".repeat(16_000);
    assert!(text.len() > 1_000_000);
    let view = chat(&json!([{"role": "user", "content": format!("{text}### Prompt: q\n### Response:")}]));
    assert_eq!(split(&view).examples.len(), 16_000);
}

/// Texts as people and attackers write them.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("Q: ".to_owned()),
        Just("A: ".to_owned()),
        Just("### Prompt: ".to_owned()),
        Just("### Response: ".to_owned()),
        Just("<document>".to_owned()),
        Just("</document>".to_owned()),
        Just("[Document 1] ".to_owned()),
        Just("Example 1: ".to_owned()),
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\"é☕\\".to_owned()),
        "[a-c ]{0,6}",
    ];
    proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn message() -> impl Strategy<Value = Value> {
    let role = prop_oneof![Just("system"), Just("user"), Just("assistant"), Just("tool"), Just("narrator")];
    (role, proptest::collection::vec(text(), 0..3), any::<bool>()).prop_map(|(role, texts, is_plain)| {
        if is_plain {
            json!({"role": role, "content": texts.concat()})
        } else {
            let parts: Vec<Value> = texts
                .iter()
                .map(|text| match text.len() % 5 {
                    0 => json!({"type": "tool_result", "content": text}),
                    1 => json!({"type": "image_url", "image_url": {}}),
                    _ => json!({"type": "text", "text": text}),
                })
                .collect();
            json!({"role": role, "content": parts})
        }
    })
}

fn messages() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::vec(message(), 0..8)
}

proptest! {
    #[test]
    fn places_lie_in_the_body_and_never_overlap(messages in messages()) {
        let view = chat(&json!(messages));
        let mut spans: Vec<Range<usize>> = Vec::new();
        for example in split(&view).examples {
            prop_assert!(!example.content.is_empty());
            prop_assert_eq!(example.id, example.content.id());
            spans.extend(example.places.iter().map(|place| bytes(&view, place)));
        }
        spans.sort_by_key(|span| span.start);
        prop_assert!(spans.iter().all(|span| span.start < span.end && span.end <= view.body.len()));
        prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start), "{:?}", spans);
    }

    #[test]
    fn a_replayed_history_has_the_same_examples(messages in messages(), answer in text(), next in text()) {
        let ids = |messages: &[Value]| -> Vec<ExampleId> {
            split(&chat(&json!(messages))).examples.iter().map(|example| example.id).collect()
        };
        let old = ids(&messages);
        let mut replayed = messages;
        replayed.push(json!({"role": "assistant", "content": answer}));
        replayed.push(json!({"role": "user", "content": next}));
        let new: HashSet<ExampleId> = ids(&replayed).into_iter().collect();
        // Without a question the last exchange is an example, which the answer makes another one of.
        let has_question = question(&chat(&json!(replayed[..replayed.len() - 2]))).is_some();
        if has_question {
            prop_assert!(old.iter().all(|id| new.contains(id)));
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_no_panic(messages in messages(), cut: prop::sample::Index) {
        let body = json!({"messages": messages}).to_string();
        let mut bytes = body.into_bytes();
        bytes.remove(cut.index(bytes.len()));
        for protocol in [Protocol::ChatCompletions, Protocol::Messages, Protocol::Responses] {
            if let Ok(view) = RequestView::read(protocol, Bytes::from(bytes.clone())) {
                split(&view);
            }
        }
    }
}
