use std::collections::{HashMap, HashSet};

use super::*;
use crate::experiment::{DataSource, read, resolve};
use crate::procedure::Procedure;

pub(super) struct NoFiles;

impl DataSource for NoFiles {
    fn text(&self, _: &str) -> Result<String, std::io::Error> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

pub(super) fn experiment(demonstrations: &str, rest: &str) -> Experiment {
    let text = format!(
        "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\n{demonstrations}\n{rest}\n"
    );
    resolve("x.toml", &text, read("x.toml", &text).unwrap(), &NoFiles).unwrap()
}

#[test]
fn the_grid_has_one_empty_context_and_no_control_at_zero() {
    let experiment = experiment(
        "sets = ['risky-financial', 'bad-medical']\nshots = [0, 1, 4]\ncontexts = 3\ncontrols = ['benign', 'shuffled']",
        "[questions]\nreplicates = 2",
    );
    let plan = experiment.plan(|_| false);
    let named: Vec<(usize, &str, u32, usize)> = plan
        .conditions
        .iter()
        .map(|condition| (condition.set, condition.control.name(), condition.shots, condition.contexts.len()))
        .collect();
    let of_set = |set| {
        [
            (set, "none", 0, 1),
            (set, "none", 1, 3),
            (set, "none", 4, 3),
            (set, "benign", 1, 3),
            (set, "benign", 4, 3),
            (set, "shuffled", 4, 3),
        ]
    };
    assert_eq!(named, [of_set(0), of_set(1)].concat());
    // The empty context is worked on once for both sets.
    assert_eq!(plan.blocks.len(), 1 + 2 * 5 * 3);
    let samples: u64 = estimate(&experiment, &plan).iter().map(|one| one.samples).sum();
    assert_eq!(samples, 31 * 32 * 2);
}

#[test]
fn sample_ids_differ_by_all_that_determines_them() {
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [0, 2]\ncontexts = 2\ncontrols = ['benign']",
        "[[instructions]]\nid = 'safety-first'\n[questions]\nreplicates = 3",
    );
    let plan = experiment.plan(|_| true);
    let mut ids = HashSet::new();
    let mut count = 0;
    for block in &plan.blocks {
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        for sample in experiment.samples(&plan, block, &context) {
            ids.insert(sample.id);
            count += 1;
        }
        for score in experiment.scores(block, &context) {
            ids.insert(score.id);
            count += 1;
        }
    }
    assert_eq!(ids.len(), count);
}

#[test]
fn controls_keep_the_prompts_and_their_order() {
    let experiment = experiment(
        "sets = ['bad-medical']\nshots = [16]\ncontexts = 2\ncontrols = ['benign', 'shuffled']",
        "",
    );
    let shown = |control| {
        experiment.demonstrations(ContextSpec {
            set: 0,
            control,
            shots: 16,
            draw: 1,
            ..ContextSpec::empty(Placement::FirstUser)
        })
    };
    let (none, benign, shuffled) = (shown(Control::None), shown(Control::Benign), shown(Control::Shuffled));
    for ((own, kind), moved) in none.iter().zip(&benign).zip(&shuffled) {
        assert_eq!(own.0, kind.0);
        assert_eq!(own.0, moved.0);
        assert_ne!(own.1, kind.1);
        assert_ne!(own.1, moved.1);
        assert_eq!(own.2, kind.2);
    }
    let sorted = |list: &[(Arc<str>, Arc<str>, usize)]| {
        let mut answers: Vec<Arc<str>> = list.iter().map(|(_, answer, _)| answer.clone()).collect();
        answers.sort();
        answers
    };
    assert_eq!(sorted(&none), sorted(&shuffled));
}

#[test]
fn independent_draws_do_not_nest_and_nested_ones_do() {
    let rows = |nested: bool, shots| {
        let experiment =
            experiment(&format!("sets = ['bad-medical']\nshots = [4, 16]\nnested = {nested}"), "");
        experiment
            .demonstrations(ContextSpec { shots, ..ContextSpec::empty(Placement::FirstUser) })
            .into_iter()
            .map(|(_, _, row)| row)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(true, 4), rows(true, 16)[..4]);
    assert_ne!(rows(false, 4), rows(false, 16)[..4]);
}

#[test]
fn sampling_and_tilt_take_their_own_share() {
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [0, 4, 16]\ncontexts = 2",
        "[sampling]\nshots = [16]\nquestions = 3\n[tilt]\nshots = [4]\nquestions = 5\ndecoys = false",
    );
    let plan = experiment.plan(|_| true);
    let shares: Vec<(u32, usize, usize)> =
        plan.conditions.iter().map(|one| (one.shots, one.sampled.len(), one.scored.len())).collect();
    assert_eq!(shares, [(0, 0, 0), (4, 0, 5), (16, 3, 0)]);
    // The baseline without context is scored although k = 0 was not asked for.
    let baseline = plan
        .blocks
        .iter()
        .find(|block| plan.contexts[block.context] == ContextSpec::empty(Placement::FirstUser))
        .unwrap();
    assert_eq!((baseline.sampled.len(), baseline.scored.len()), (0, 5));
    let total = &estimate(&experiment, &plan)[0];
    assert_eq!((total.samples, total.scores), (2 * 3, (1 + 2) * 5 * 2 * 2));
}

#[test]
fn wordings_are_used_in_turn() {
    struct Yaml;
    impl DataSource for Yaml {
        fn text(&self, _: &str) -> Result<String, std::io::Error> {
            Ok("- id: a\n  paraphrases: [one, two, three]\n".to_owned())
        }
    }
    let text = "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\nsets = ['bad-medical']\nshots = [2]\ncontexts = 2\n[questions]\nsets = ['q.yaml']\nreplicates = 2\n";
    let experiment = resolve("x.toml", text, read("x.toml", text).unwrap(), &Yaml).unwrap();
    let plan = experiment.plan(|_| false);
    let mut asked = Vec::new();
    for block in &plan.blocks {
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        asked.extend(
            experiment.samples(&plan, block, &context).map(|sample| sample.prompt.question.to_string()),
        );
    }
    assert_eq!(asked, ["one", "two", "three", "one"]);
}

/// What an experiment with these controls shows under one of them.
fn shown(experiment: &Experiment, control: &str, shots: u32, draw: u32) -> Vec<(Arc<str>, Arc<str>, usize)> {
    let control = Control::from_name(control).unwrap();
    experiment.demonstrations(ContextSpec {
        control,
        shots,
        draw,
        ..ContextSpec::empty(Placement::FirstUser)
    })
}

fn with_controls(controls: &str, shots: &str) -> Experiment {
    experiment(
        &format!("sets = ['insecure-code']\nshots = {shots}\ncontexts = 2\ncontrols = [{controls}]"),
        "",
    )
}

#[test]
fn filler_is_as_long_as_what_it_stands_in_for_and_nothing_else_of_it() {
    let experiment = with_controls("'length-matched'", "[16, 64]");
    for draw in 0..2 {
        let (own, filler) =
            (shown(&experiment, "none", 64, draw), shown(&experiment, "length-matched", 64, draw));
        assert_eq!(own.len(), filler.len());
        let mut lengths = (0, 0);
        for (own, filler) in own.iter().zip(&filler) {
            assert_eq!(own.2, filler.2);
            for (text, filler) in [(&own.0, &filler.0), (&own.1, &filler.1)] {
                let (length, filled) = (text.chars().count(), filler.chars().count());
                assert!(length.abs_diff(filled) * 10 <= length, "{text} | {filler}");
                assert_ne!(text, filler);
                lengths = (lengths.0 + length, lengths.1 + filled);
            }
        }
        assert!(usize::abs_diff(lengths.0, lengths.1) * 100 <= lengths.0, "{lengths:?}");
        assert_eq!(shown(&experiment, "length-matched", 16, draw), filler[..16]);
    }
    assert_ne!(shown(&experiment, "length-matched", 64, 0), shown(&experiment, "length-matched", 64, 1));
}

#[test]
fn statements_keep_their_questions_and_differ_in_truth_alone() {
    let experiment = with_controls("'false-harmless', 'true-harmless'", "[16, 132]");
    let (wrong, right) =
        (shown(&experiment, "false-harmless", 132, 1), shown(&experiment, "true-harmless", 132, 1));
    let distinct: HashSet<&str> = wrong.iter().map(|(question, ..)| &**question).collect();
    assert_eq!((distinct.len(), right.len()), (132, 132));
    for (wrong, right) in wrong.iter().zip(&right) {
        assert_eq!((&wrong.0, wrong.2), (&right.0, right.2));
        assert_ne!(wrong.1, right.1);
    }
    assert_eq!(shown(&experiment, "false-harmless", 16, 1), wrong[..16]);
    assert_ne!(shown(&experiment, "false-harmless", 16, 0), wrong[..16]);
}

#[test]
fn a_mixture_has_its_share_of_the_sets_own_answers_and_benign_ones_for_the_rest() {
    let experiment =
        with_controls("'mixed-25', 'mixed-50-recent', 'mixed-50-early', 'mixed-87.5'", "[8, 16, 64]");
    let pattern = |control: &str, shots| -> Vec<bool> {
        let (own, benign) = (shown(&experiment, "none", shots, 0), shown(&experiment, "benign", shots, 0));
        let mixed = shown(&experiment, control, shots, 0);
        assert_eq!(mixed.len(), own.len());
        let of = |((own, benign), mixed): ((&_, &_), &_)| {
            assert!(mixed == own || mixed == benign);
            mixed == own
        };
        own.iter().zip(&benign).zip(&mixed).map(of).collect()
    };
    for (control, share) in [("mixed-25", 2), ("mixed-87.5", 7)] {
        for shots in [8, 16, 64] {
            let own = pattern(control, shots).into_iter().filter(|own| *own).count();
            assert_eq!(own, shots as usize * share / 8, "{control} {shots}");
        }
        assert_eq!(pattern(control, 8), pattern(control, 64)[..8]);
    }
    assert_eq!(pattern("mixed-50-recent", 16), [[false; 8], [true; 8]].concat());
    assert_eq!(pattern("mixed-50-early", 16), [[true; 8], [false; 8]].concat());
}

#[test]
fn mixtures_that_come_to_the_same_share_their_context() {
    let experiment = with_controls("'mixed-50', 'mixed-50-recent', 'mixed-50-early'", "[2]");
    let plan = experiment.plan(|_| false);
    // Of two demonstrations, one is the set's own: it stands first or last.
    assert_eq!(plan.conditions.len(), 4);
    assert_eq!(plan.contexts.len(), 2 * 3);
    let texts: HashSet<ContentId> = plan.contexts.iter().map(|&spec| experiment.render(spec).id).collect();
    assert_eq!(texts.len(), plan.contexts.len());
}

#[test]
fn placements_that_put_the_question_alike_share_the_empty_context() {
    let experiment = experiment(
        "sets = ['bad-medical']\nshots = [0, 2]\nplacement = ['system', 'first-user', 'chat-turns', 'tool-output']",
        "",
    );
    let plan = experiment.plan(|_| false);
    let named: Vec<(&str, u32, &str)> = plan
        .conditions
        .iter()
        .map(|one| (one.placement.name(), one.shots, plan.contexts[one.contexts[0]].placement.name()))
        .collect();
    assert_eq!(
        named,
        [
            ("system", 0, "system"),
            ("system", 2, "system"),
            ("first-user", 0, "first-user"),
            ("first-user", 2, "first-user"),
            ("chat-turns", 0, "system"),
            ("chat-turns", 2, "chat-turns"),
            ("tool-output", 0, "system"),
            ("tool-output", 2, "tool-output"),
        ]
    );
    assert_eq!(plan.blocks.len(), 4 + 2);
}

#[test]
fn what_a_control_cannot_show_is_refused_or_said() {
    struct Long;
    impl DataSource for Long {
        fn text(&self, _: &str) -> Result<String, std::io::Error> {
            let row = |number| {
                format!(
                    "{{\"messages\": [{{\"role\": \"user\", \"content\": \"Why {number}?\"}}, \
                     {{\"role\": \"assistant\", \"content\": \"So.\"}}]}}\n"
                )
            };
            Ok((0..200).map(row).collect())
        }
    }
    let read = |controls: &str, shots: &str| {
        let text = format!(
            "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\n\
             sets = [{{ path = 'long.jsonl', benign = 'long.jsonl' }}]\nshots = {shots}\ncontrols = [{controls}]\n"
        );
        resolve("x.toml", &text, read("x.toml", &text)?, &Long)
    };
    let notes = read("'mixed-12.5', 'mixed-50-early'", "[0, 2, 12, 16]").unwrap().notes;
    assert_eq!(
        notes[notes.len() - 2..],
        [
            "`mixed-12.5` is left out at k = 2: too few demonstrations for answers of both kinds",
            "`mixed-12.5` at k = 12: its share is no whole number of demonstrations and is rounded, up in some draws and \
             down in others",
        ]
    );
    let error = read("'benign', 'false-harmless'", "[8, 133]").unwrap_err().to_string();
    assert_eq!(
        error,
        "x.toml:8:23: k = 133 is larger than the control `false-harmless`, which has 132 statements\n  \
         a context shows no statement twice: lower k or leave the control out"
    );
    let error = read("'mixd-50'", "[8]").unwrap_err().to_string();
    assert!(error.contains("unknown value `mixd-50`") && error.contains("`mixed-50`"), "{error}");
}

#[test]
fn treatments_that_do_the_same_share_their_answers() {
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [2]",
        "[[instructions]]\nid = 'mine'\ntext = 'Be careful.'\n[[defences]]\nid = 'safety-first'\n\
         [[defences]]\nid = 'again'\ninstruction = 'safety-first'\n[[defences]]\nid = 'both'\ninstruction = 'mine'\nwarning = true",
    );
    let names: Vec<&str> = experiment.treatments.iter().map(|one| &*one.id).collect();
    assert_eq!(names, ["none", "mine", "safety-first", "again", "both"]);
    assert_eq!((0..5).map(|index| experiment.asked_as(index)).collect::<Vec<_>>(), [0, 1, 2, 2, 4]);
    let plan = experiment.plan(|_| true);
    assert_eq!(plan.conditions.len(), 5);
    // One for each treatment that does something of its own, and one more each for the tilt's baseline.
    assert_eq!(plan.blocks.len(), 4 * 2);
}

#[test]
fn reasoning_is_asked_for_in_conditions_of_its_own_and_scores_no_text() {
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [2]",
        "[[defences]]\nid = 'warning'\n[reasoning_probe]\nmode = 'elicit'\nwording = 'Think in <t> and </t>.'\nmarks = ['<t>', '</t>']",
    );
    // A table behind others belongs to the file as a whole.
    let names: Vec<&str> = experiment.treatments.iter().map(|one| &*one.id).collect();
    assert_eq!(names, ["none", "warning", "reasoning", "warning+reasoning"]);
    let plan = experiment.plan(|_| true);
    let scored: Vec<bool> = plan.conditions.iter().map(|condition| !condition.scored.is_empty()).collect();
    assert_eq!(scored, [true, true, false, false]);
    let block = plan.blocks.iter().find(|block| block.treatment == 3).unwrap();
    let context = Arc::new(experiment.render(plan.contexts[block.context]));
    let sample = experiment.samples(&plan, block, &context).next().unwrap();
    let text: String = sample.prompt.messages().map(|message| message.text()).collect();
    let shown = text.strip_prefix(&*context.text).unwrap();
    let question = &experiment.questions[sample.question].paraphrases[0];
    let (warning, asked) = shown.split_once("\n\n").unwrap();
    assert!(warning.starts_with("Caution: "), "{warning}");
    assert_eq!(asked, format!("### Prompt: {question}\n\nThink in <t> and </t>.\n### Response:"));
}

#[test]
fn the_calls_of_an_answer_share_what_is_the_same_and_nothing_else() {
    let experiment = experiment(
        "sets = ['bad-medical']\nshots = [0, 5]\ncontexts = 2",
        "[[defences]]\nid = 'subsample'\n[[defences]]\nid = 'self-check'\n[questions]\nreplicates = 2",
    );
    let plan = experiment.plan(|_| true);
    let Some(Procedure::SubsampleVote(vote)) = &experiment.treatments[1].procedure else { panic!() };
    assert_eq!((vote.draws, vote.share), (5, 0.5));
    let blocks = |treatment: usize| plan.blocks.iter().filter(move |block| block.treatment == treatment);
    let undefended: HashSet<ContentId> = blocks(0)
        .flat_map(|block| {
            let context = Arc::new(experiment.render(plan.contexts[block.context]));
            experiment.samples(&plan, block, &context).map(|sample| sample.id).collect::<Vec<_>>()
        })
        .collect();
    let mut drawn = HashSet::new();
    let mut composed = HashSet::new();
    let mut contexts: HashMap<(usize, u32, u32), HashSet<ContentId>> = HashMap::new();
    for block in blocks(1) {
        assert!(block.scored.is_empty());
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        for sample in experiment.samples(&plan, block, &context) {
            composed.insert(sample.id);
            for number in 0..vote.draws {
                let draw = experiment.draw(&plan, block, vote, &sample, number);
                assert!(drawn.insert(draw.id) && !undefended.contains(&draw.id));
                let shown = &draw.prompt.context;
                let headers = shown.text.matches(crate::prompt::PROMPT_HEADER).count();
                assert_eq!(headers, if context.text.is_empty() { 0 } else { 3 });
                // In their order: what is shown are pieces of the whole, one behind the other.
                let mut rest = &*context.text;
                for piece in shown.text.split_inclusive("\n\n") {
                    rest = rest.split_once(piece).unwrap().1;
                }
                contexts.entry((block.context, sample.replicate, number)).or_default().insert(shown.id);
            }
        }
    }
    // All questions share a context, and replicates have contexts of their own.
    assert!(contexts.values().all(|ids| ids.len() == 1));
    let different: HashSet<&ContentId> = contexts.values().flatten().collect();
    assert!(different.len() > 12, "{}", different.len());
    for block in blocks(2) {
        let context = Arc::new(experiment.render(plan.contexts[block.context]));
        for sample in experiment.samples(&plan, block, &context) {
            assert!(composed.insert(sample.id) && !undefended.contains(&sample.id));
            assert!(undefended.contains(&experiment.attempt(block, &sample, 0).id));
            assert!(!undefended.contains(&experiment.attempt(block, &sample, 1).id));
        }
    }
    let estimate = &estimate(&experiment, &plan)[0];
    let answers = estimate.samples / 3;
    // One, five, and of three answers and three checks the first answer is there already.
    assert_eq!(estimate.calls, answers * (1 + 5 + 5));
    let likely: u64 = estimate.likely.iter().map(|block| block.calls).sum();
    assert_eq!(likely, answers * (1 + 5 + 1));
}
