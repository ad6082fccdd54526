//! Whatever is in a request's body, it is read or refused; its examples stand within it, apart from each other; and what
//! is left without them is a request still.
//!
//! The first byte chooses the protocol; the body follows.
#![no_main]

use std::slice;

use libfuzzer_sys::fuzz_target;
use tiltmeter_guard::conversation::{Protocol, RequestView};
use tiltmeter_guard::fuzzing;
use tiltmeter_guard::inspect::split;
use tiltmeter_guard::inspection::{FlaggedExample, Place};

const PROTOCOLS: [Protocol; 3] = [Protocol::ChatCompletions, Protocol::Responses, Protocol::Messages];

fuzz_target!(|bytes: &[u8]| {
    let Some((&which, body)) = bytes.split_first() else { return };
    let protocol = PROTOCOLS[usize::from(which) % PROTOCOLS.len()];
    let Ok(view) = RequestView::read(protocol, body.to_vec().into()) else { return };
    let split = split(&view);
    let mut spans = Vec::new();
    let mut flagged = Vec::new();
    for example in &split.examples {
        assert_eq!(example.id, example.content.id());
        assert!(!example.content.is_empty());
        for place in &example.places {
            match place {
                Place::Messages(range) => {
                    spans.push(view.messages[range.start].span.start..view.messages[range.end - 1].span.end);
                }
                Place::Text { message, text, range } => {
                    let text = &view.messages[*message].texts[*text];
                    assert!(view.text(text).get(range.clone()).is_some());
                    let places = view.places(text, slice::from_ref(range));
                    assert!(!places.is_empty());
                    spans.extend(places);
                }
            }
        }
        flagged.push(FlaggedExample { id: example.id, places: example.places.clone() });
    }
    spans.sort_by_key(|span| span.start);
    assert!(spans.iter().all(|span| span.start < span.end && span.end <= body.len()));
    assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
    if let Some(changed) = fuzzing::act(&view, &flagged) {
        RequestView::read(protocol, changed).expect("a request without some examples is a request");
    }
});
