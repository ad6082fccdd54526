//! What actions do to a body: they cut out of its bytes and put into them. What they leave is as it came.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::conversation::{Message, Protocol, RequestView, Role, TextKind};
use crate::inspection::{FlaggedExample, Place};

/// Bytes that are replaced by others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) range: Range<usize>,
    pub(crate) by: String,
}

impl Edit {
    fn insert(at: usize, by: String) -> Self {
        Self { range: at..at, by }
    }

    fn cut(range: Range<usize>) -> Self {
        Self { range, by: String::new() }
    }
}

/// The body with all edits, which must not overlap. `None` where it is no JSON any more: nothing is changed then.
pub(crate) fn apply(body: &Bytes, mut edits: Vec<Edit>) -> Option<Bytes> {
    // At one place, what is put in comes after what is cut out before it.
    edits.sort_by_key(|edit| (edit.range.start, edit.range.end));
    let mut changed = Vec::with_capacity(body.len() + edits.iter().map(|edit| edit.by.len()).sum::<usize>());
    let mut at = 0;
    for edit in edits {
        changed.extend_from_slice(body.get(at..edit.range.start)?);
        changed.extend_from_slice(edit.by.as_bytes());
        at = edit.range.end;
    }
    changed.extend_from_slice(body.get(at..)?);
    serde_json::from_slice::<IgnoredAny>(&changed).ok()?;
    Some(changed.into())
}

/// The last message of the user's own, by its index. A message that gives what a tool gave is an answer to the model.
fn question(view: &RequestView) -> Option<usize> {
    let gives_results =
        |message: &Message| message.texts.iter().any(|text| text.kind == TextKind::ToolResult);
    view.messages.iter().rposition(|message| message.role == Role::User && !gives_results(message))
}

/// Puts the safety instruction in after the examples: before the last message of the user's; where nothing but instructions
/// comes before that one, the examples are in it, and the instruction comes after it. It never comes first, as providers'
/// caches of prompts would be lost. `None` where there is no place for it.
pub(crate) fn instruct(view: &RequestView, text: &str) -> Option<Vec<Edit>> {
    // Anthropic's protocol knows no other speaker in the middle of a conversation.
    let role = if view.protocol == Protocol::Messages { "user" } else { "system" };
    let instruction = json!({ "role": role, "content": text }).to_string();
    let index = question(view)?;
    let span = &view.messages.get(index)?.span;
    if view.body.get(span.start) == Some(&b'"') {
        // Input that is a single text becomes a list.
        return Some(vec![
            Edit::insert(span.start, r#"[{"role":"user","content":"#.to_owned()),
            Edit::insert(span.end, format!("}},{instruction}]")),
        ]);
    }
    let is_first = view.messages.iter().take(index).all(|message| message.role == Role::System);
    Some(vec![if is_first {
        Edit::insert(span.end, format!(",{instruction}"))
    } else {
        Edit::insert(span.start, format!("{instruction},"))
    }])
}

/// Lets another model answer. `literal` is where the body has the model's name.
pub(crate) fn fall_back(literal: Range<usize>, model: &str) -> Edit {
    Edit { range: literal, by: json!(model).to_string() }
}

/// What of the flagged examples can be cut out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cutting {
    pub(crate) edits: Vec<Edit>,
    /// Examples that are cut out.
    pub(crate) done: usize,
    /// Examples that cannot be.
    pub(crate) impossible: usize,
}

/// Cuts flagged examples out. The last message of the user's is never cut out as a whole: it is what is asked.
pub(crate) fn quarantine(view: &RequestView, flagged: &[FlaggedExample]) -> Cutting {
    let question = question(view);
    let mut messages = vec![false; view.messages.len()];
    // By text, so that each is walked through once: a body may hold tens of thousands of flagged examples.
    let mut ranges: BTreeMap<(usize, usize), Vec<Range<usize>>> = BTreeMap::new();
    let mut cutting = Cutting::default();
    for example in flagged {
        if example.places.is_empty() || !example.places.iter().all(|place| is_possible(view, place, question))
        {
            cutting.impossible += 1;
            continue;
        }
        cutting.done += 1;
        for place in &example.places {
            match place {
                Place::Messages(range) => {
                    if let Some(range) = messages.get_mut(range.clone()) {
                        range.fill(true);
                    }
                }
                Place::Text { message, text, range } => {
                    ranges.entry((*message, *text)).or_default().push(range.clone());
                }
            }
        }
    }
    let mut cuts = whole_messages(view, &messages);
    for ((message, text), ranges) in ranges {
        let text = view.messages.get(message).and_then(|message| message.texts.get(text));
        cuts.extend(text.into_iter().flat_map(|text| view.places(text, &ranges)));
    }
    cutting.edits = merged(cuts).into_iter().map(Edit::cut).collect();
    cutting
}

fn is_possible(view: &RequestView, place: &Place, question: Option<usize>) -> bool {
    match place {
        Place::Messages(range) => {
            range.start < range.end
                && range.end <= view.messages.len()
                && question.is_some_and(|question| !range.contains(&question))
        }
        Place::Text { message, text, range } => {
            let text = view.messages.get(*message).and_then(|message| message.texts.get(*text));
            text.is_some() && range.start < range.end
        }
    }
}

/// The bytes of messages, with the commas that go with them.
fn whole_messages(view: &RequestView, chosen: &[bool]) -> Vec<Range<usize>> {
    let mut cuts = Vec::new();
    let mut index = 0;
    while index < chosen.len() {
        let run = chosen[index..].iter().take_while(|chosen| **chosen).count();
        if run == 0 {
            index += 1;
            continue;
        }
        let (first, after) = (index, index + run);
        let span = |index: usize| view.messages.get(index).map(|message| message.span.clone());
        match (span(first), span(after), first.checked_sub(1).and_then(span)) {
            (Some(first), Some(next), _) => cuts.push(first.start..next.start),
            (Some(_), None, Some(before)) => {
                cuts.extend(span(after - 1).map(|last| before.end..last.end));
            }
            // All of them: there would be nothing left to ask.
            _ => {}
        }
        index = after;
    }
    cuts
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use tiltmeter_core::id::Canonical;

    use super::*;
    use crate::inspection::ExampleId;

    fn view(protocol: Protocol, body: &str) -> RequestView {
        RequestView::read(protocol, Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn instructed(protocol: Protocol, body: &str) -> Option<String> {
        let view = view(protocol, body);
        let changed = apply(&view.body, instruct(&view, "be \"safe\"")?)?;
        Some(String::from_utf8(changed.to_vec()).unwrap())
    }

    fn flagged(places: Vec<Place>) -> FlaggedExample {
        FlaggedExample { id: ExampleId(Canonical::new("test").finish()), places }
    }

    fn after(view: &RequestView, flagged: &[FlaggedExample]) -> String {
        let changed = apply(&view.body, quarantine(view, flagged).edits).unwrap();
        String::from_utf8(changed.to_vec()).unwrap()
    }

    #[test]
    fn the_instruction_comes_after_the_examples_and_never_first() {
        let system = r#"{"role":"system","content":"be \"safe\""}"#;
        let user = r#"{"role":"user","content":"be \"safe\""}"#;
        let cases = [
            (
                Protocol::ChatCompletions,
                r#"{"messages":[{"role":"user","content":"a"}, {"role":"assistant","content":"b"}, {"role":"user","content":"c"}]}"#,
                format!(
                    r#"{{"messages":[{{"role":"user","content":"a"}}, {{"role":"assistant","content":"b"}}, {system},{{"role":"user","content":"c"}}]}}"#
                ),
            ),
            (
                Protocol::ChatCompletions,
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"c"} ]}"#,
                format!(
                    r#"{{"messages":[{{"role":"system","content":"s"}},{{"role":"user","content":"c"}},{system} ]}}"#
                ),
            ),
            (
                Protocol::Messages,
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t"}]},{"role":"user","content":[{"type":"tool_result","content":"r"}]}]}"#,
                format!(
                    r#"{{"messages":[{{"role":"user","content":"a"}},{user},{{"role":"assistant","content":[{{"type":"tool_use","id":"t"}}]}},{{"role":"user","content":[{{"type":"tool_result","content":"r"}}]}}]}}"#
                ),
            ),
            (
                Protocol::Responses,
                r#"{"input": "hello" ,"model":"m"}"#,
                format!(r#"{{"input": [{{"role":"user","content":"hello"}},{system}] ,"model":"m"}}"#),
            ),
        ];
        for (protocol, body, expected) in cases {
            assert_eq!(instructed(protocol, body).as_deref(), Some(expected.as_str()), "{body}");
        }
        assert_eq!(instructed(Protocol::ChatCompletions, r#"{"messages":[]}"#), None);
    }

    #[test]
    fn examples_are_cut_out_with_their_commas() {
        let message = |name: &str| {
            format!(r#"{{"role":"{}","content":"{name}"}}"#, if name == "a" { "assistant" } else { "user" })
        };
        let body = format!(
            r#"{{ "messages" : [ {} , {} , {} , {} ] , "n":1}}"#,
            message("q"),
            message("a"),
            message("r"),
            message("z")
        );
        let view = view(Protocol::ChatCompletions, &body);
        let whole = |range: Range<usize>| flagged(vec![Place::Messages(range)]);
        assert_eq!(
            after(&view, &[whole(0..2)]),
            format!(r#"{{ "messages" : [ {} , {} ] , "n":1}}"#, message("r"), message("z"))
        );
        assert_eq!(
            after(&view, &[whole(1..2), whole(2..3)]),
            format!(r#"{{ "messages" : [ {} , {} ] , "n":1}}"#, message("q"), message("z"))
        );
        // The question stays, and so does what is not there.
        for impossible in [whole(2..4), whole(3..9), whole(1..1), flagged(vec![])] {
            let cutting = quarantine(&view, &[impossible]);
            assert_eq!(cutting, Cutting { edits: vec![], done: 0, impossible: 1 });
        }
    }

    #[test]
    fn a_part_of_a_text_is_cut_out() {
        let body = r####"{"messages":[{"role":"user","content":"### Prompt: a\n\u00e9\n\n### Prompt: b\n\n### Prompt: c"}]}"####;
        let view = view(Protocol::ChatCompletions, body);
        let text = view.text(&view.messages[0].texts[0]).into_owned();
        let end = text.find("### Prompt: b").unwrap();
        let place = |range| flagged(vec![Place::Text { message: 0, text: 0, range }]);
        let expected = r####"{"messages":[{"role":"user","content":"### Prompt: b\n\n### Prompt: c"}]}"####;
        assert_eq!(after(&view, &[place(0..end)]), expected);
        // Places that overlap are cut out once.
        assert_eq!(after(&view, &[place(0..end - 1), place(3..end)]), expected);
        // Together with the instruction, and another model.
        let mut edits = quarantine(&view, &[place(0..end)]).edits;
        edits.extend(instruct(&view, "s").unwrap());
        let changed = apply(&view.body, edits).unwrap();
        let value: Value = serde_json::from_slice(&changed).unwrap();
        assert_eq!(value["messages"][0]["content"], "### Prompt: b\n\n### Prompt: c");
        assert_eq!(value["messages"][1]["content"], "s");
    }

    proptest! {
        /// Whatever is cut out of whatever list, the result is a list without exactly that.
        #[test]
        fn what_is_left_is_what_was_not_flagged(chosen in proptest::collection::vec(any::<bool>(), 1..12), spaces in "[ \n]{0,3}") {
            let messages: Vec<String> = (0..=chosen.len()).map(|index| format!(r#"{{"role":"user","content":"{index}"}}"#)).collect();
            let body = format!(r#"{{"messages":[{spaces}{}{spaces}]}}"#, messages.join(&format!("{spaces},{spaces}")));
            let view = view(Protocol::ChatCompletions, &body);
            let examples: Vec<FlaggedExample> = chosen.iter().enumerate().filter(|(_, chosen)| **chosen)
                .map(|(index, _)| flagged(vec![Place::Messages(index..index + 1)])).collect();
            let changed: Value = serde_json::from_str(&after(&view, &examples)).unwrap();
            let left: Vec<String> = changed["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect();
            let expected: Vec<String> = (0..=chosen.len()).filter(|index| !chosen.get(*index).copied().unwrap_or(false)).map(|index| index.to_string()).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
