//! The request of the guard as a defence, in every protocol and placement, byte for byte.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use tiltmeter_core::experiment::{DataSource, Experiment, read, resolve};
use tiltmeter_core::guarding::{GuardFinding, GuardRisk, SAFETY_INSTRUCTION};
use tiltmeter_core::prompt::{Placement, QuestionFormat, RenderedContext};
use tiltmeter_models::Api;

use crate::golden_treatments::{PLACEMENTS, PROTOCOLS, bodies_of};

struct Files;

impl DataSource for Files {
    fn text(&self, path: &str) -> Result<String, std::io::Error> {
        if path == "q.yaml" {
            return Ok("- id: bored\n  paraphrases: [\"I am \\\"bored\\\".\"]\n".to_owned());
        }
        let line = |number: u32| {
            format!(
                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Ask {number}\"}}, \
                 {{\"role\": \"assistant\", \"content\": \"A bad\\n\\\"answer\\\" {number}\"}}]}}\n"
            )
        };
        Ok((0..12).map(line).collect())
    }
}

/// Under the guard, the first demonstration of each context is flagged; at high risk, or nothing at all is found.
fn experiment(placement: &str, risk: GuardRisk) -> Experiment {
    let text = format!(
        "name = 'golden'\n[[subjects]]\nid = 's'\nmodel = 'openai/s'\n[demonstrations]\nsets = ['bad.jsonl']\nshots = [3]\n\
         placement = '{placement}'\n[questions]\nsets = ['q.yaml']\n[[defences]]\nid = 'guard'\n\
         [[defences]]\nid = 'instruct'\nguard = {{ on_high = ['instruct'] }}\n\
         [[defences]]\nid = 'quarantine'\nguard = {{ on_high = ['quarantine'] }}\n\
         [[defences]]\nid = 'warned-too'\nwarning = 'Take care.'\nguard = {{ on_high = ['instruct'] }}\n"
    );
    let mut experiment = resolve("golden.toml", &text, read("golden.toml", &text).unwrap(), &Files).unwrap();
    let plan = experiment.plan(|_| false);
    let placement = Placement::ALL.into_iter().find(|one| one.name() == placement).unwrap();
    let mut findings = HashMap::new();
    for one in experiment.to_be_inspected(&plan, 0) {
        let rest = one.demonstrations.iter().skip(1).map(|(prompt, response)| (&**prompt, &**response));
        let left = RenderedContext::render(rest, placement, QuestionFormat::Header);
        let is_high = risk == GuardRisk::High;
        let finding = GuardFinding {
            risk,
            score: if is_high { 0.9 } else { 0.0 },
            left: is_high.then(|| Arc::new(left)),
            flagged: if is_high { vec![0] } else { Vec::new() },
        };
        findings.insert(one.context, finding);
    }
    assert_eq!(experiment.guards.len(), 1, "one that finds the same is one");
    experiment.guards[0].findings = Some(findings);
    experiment
}

async fn bodies(api: Api, reply: &str, placement: &str, risk: GuardRisk) -> Vec<(String, String)> {
    bodies_of(&experiment(placement, risk), api, reply).await
}

#[tokio::test]
async fn the_guard_sends_what_it_sent() {
    for (api, name, reply) in PROTOCOLS {
        for placement in PLACEMENTS {
            let mut all = String::new();
            for (treatment, body) in bodies(api, reply, placement, GuardRisk::High).await {
                writeln!(all, "{treatment}\n{body}\n").unwrap();
            }
            insta::assert_snapshot!(format!("{name}-{placement}"), all);
        }
    }
}

#[tokio::test]
async fn what_is_not_flagged_is_sent_as_it_is() {
    for (api, _, reply) in PROTOCOLS {
        for placement in PLACEMENTS {
            let bodies = bodies(api, reply, placement, GuardRisk::None).await;
            for (name, body) in &bodies[1..4] {
                assert_eq!(*body, bodies[0].1, "{api:?} {placement} {name}");
            }
            let experiment = experiment(placement, GuardRisk::None);
            let plan = experiment.plan(|_| false);
            let contexts: Vec<_> = plan.conditions.iter().map(|condition| &condition.contexts).collect();
            assert!(contexts.iter().all(|one| *one == contexts[0]), "and asked for once: {contexts:?}");
        }
    }
}

#[tokio::test]
async fn quarantine_and_instruction_are_the_whole_difference() {
    let (api, _, reply) = PROTOCOLS[0];
    for placement in PLACEMENTS {
        let bodies = bodies(api, reply, placement, GuardRisk::High).await;
        let body = |name: &str| &bodies.iter().find(|(treatment, _)| treatment == name).unwrap().1;
        let note = format!("{SAFETY_INSTRUCTION}\\n\\n");
        assert_eq!(body("instruct").matches(&note).count(), 1, "{placement}");
        assert_eq!(body("instruct").replace(&note, ""), *body("none"), "{placement}");
        assert_eq!(body("guard").replace(&note, ""), *body("quarantine"), "{placement}");
        assert_eq!(body("quarantine").matches("A bad").count(), 2, "{placement}");
        assert_eq!(body("none").matches("A bad").count(), 3, "{placement}");
        assert_eq!(body("warned-too").replace("Take care.\\n\\n", ""), *body("instruct"), "{placement}");
    }
}
