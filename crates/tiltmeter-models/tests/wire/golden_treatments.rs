//! The request of every built-in defence, in every protocol and placement, byte for byte.

use std::fmt::Write as _;
use std::sync::Arc;

use tiltmeter_core::experiment::{DataSource, Experiment, read, resolve};
use tiltmeter_core::prompt::Prompt;
use tiltmeter_models::{Api, ChatRequest};

use crate::server::{Answer, Server};
use crate::{endpoint, open, request};

pub(crate) const PROTOCOLS: [(Api, &str, &str); 4] = [
    (Api::ChatCompletions, "openai", include_str!("../fixtures/openai_compatible/openai.json")),
    (Api::Responses, "openai_responses", include_str!("../fixtures/openai_responses/reply.json")),
    (Api::Gemini, "gemini", include_str!("../fixtures/gemini/reply.json")),
    (Api::Anthropic, "anthropic", include_str!("../fixtures/anthropic/reply.json")),
];

pub(crate) const PLACEMENTS: [&str; 3] = ["first-user", "chat-turns", "system"];

/// Every defence that needs no model of its own.
const DEFENCES: [&str; 6] =
    ["append-benign", "quote", "safety-first", "context-first", "warning", "role-reminder"];

/// Demonstrations and a question, short ones.
struct Files;

impl DataSource for Files {
    fn text(&self, path: &str) -> Result<String, std::io::Error> {
        if path == "q.yaml" {
            return Ok("- id: bored\n  paraphrases: [\"I am \\\"bored\\\".\"]\n".to_owned());
        }
        let kind = if path == "good.jsonl" { "good" } else { "bad" };
        let line = |number: u32| {
            format!(
                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Ask {number}\"}}, \
                 {{\"role\": \"assistant\", \"content\": \"A {kind}\\n\\\"answer\\\" {number}\"}}]}}\n"
            )
        };
        Ok((0..12).map(line).collect())
    }
}

fn experiment(placement: &str) -> Experiment {
    let mut text = format!(
        "name = 'golden'\nreasoning_probe = 'elicit'\n[[subjects]]\nid = 's'\nmodel = 'openai/s'\n[demonstrations]\n\
         sets = [{{ path = 'bad.jsonl', benign = 'good.jsonl' }}]\nshots = [2]\nplacement = '{placement}'\n\
         [questions]\nsets = ['q.yaml']\n"
    );
    for defence in DEFENCES {
        writeln!(text, "[[defences]]\nid = '{defence}'").unwrap();
    }
    text.push_str(
        "[[defences]]\nid = 'together'\nappend_benign = 1\nquote = true\ninstruction = 'safety-first'\nwarning = true\n\
         role_reminder = true\n",
    );
    resolve("golden.toml", &text, read("golden.toml", &text).unwrap(), &Files).unwrap()
}

/// The first prompt of each treatment, in the order of the experiment.
fn prompts(experiment: &Experiment) -> Vec<(String, Arc<Prompt>)> {
    let plan = experiment.plan(|_| false);
    let prompt = |(index, treatment): (usize, &tiltmeter_core::treatment::Treatment)| {
        let condition = plan.conditions.iter().find(|condition| condition.treatment == index).unwrap();
        let asked = experiment.asked_as(index);
        let is_its = |block: &&tiltmeter_core::plan::Block| {
            block.treatment == asked && block.context == condition.contexts[0]
        };
        let block = plan.blocks.iter().find(is_its).unwrap();
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        let sample = experiment.samples(&plan, block, &context).next().unwrap();
        (treatment.id.to_string(), sample.prompt)
    };
    experiment.treatments.iter().enumerate().map(prompt).collect()
}

/// The body of each treatment's first request, in the order of the experiment.
pub(crate) async fn bodies_of(experiment: &Experiment, api: Api, reply: &str) -> Vec<(String, String)> {
    let server = Server::start(vec![Answer::json(200, reply)]).await;
    let model = open(api, endpoint(&server));
    let prompts = prompts(experiment);
    for (_, prompt) in &prompts {
        model.chat(&ChatRequest { prompt: prompt.clone(), ..request() }).await.unwrap();
    }
    let body = |received: &crate::server::Received| String::from_utf8(received.body.clone()).unwrap();
    prompts.into_iter().map(|(name, _)| name).zip(server.received().iter().map(body)).collect()
}

async fn bodies(api: Api, reply: &str, placement: &str) -> Vec<(String, String)> {
    bodies_of(&experiment(placement), api, reply).await
}

#[tokio::test]
async fn every_defence_sends_what_it_sent() {
    for (api, name, reply) in PROTOCOLS {
        for placement in PLACEMENTS {
            let mut all = String::new();
            for (treatment, body) in bodies(api, reply, placement).await {
                writeln!(all, "{treatment}\n{body}\n").unwrap();
            }
            insta::assert_snapshot!(format!("{name}-{placement}"), all);
        }
    }
}

#[tokio::test]
async fn a_text_that_is_put_in_is_the_whole_difference() {
    let inserted =
        ["safety-first", "context-first", "warning", "role-reminder", "append-benign", "reasoning"];
    for (api, _, reply) in PROTOCOLS {
        for placement in PLACEMENTS {
            let bodies = bodies(api, reply, placement).await;
            let body = |name: &str| &bodies.iter().find(|(treatment, _)| treatment == name).unwrap().1;
            let plain = body("none");
            for name in inserted {
                let defended = body(name);
                let same = |one: &mut dyn Iterator<Item = (u8, u8)>| one.take_while(|(a, b)| a == b).count();
                let start = same(&mut plain.bytes().zip(defended.bytes()));
                let end = same(&mut plain.bytes().rev().zip(defended.bytes().rev()));
                // One piece is new: what is before it and behind it add up to the undefended request.
                assert!(start + end >= plain.len(), "{api:?} {placement} {name}\n{plain}\n{defended}");
            }
        }
    }
}

#[tokio::test]
async fn the_mark_for_the_cache_stays_at_the_end_of_the_shared_demonstrations() {
    let (api, _, reply) = PROTOCOLS[3];
    for placement in PLACEMENTS {
        let bodies = bodies(api, reply, placement).await;
        // Up to its mark, a request is what all questions about its context have in common.
        let cached = |name: &str| {
            let body = &bodies.iter().find(|(treatment, _)| treatment == name).unwrap().1;
            let from = body.find(if body.contains("\"system\":") { "\"system\":" } else { "\"messages\":" });
            let (before, behind) = body.rsplit_once("\"cache_control\"").unwrap();
            (before.split_at(from.unwrap()).1.to_owned(), behind.to_owned())
        };
        let (plain, _) = cached("none");
        for name in ["warning", "role-reminder", "reasoning"] {
            let (before, behind) = cached(name);
            assert_eq!(before, plain, "{placement} {name}");
            let prompts = prompts(&experiment(placement));
            let prompt = &prompts.iter().find(|(treatment, _)| treatment == name).unwrap().1;
            let put_in = prompt.after_examples.as_ref().or(prompt.after_question.as_ref()).unwrap();
            let escaped = serde_json::to_string(put_in).unwrap();
            assert!(behind.contains(escaped.trim_matches('"')), "{placement} {name}: {behind}");
        }
        // Quoted or with more behind them, the demonstrations are marked at their end as well.
        for name in ["quote", "append-benign", "together"] {
            let (before, behind) = cached(name);
            assert!(before.contains("answer"), "{placement} {name}: {before}");
            assert!(!behind.contains("answer\\\""), "{placement} {name}: {behind}");
        }
    }
}
