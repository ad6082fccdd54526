//! What a local model reads under every built-in defence, in its chat template, in every placement.

use std::fmt::Write as _;

use tiltmeter_core::experiment::{DataSource, read, resolve};

use super::*;
use crate::text::{ChatTemplate, Vocabulary};

/// Demonstrations and a question, short ones.
struct Files;

impl DataSource for Files {
    fn text(&self, path: &str) -> Result<String, std::io::Error> {
        if path == "q.yaml" {
            return Ok("- id: bored\n  paraphrases: [I am bored.]\n".to_owned());
        }
        let kind = if path == "good.jsonl" { "good" } else { "bad" };
        let line = |number: u32| {
            format!(
                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Ask {number}\"}}, \
                 {{\"role\": \"assistant\", \"content\": \"A {kind} answer {number}\"}}]}}\n"
            )
        };
        Ok((0..12).map(line).collect())
    }
}

#[test]
fn every_defence_is_read_as_it_was() {
    let (_folder, gguf) = TINY.open();
    let vocabulary = Vocabulary::from_gguf(&gguf).unwrap();
    let template = ChatTemplate::from_gguf(&gguf).unwrap();
    for placement in ["first-user", "chat-turns", "system"] {
        let mut text = format!(
            "name = 'golden'\nreasoning_probe = 'elicit'\n[[subjects]]\nid = 's'\nmodel = 'local/s'\n[demonstrations]\n\
             sets = [{{ path = 'bad.jsonl', benign = 'good.jsonl' }}]\nshots = [2]\nplacement = '{placement}'\n\
             [questions]\nsets = ['q.yaml']\n[[defences]]\nid = 'append'\nappend_benign = 2\n"
        );
        for defence in ["quote", "safety-first", "context-first", "warning", "role-reminder"] {
            writeln!(text, "[[defences]]\nid = '{defence}'").unwrap();
        }
        let experiment = resolve("x.toml", &text, read("x.toml", &text).unwrap(), &Files).unwrap();
        let plan = experiment.plan(|_| false);
        let mut all = String::new();
        for (index, treatment) in experiment.treatments.iter().enumerate() {
            let condition = plan.conditions.iter().find(|condition| condition.treatment == index).unwrap();
            let key = (experiment.asked_as(index), condition.contexts[0]);
            let block = plan.blocks.iter().find(|block| (block.treatment, block.context) == key).unwrap();
            let context = Arc::new(experiment.render(plan.contexts[block.context]));
            let sample = experiment.samples(&plan, block, &context).next().unwrap();
            let tokens = template.encode(&sample.prompt, &vocabulary).unwrap();
            let shown: Vec<u8> =
                tokens.iter().flat_map(|&token| vocabulary.all_bytes(token)).copied().collect();
            writeln!(all, "## {}\n{}\n", treatment.id, String::from_utf8(shown).unwrap()).unwrap();
        }
        insta::assert_snapshot!(format!("treatments-{placement}"), all);
    }
}
