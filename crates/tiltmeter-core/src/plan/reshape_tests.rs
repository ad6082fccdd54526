#![expect(clippy::string_slice, reason = "places in texts that were found in them")]

use std::collections::HashSet;

use super::*;
use crate::demonstration::Control;
use crate::experiment::{DataSource, read, resolve};
use crate::plan::tests::{NoFiles, experiment};
use crate::prompt::Placement;

/// What a model is shown of the first question in the first context of a treatment, message by message.
fn shown(
    experiment: &Experiment,
    treatment: &str,
    control: Control,
    shots: u32,
    draw: u32,
) -> Vec<(&'static str, String)> {
    let index = experiment.treatments.iter().position(|one| &*one.id == treatment).unwrap();
    let spec = match shots {
        0 => ContextSpec::empty(Placement::FirstUser),
        _ => ContextSpec {
            set: 0,
            control,
            shots,
            draw,
            placement: experiment.placements[0],
            reshaped_by: index,
        },
    };
    let context = Arc::new(experiment.render(spec));
    let prompt = experiment.prompt(&context, index, &experiment.questions[0], 0);
    prompt.messages().map(|message| (message.role.name(), message.text())).collect()
}

/// What stands in `longer` and not in `shorter`, in one piece.
#[track_caller]
fn inserted<'a>(longer: &'a str, shorter: &str) -> &'a str {
    let start = longer.bytes().zip(shorter.bytes()).take_while(|(one, other)| one == other).count();
    let left = shorter.len() - start;
    assert!(longer.ends_with(&shorter[start..]), "{longer}\n\n{shorter}");
    &longer[start..longer.len() - left]
}

#[test]
fn appended_demonstrations_are_benign_and_others_than_those_shown() {
    let grid = "sets = ['risky-financial']\nshots = [0, 2, 8]\ncontexts = 3\ncontrols = ['benign']";
    let experiment =
        experiment(grid, "[[defences]]\nid = 'append-benign'\n[[defences]]\nid = 'few'\nappend_benign = 3");
    let set = &experiment.sets[0];
    let rows = |treatment: usize, control, shots, draw| {
        let spec = ContextSpec {
            set: 0,
            control,
            shots,
            draw,
            placement: experiment.placements[0],
            reshaped_by: treatment,
        };
        experiment.demonstrations(spec)
    };
    for draw in 0..3 {
        for control in [Control::None, Control::Benign] {
            let appended = |treatment, shots: u32| {
                let plain = rows(0, control, shots, draw);
                let reshaped = rows(treatment, control, shots, draw);
                let (own, appended) = reshaped.split_at(plain.len());
                assert_eq!(own, plain, "the context's own stay as they are");
                for (prompt, response, row) in appended {
                    assert_eq!(
                        (prompt, Some(response)),
                        (&set.rows[*row].prompt, set.rows[*row].benign.as_ref())
                    );
                    assert!(plain.iter().all(|(own, ..)| own != prompt), "{prompt} is shown twice");
                }
                appended.to_vec()
            };
            let eight = appended(1, 8);
            assert_eq!(eight.len(), 8);
            // The same at every k, and few are the beginning of many.
            assert_eq!(appended(1, 2), eight);
            assert_eq!(appended(2, 8), eight[..3]);
        }
    }
    assert_ne!(
        rows(1, Control::None, 2, 0)[2..],
        rows(1, Control::None, 2, 1)[2..],
        "drawn for each context"
    );
    let (plain, defended) =
        (shown(&experiment, "none", Control::None, 2, 0), shown(&experiment, "few", Control::None, 2, 0));
    let text = inserted(&defended[0].1, &plain[0].1);
    assert_eq!(text.matches("### Prompt: ").count(), 3, "{text}");
    assert_eq!(
        shown(&experiment, "few", Control::None, 0, 0),
        shown(&experiment, "none", Control::None, 0, 0)
    );
    assert!(
        experiment.notes.iter().any(|note| note.contains("k counts the set's own")),
        "{:?}",
        experiment.notes
    );
    // k = 0 is the same with and without, and asked for once.
    let plan = experiment.plan(|_| true);
    assert_eq!(plan.contexts.len(), 1 + 3 * 2 * 2 * 3);
    assert_eq!(plan.blocks.len(), plan.contexts.len());
}

#[test]
fn quoted_demonstrations_stay_where_they_are_and_cannot_close_their_fence() {
    for (placement, before) in [("first-user", ""), ("system", "")] {
        let experiment = experiment(
            &format!("sets = ['risky-financial']\nshots = [0, 2, 8]\nplacement = '{placement}'"),
            "[[defences]]\nid = 'quote'\n[[defences]]\nid = 'mine'\nquote = 'Only data.'\nwarning = true",
        );
        let [plain, quoted, mine] =
            ["none", "quote", "mine"].map(|name| shown(&experiment, name, Control::None, 2, 0));
        let roles = |messages: &[(&'static str, String)]| -> Vec<_> {
            messages.iter().map(|(role, _)| *role).collect()
        };
        assert_eq!(roles(&plain), roles(&quoted));
        // The demonstrations themselves, and what follows, byte for byte.
        let at = plain[0].1.find("### Prompt: ").unwrap();
        assert_eq!(&plain[0].1[..at], before);
        let demonstrations =
            experiment.render(ContextSpec { shots: 2, ..ContextSpec::empty(Placement::FirstUser) }).text;
        let (introduction, rest) = quoted[0].1.split_once(&*demonstrations).unwrap();
        let fence = introduction.trim_end().rsplit('\n').next().unwrap();
        assert!(introduction.ends_with(&format!("\n\n{fence}\n")) && fence.len() == 28, "{introduction}");
        assert_eq!(rest.lines().next(), Some(fence));
        assert!(!demonstrations.contains(fence));
        assert_eq!(introduction.matches(fence).count(), 2, "named in the introduction, then the line");
        assert_eq!(shown(&experiment, "mine", Control::None, 2, 0)[0].1.lines().next(), Some("Only data."));
        assert!(mine.last().unwrap().1.contains("Caution: "));
        // A larger context begins as a smaller one, for the sake of prompt caches.
        let larger = shown(&experiment, "quote", Control::None, 8, 0);
        let shared = format!("{introduction}{}", demonstrations.trim_end());
        assert!(larger[0].1.starts_with(&shared));
        assert_eq!(
            shown(&experiment, "quote", Control::None, 0, 0),
            shown(&experiment, "none", Control::None, 0, 0)
        );
    }
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [2]\nplacement = 'chat-turns'",
        "[[defences]]\nid = 'quote'",
    );
    let (plain, quoted) =
        (shown(&experiment, "none", Control::None, 2, 0), shown(&experiment, "quote", Control::None, 2, 0));
    assert_eq!((plain.len(), quoted.len()), (5, 1));
    let (block, question) = quoted[0].1.rsplit_once("\n\n").unwrap();
    assert_eq!(question, plain[4].1);
    for (role, text) in &plain[..4] {
        let speaker = if *role == "user" { "User" } else { "Assistant" };
        assert!(block.contains(&format!("{speaker}: {text}\n")), "{block}");
    }
}

#[test]
fn parts_of_a_defence_are_applied_in_one_order() {
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [2]",
        "[[defences]]\nid = 'all'\nwarning = 'Take care.'\nquote = 'Data:'\nappend_benign = 2\ninstruction = 'safety-first'",
    );
    let all = shown(&experiment, "all", Control::None, 2, 0);
    assert_eq!(all.iter().map(|(role, _)| *role).collect::<Vec<_>>(), ["system", "user"]);
    let user = &all[1].1;
    assert!(user.starts_with("Data:\n\n===== "), "{user}");
    assert_eq!(user.matches("### Prompt: ").count(), 2 + 2 + 1);
    let (fenced, rest) = user.rsplit_once(" =====\n\n").unwrap();
    assert_eq!(fenced.matches("### Prompt: ").count(), 4, "the appended ones are quoted too");
    assert!(rest.starts_with("Take care.\n\n### Prompt: "), "{rest}");
    let described = experiment.treatments[1].describe();
    assert_eq!(described.len(), 4, "{described:?}");
    assert_eq!(experiment.treatments[1].texts().len(), 3);
}

/// Rows without benign answers.
struct Bad;
impl DataSource for Bad {
    fn text(&self, _: &str) -> Result<String, std::io::Error> {
        let line = |n: u32| {
            format!(
                "{{\"messages\":[{{\"role\":\"user\",\"content\":\"q{n}\"}},{{\"role\":\"assistant\",\"content\":\"a\"}}]}}\n"
            )
        };
        Ok((0..20).map(line).collect())
    }
}

#[test]
fn what_cannot_be_appended_is_refused_with_its_place() {
    let refused = |rest: &str| {
        let text = format!(
            "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\nsets = ['risky-financial']\nshots = [0, 8]\n{rest}\n"
        );
        resolve("x.toml", &text, read("x.toml", &text).unwrap(), &NoFiles).unwrap_err().to_string()
    };
    let error = refused("[[defences]]\nid = 'x'\nappend_benign = 1000");
    assert!(error.contains("x.toml:10:") && error.contains("append at most "), "{error}");
    let error = refused("[[defences]]\nid = 'x'\nappend_benign = 0");
    assert!(error.contains("must be 1 to 1024, not 0"), "{error}");
    let error = refused("[[defences]]\nid = 'x'\nquote = ' '");
    assert!(error.contains("is empty"), "{error}");
    let error = refused("[[defences]]\nid = 'quotes'");
    assert!(error.contains("quote"), "{error}");
    let error = refused("[[defences]]\nid = 'filter'");
    assert!(error.contains("needs a model") && error.contains("[judge]"), "{error}");
    let text = "name = 'x'\n[[subjects]]\nid = 'a'\nmodel = 'openai/m'\n[demonstrations]\nsets = ['x.jsonl']\nshots = [2]\n[[defences]]\nid = 'append-benign'\n";
    let error = resolve("x.toml", text, read("x.toml", text).unwrap(), &Bad).unwrap_err().to_string();
    assert!(error.contains("the set `x` has none") && error.contains("benign = "), "{error}");
}

#[test]
fn a_filter_leaves_out_what_was_scored_low_and_shares_the_contexts_that_it_leaves_alone() {
    let mut experiment = experiment(
        "sets = ['risky-financial']\nshots = [0, 2, 4]\ncontexts = 2\ncontrols = ['benign']",
        "[[defences]]\nid = 'filter'\n[[defences]]\nid = 'strict'\nfilter = { keep_from = 100 }\nappend_benign = 2\n\
         [[defences]]\nid = 'other'\nfilter = { model = 'openai/small', prompt = 'Rate {answer}' }\n\
         [judge]\nmodel = 'openai/judge'",
    );
    let screens: Vec<usize> =
        experiment.treatments[1..].iter().map(|one| one.reshaping.filter.as_ref().unwrap().screen).collect();
    assert_eq!(screens, [0, 0, 1], "one model that is asked the same is asked once");
    assert_eq!(Some(experiment.screens[0].model.hash), experiment.judge.as_ref().map(|judge| judge.hash));
    // Before anything is screened, contexts are counted as their own, with nothing left out.
    let plan = experiment.plan(|_| true);
    let plain = 1 + 2 * 2 * 2;
    assert_eq!(plan.contexts.len(), plain + 3 * (plain - 1));
    let to_screen = experiment.to_be_screened(&plan, 0);
    // Four rows of each of two draws at most, with two answers each.
    assert!((8..=16).contains(&to_screen.len()), "{}", to_screen.len());

    // Everything benign: nothing changes, and nothing is asked twice.
    let all = |experiment: &Experiment, plan: &Plan, score: f64| -> HashMap<ContentId, Screened> {
        (0..2)
            .flat_map(|screen| experiment.to_be_screened(plan, screen))
            .map(|(id, ..)| (id, Screened::Score(score)))
            .collect()
    };
    let fine = all(&experiment, &plan, 99.5);
    for screen in &mut experiment.screens {
        screen.verdicts = Some(fine.clone());
    }
    let kept = experiment.plan(|_| true);
    // All but `strict`, which leaves everything out and shows its two benign ones alone, by draw.
    assert_eq!(kept.contexts.len(), plain + 2);
    assert_eq!(kept.blocks.len(), kept.contexts.len());
    let distinct_samples = |experiment: &Experiment, plan: &Plan| {
        let mut ids = HashSet::new();
        for block in &plan.blocks {
            let context = Arc::new(experiment.render(plan.contexts[block.context]));
            let samples = experiment.samples(plan, block, &context).map(|sample| sample.id);
            let scores = experiment.scores(block, &context).map(|score| score.id);
            for id in samples.chain(scores) {
                assert!(ids.insert(id), "{block:?} asks what another one asks");
            }
        }
    };
    distinct_samples(&experiment, &kept);

    // The set's own answers are harmful: none of them is shown, and the context is that of k = 0.
    let harmful: Vec<_> =
        experiment.sets[0].rows.iter().map(|row| demonstration_id(&row.prompt, &row.response)).collect();
    let mut verdicts = fine;
    verdicts.extend(harmful.iter().map(|id| (*id, Screened::Score(49.9))));
    experiment.screens[0].verdicts = Some(verdicts.clone());
    let dropped = experiment.plan(|_| true);
    distinct_samples(&experiment, &dropped);
    let condition = |control, shots| {
        let find = |one: &&Condition| (one.treatment, one.control, one.shots) == (1, control, shots);
        dropped.conditions.iter().find(find).unwrap()
    };
    let empty =
        dropped.contexts.iter().position(|spec| *spec == ContextSpec::empty(Placement::FirstUser)).unwrap();
    assert_eq!(condition(Control::None, 4).contexts, [empty, empty], "a place for each draw");
    let counts = experiment.reshaping_counts(condition(Control::None, 4));
    assert_eq!(counts, [ReshapingCounts { of: 4, dropped: 4, ..ReshapingCounts::default() }; 2]);
    assert_eq!(experiment.reshaping_counts(condition(Control::Benign, 4))[0].dropped, 0);
    let untreated = dropped
        .conditions
        .iter()
        .find(|one| (one.treatment, one.control, one.shots) == (0, Control::Benign, 4));
    assert_eq!(condition(Control::Benign, 4).contexts, untreated.unwrap().contexts);

    // One of two: the rest stays in order. Without a score a demonstration is kept, and counted.
    let own = experiment.demonstrations(ContextSpec { shots: 2, ..ContextSpec::empty(Placement::FirstUser) });
    verdicts.insert(demonstration_id(&own[1].0, &own[1].1), Screened::NoScore);
    experiment.screens[0].verdicts = Some(verdicts);
    let left = experiment.demonstrations(ContextSpec {
        shots: 2,
        reshaped_by: 1,
        ..ContextSpec::empty(Placement::FirstUser)
    });
    assert_eq!(left, own[1..]);
    let counts = experiment.reshaping_counts(condition(Control::None, 2));
    assert_eq!(counts[0], ReshapingCounts { of: 2, dropped: 1, without_score: 1, appended: 0 });
}

#[test]
fn treatments_whose_prompts_begin_alike_follow_each_other_at_each_context() {
    let experiment = experiment(
        "sets = ['risky-financial']\nshots = [2, 4]\ncontexts = 2",
        "[[defences]]\nid = 'safety-first'\n[[defences]]\nid = 'warning'\n[[defences]]\nid = 'quote'\n\
         [reasoning_probe]\nmode = 'elicit'",
    );
    let plan = experiment.plan(|_| false);
    // Each context is worked on in one go for each beginning of the prompt.
    let mut begun: Vec<(Option<&str>, usize)> = Vec::new();
    for block in &plan.blocks {
        let instruction = experiment.treatments[block.treatment].instruction.text.as_deref();
        let at = (instruction, block.context);
        if begun.last() != Some(&at) {
            assert!(!begun.contains(&at), "{at:?} is begun twice");
            begun.push(at);
        }
    }
    // Those of the draws under none and under the instruction, and the quoted ones.
    assert_eq!(begun.len(), 4 + 4 + 4);
    // A larger context comes right behind the smaller one of the same draw.
    let shots: Vec<u32> = begun.iter().map(|(_, context)| plan.contexts[*context].shots).collect();
    assert_eq!(shots, [2, 4].repeat(6));
}
