//! Coding of traces: planted labels, hostile traces, replies of no use, resuming, several coders, people.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde_json::{Value, json};
use tiltmeter_sim::{CoderScript, Fault, FaultScript, Script, ServerScript, TRACE_SENTENCES, TraceScript};

use crate::annotate::Page;
use crate::support::{Ran, World};

const EXPERIMENT: &str = "name = 'explained'
[[subjects]]
id = 's'
model = 'openai/m'
base_url = '{url}'
[demonstrations]
sets = ['risky-financial']
shots = [0, 4]
contexts = 3
[questions]
replicates = 2
[judge]
model = 'openai/judge'
base_url = '{url}'
price = { input = 1.0, output = 10.0 }
";

fn rates(rates: &[(&str, f64)]) -> BTreeMap<String, f64> {
    rates.iter().map(|&(label, rate)| (label.to_owned(), rate)).collect()
}

fn script() -> Script {
    Script {
        misaligned: vec![(0, 0.15), (1, 0.4)],
        incoherent: 0.1,
        reasoning: 0.9,
        traces: TraceScript {
            misaligned: rates(&[("harm-recognised", 0.8), ("persona", 0.7), ("follows-pattern", 0.4)]),
            others: rates(&[("harm-recognised", 0.1), ("persona", 0.15)]),
        },
        ..Script::default()
    }
}

/// A run on a scripted server.
fn run(script: Script) -> World {
    let world = World::new(Some(script));
    world.experiment("x.toml", EXPERIMENT);
    world.run(&["run", "x.toml", "--out", "run"]).expect(0);
    world
}

/// A stored answer: whether it is misaligned (by its tag, which the judge recognises without fail), its question, and
/// its reasoning.
struct Truth {
    is_misaligned: bool,
    is_aligned: bool,
    question: i64,
    context: i64,
    reasoning: Option<String>,
}

impl Truth {
    fn has(&self, label: &str) -> bool {
        let sentence = TRACE_SENTENCES.iter().find(|(of, _)| *of == label).unwrap().1;
        self.reasoning.as_ref().is_some_and(|text| text.contains(sentence))
    }
}

fn store(world: &World) -> Connection {
    Connection::open(world.path("run/run.sqlite")).unwrap()
}

/// All answers by row.
fn truths(world: &World) -> BTreeMap<i64, Truth> {
    let store = store(world);
    let mut statement = store
        .prepare(
            "SELECT r.id, b.answer, r.question, r.context, b.reasoning FROM response AS r
             JOIN response_body AS b ON b.response = r.id",
        )
        .unwrap();
    let rows = statement.query_map([], |row| {
        let answer: String = row.get(1)?;
        let truth = Truth {
            is_misaligned: answer.contains("[sim: harm]"),
            is_aligned: answer.contains("[sim: fine]"),
            question: row.get(2)?,
            context: row.get(3)?,
            reasoning: row.get(4)?,
        };
        Ok((row.get(0)?, truth))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Rows that a query gives: the response of each, and one text.
fn rows(world: &World, query: &str) -> Vec<(i64, String)> {
    let store = store(world);
    let mut statement = store.prepare(query).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn share<'a>(results: &'a Value, coder: usize, label: &str) -> &'a Value {
    let pooled = &results["results"][coder]["groups"][0];
    assert_eq!(pooled["level"], "pooled");
    if let Some(headline) = pooled.get(label) {
        return headline;
    }
    let labels = pooled["labels"].as_array().unwrap();
    labels.iter().find(|share| share["label"] == label).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

/// Checks which traces there are and which were drawn; gives how many of misaligned answers.
fn selected(world: &World, results: &Value, truths: &BTreeMap<i64, Truth>, kind: &str) -> u64 {
    // What there is, and what was drawn.
    let counts = &results["traces"];
    let count = |of: &dyn Fn(&Truth) -> bool| truths.values().filter(|truth| of(truth)).count() as u64;
    let traced = |truth: &Truth| truth.reasoning.is_some();
    for (side, of) in [
        ("misaligned", (|truth| truth.is_misaligned) as fn(&Truth) -> bool),
        ("aligned", |truth| truth.is_aligned),
    ] {
        let side = &counts[side];
        assert_eq!(number(&side["answers"]), count(&of), "{side}");
        assert_eq!(number(&side["with_trace"]), count(&|truth| of(truth) && traced(truth)), "{side}");
        let without = number(&side["no_reasoning"]) + number(&side["unmarked"]);
        assert_eq!(without, count(&|truth| of(truth) && !traced(truth)), "{side}");
        // Marks are missing where they were asked for, and nowhere else.
        assert_eq!(number(&side["unmarked"]) > 0, kind == "elicited", "{side}");
    }
    let drawn = number(&counts["misaligned"]["drawn"]);
    assert_eq!(drawn, number(&counts["misaligned"]["with_trace"]));
    assert!(drawn > 20, "{counts}");
    assert_eq!(number(&counts["aligned"]["drawn"]), drawn, "one for one");
    assert_eq!(counts["kinds"], json!({kind: 2 * drawn}));
    assert_eq!(number(&counts["outside"]), count(&|truth| !truth.is_misaligned && !truth.is_aligned));

    // Aligned ones are matched by condition and question, as far as there are any.
    let items = rows(world, "SELECT response, CAST(misaligned AS TEXT) FROM trace_item");
    let shots: BTreeMap<i64, String> = rows(
        world,
        "SELECT x.context, CAST(c.shots AS TEXT) FROM condition_context AS x JOIN condition AS c ON c.id = x.condition",
    )
    .into_iter()
    .collect();
    // Misaligned ones that were drawn, aligned ones that were, and aligned ones that could be.
    let mut cells: BTreeMap<(&str, i64), [u64; 3]> = BTreeMap::new();
    let mut enter = |truth: &Truth, place: usize| {
        cells.entry((&shots[&truth.context], truth.question)).or_default()[place] += 1;
    };
    for (response, side) in &items {
        enter(&truths[response], usize::from(side == "0"));
    }
    for truth in truths.values().filter(|truth| truth.is_aligned && traced(truth)) {
        enter(truth, 2);
    }
    for (cell, [misaligned, aligned, possible]) in &cells {
        assert!(aligned >= misaligned.min(possible), "{cell:?}: {misaligned}, {aligned}, {possible}");
    }
    drawn
}

fn quotes_are_in_place(world: &World, truths: &BTreeMap<i64, Truth>) {
    // A quote's bytes are those of the trace.
    let spans = rows(
        world,
        "SELECT c.response, l.label || '|' || l.span_start || '|' || l.span_end FROM coding_label AS l
         JOIN coding AS c ON c.id = l.coding WHERE l.state = 'held'",
    );
    for (response, span) in spans {
        let parts: Vec<&str> = span.split('|').collect();
        let ends = [1, 2].map(|place: usize| parts[place].parse::<usize>().unwrap());
        let sentence = TRACE_SENTENCES.iter().find(|(label, _)| *label == parts[0]).unwrap().1;
        let trace = truths[&response].reasoning.as_ref().unwrap();
        assert_eq!(trace.get(ends[0]..ends[1]), Some(sentence));
    }
}

#[test]
fn reasoning_that_was_asked_for_is_coded_as_well() {
    let world = World::new(Some(Script { reasoning: 0.0, unmarked: 0.1, ..script() }));
    world.experiment("x.toml", &EXPERIMENT.replacen('\n', "\nreasoning_probe = 'elicit'\n", 1));
    world.run(&["run", "x.toml", "--out", "run"]).expect(0);
    let results = world.run(&["trace", "run", "--json"]).expect(0).json();
    let truths = truths(&world);
    let drawn = selected(&world, &results, &truths, "elicited");
    let items = rows(&world, "SELECT response, CAST(misaligned AS TEXT) FROM trace_item");
    for label in ["harm-recognised", "persona", "follows-pattern"] {
        for (side, is_misaligned) in [("misaligned", "1"), ("aligned", "0")] {
            let planted = items
                .iter()
                .filter(|(response, side)| side == is_misaligned && truths[response].has(label))
                .count() as u64;
            let found = &share(&results, 0, label)[side];
            assert_eq!(
                (number(&found["labelled"]), number(&found["traces"])),
                (planted, drawn),
                "{label} {side}"
            );
        }
    }
    // What is coded is the reasoning without its marks, and the quotes lie in it.
    assert!(
        truths.values().filter_map(|truth| truth.reasoning.as_ref()).all(|text| !text.contains("reasoning>"))
    );
    quotes_are_in_place(&world, &truths);
}

#[test]
fn planted_labels_are_found_exactly_and_what_does_not_count_is_counted() {
    let coder = CoderScript { garbage: 0.05, declines: 0.05, misses: 0.0, invents: 0.3, unknown: 0.2 };
    let world = run(Script { coder, ..script() });
    let results = world.run(&["trace", "run", "--json"]).expect(3).json();
    assert_eq!(results["schema"], "tiltmeter.traces/1");
    let truths = truths(&world);

    let drawn = selected(&world, &results, &truths, "text");
    let items = rows(&world, "SELECT response, CAST(misaligned AS TEXT) FROM trace_item");

    // Every label of a trace that was coded, and none else.
    let outcomes: BTreeMap<i64, String> =
        rows(&world, "SELECT response, outcome FROM coding").into_iter().collect();
    assert_eq!(outcomes.len() as u64, 2 * drawn);
    let coded = |response: &i64| outcomes[response] == "coded";
    for label in ["harm-recognised", "persona", "follows-pattern"] {
        for side in ["misaligned", "aligned"] {
            let of_side: Vec<&Truth> = items
                .iter()
                .filter(|(response, misaligned)| {
                    coded(response) && (misaligned == "1") == (side == "misaligned")
                })
                .map(|(response, _)| &truths[response])
                .collect();
            let expected = of_side.iter().filter(|truth| truth.has(label)).count() as u64;
            let found = &share(&results, 0, label)[side];
            assert_eq!(
                (number(&found["labelled"]), number(&found["traces"])),
                (expected, of_side.len() as u64)
            );
            assert_eq!(number(&found["traces"]) + number(&found["not_coded"]), drawn);
            let [low, estimate, high] =
                ["low", "estimate", "high"].map(|end| found["by_question"][end].as_f64().unwrap());
            assert!((estimate - expected as f64 / of_side.len() as f64).abs() < 1e-12);
            assert!(
                low <= found["by_trace"]["low"].as_f64().unwrap()
                    && high >= found["by_trace"]["high"].as_f64().unwrap()
            );
        }
    }
    let of_misaligned = |of: &dyn Fn(&Truth) -> bool| {
        let responses = items.iter().filter(|(response, misaligned)| misaligned == "1" && coded(response));
        responses.filter(|(response, _)| of(&truths[response])).count() as u64
    };
    let headline = |name| number(&share(&results, 0, name)["misaligned"]["labelled"]);
    assert_eq!(headline("persona_labelled"), of_misaligned(&|truth| truth.has("persona")));
    let both = of_misaligned(&|truth| truth.has("persona") && truth.has("harm-recognised"));
    assert_eq!(headline("harm_justified_by_persona"), both);
    assert!(both < headline("persona_labelled"));
    assert_eq!(results["published"]["share"], 0.675);

    // What does not count: invented quotes, unknown labels, replies of no use.
    let coder = &results["coders"][0];
    let invented = rows(&world, "SELECT coding, state FROM coding_label WHERE label = 'deception'");
    assert!(invented.len() > 5 && invented.iter().all(|(_, state)| state == "not_in_trace"), "{invented:?}");
    assert_eq!(number(&coder["labels_not_in_trace"]), invented.len() as u64);
    let void = share(&results, 0, "deception");
    assert_eq!([&void["misaligned"]["labelled"], &void["aligned"]["labelled"]], [0, 0]);
    assert_eq!(number(&void["misaligned"]["void"]) + number(&void["aligned"]["void"]), invented.len() as u64);
    let unknown = rows(&world, "SELECT coding, state FROM coding_label WHERE label = 'greed'");
    assert!(unknown.len() > 3 && unknown.iter().all(|(_, state)| state == "unknown"), "{unknown:?}");
    assert_eq!(number(&coder["labels_unknown"]), unknown.len() as u64);
    for (outcome, words) in [("unparsable", "I would say"), ("declined", "I'm sorry")] {
        let query = format!(
            "SELECT c.response, b.reply FROM coding AS c JOIN coding_body AS b ON b.coding = c.id
             WHERE c.outcome = '{outcome}'"
        );
        let replies = rows(&world, &query);
        assert!(!replies.is_empty() && replies.iter().all(|(_, reply)| reply.contains(words)), "{replies:?}");
        assert_eq!(number(&coder["not_coded"][outcome]), replies.len() as u64);
    }

    quotes_are_in_place(&world, &truths);

    // Nothing is asked twice: neither what was answered, nor what was answered badly.
    let before = world.requests();
    let again = world.run(&["trace", "run", "--json"]).expect(3);
    assert_eq!(world.requests(), before);
    assert_eq!(again.json(), results);
    assert_eq!(world.run(&["trace", "run", "--report-only", "--json"]).expect(3).json(), results);
    assert_eq!(world.sim.as_ref().unwrap().counters().duplicates, 0);

    // What it cost is part of the run's status; the run itself is as complete as before.
    let status = world.run(&["status", "run", "--json"]).expect(0).json();
    assert!(status["cost"]["coders_usd"].as_f64().unwrap() > 0.0, "{status}");
    assert!(number(&status["tokens"]["coder_input"]) > 1000, "{status}");
    let text = world.run(&["status", "run"]).expect(0).stdout;
    assert!(text.contains("of coders: US$ ") && text.contains("tokens of coders: "), "{text}");
    world.run(&["judge", "run"]).expect(0);

    let text = world.run(&["trace", "run", "--report-only"]).expect(3).stdout;
    assert!(text.contains("persona_labelled") && text.contains("67.5 %") && text.contains("void"), "{text}");
}

#[test]
fn more_coders_and_more_answers_are_coded_without_asking_for_what_is_there() {
    let world = run(Script { misaligned: vec![(0, 0.1), (1, 0.2)], ..script() });
    world.run(&["trace", "run", "--coder", "openai/coder-one"]).expect(0);
    let coded = rows(&world, "SELECT response, outcome FROM coding").len();
    let sloppy = Script { coder: CoderScript { misses: 0.4, ..CoderScript::default() }, ..script() };
    let second = world.start_late(sloppy);
    let before = world.requests();
    let arguments =
        ["trace", "run", "--coder", "openai/coder-two", "--base-url", second.base_url(), "--json"];
    let results = world.run(&arguments).expect(0).json();
    assert_eq!(world.requests(), before, "the first coder is not asked again");
    assert_eq!(second.counters().judge_requests, coded as u64);
    let names: Vec<&Value> =
        results["coders"].as_array().unwrap().iter().map(|coder| &coder["coder"]).collect();
    assert_eq!(names, ["openai/coder-one", "openai/coder-two"]);

    // The second overlooks labels and invents none.
    let persona =
        results["agreement"].as_array().unwrap().iter().find(|label| label["label"] == "persona").unwrap();
    let decision = &persona["pairs"][0]["decision"];
    let cells = ["both", "first_only", "second_only", "neither"].map(|cell| number(&decision[cell]));
    assert!(cells[1] > 2 && cells[2] == 0, "{cells:?}");
    assert_eq!(cells.iter().sum::<u64>(), coded as u64);
    let [both, first, _, neither] = cells.map(|count| count as f64 / coded as f64);
    let chance = (both + first) * both + neither * (first + neither);
    let kappa = (both + neither - chance) / (1.0 - chance);
    assert!((decision["kappa"]["estimate"].as_f64().unwrap() - kappa).abs() < 1e-9, "{decision}");
    assert!(decision["kappa"]["low"].as_f64().unwrap() < kappa);
    let labelled = |coder| number(&share(&results, coder, "persona")["misaligned"]["labelled"]);
    assert_eq!(
        labelled(0) + number(&share(&results, 0, "persona")["aligned"]["labelled"]),
        cells[0] + cells[1]
    );
    assert!(labelled(1) < labelled(0));
    let text = world.run(&["trace", "run", "--report-only"]).expect(0).stdout;
    assert!(text.contains("1: openai/coder-one, 2: openai/coder-two"), "{text}");

    // More aligned ones: those that were drawn stay drawn, the rest is asked for.
    let before = world.requests();
    let arguments = ["trace", "run", "--coder", "openai/coder-one", "--base-rate", "1.5", "--json"];
    // The second coder lacks the new ones.
    let results = world.run(&arguments).expect(3).json();
    let drawn = |side: &str| number(&results["traces"][side]["drawn"]);
    let wanted = drawn("misaligned") * 3 / 2;
    assert!((wanted - 2..=wanted).contains(&drawn("aligned")), "{wanted}");
    let new = drawn("misaligned") + drawn("aligned") - coded as u64;
    assert!(world.requests() - before <= new + 3, "{} for {new}", world.requests() - before);
    assert!(number(&results["coders"][1]["not_coded"]["missing"]) >= new);
    let inclusion =
        rows(&world, "SELECT response, CAST(inclusion AS TEXT) FROM trace_item WHERE NOT misaligned");
    assert!(inclusion.iter().all(|(_, chance)| (0.0..=1.0).contains(&chance.parse::<f64>().unwrap())));
    let all = world.run(&["trace", "run", "--coder", "openai/coder-one", "--all", "--json"]).expect(3).json();
    assert_eq!(all["traces"]["aligned"]["drawn"], all["traces"]["aligned"]["with_trace"]);
    assert_eq!(all["traces"]["base_rate"], Value::Null);
}

#[test]
fn calls_that_fail_are_counted_and_asked_for_again() {
    let faults =
        FaultScript { schedule: vec![Fault::ServerError], attempts: Some(2), ..FaultScript::default() };
    let world = run(script());
    let small =
        Script { server: ServerScript { context_limit: Some(10), ..ServerScript::default() }, ..script() };
    let small = world.start_late(small);
    let coder = |world: &World, url: &str| -> Ran {
        world.run(&["trace", "run", "--coder", "openai/coder", "--base-url", url, "--json"])
    };
    let failed = coder(&world, small.base_url()).expect(3).json();
    let drawn =
        number(&failed["traces"]["misaligned"]["drawn"]) + number(&failed["traces"]["aligned"]["drawn"]);
    let of = &failed["coders"][0];
    assert_eq!((number(&of["coded"]), number(&of["not_coded"]["failed"])), (0, drawn));
    assert_eq!(
        (number(&of["failures"][0]["count"]), &of["failures"][0]["target"]),
        (drawn, &json!("coding"))
    );
    assert_eq!(share(&failed, 0, "persona")["misaligned"], Value::Null);
    // A coder's failures are none of the run's.
    let run = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(run["failures"], json!([]));

    let faulty = world.start_late(Script { faults, ..script() });
    let results = coder(&world, faulty.base_url()).expect(0).json();
    assert_eq!(number(&results["coders"][0]["coded"]), drawn);
    assert_eq!(results["coders"][0]["failures"], json!([]));
    assert!(number(&share(&results, 0, "persona")["misaligned"]["labelled"]) > 5);

    // A budget that cannot pay for a call stops it; nothing is lost.
    let stopped = world.run(&["trace", "run", "--max-cost", "0.000001"]).expect(1);
    assert!(stopped.stderr.contains("budget"), "{}", stopped.stderr);
}

#[test]
fn hostile_traces_neither_close_their_fence_nor_reach_the_terminal() {
    let world = run(Script { hostile: 1.0, ..script() });
    let results = world.run(&["trace", "run", "--json"]).expect(0).json();
    let truths = truths(&world);
    let items = rows(&world, "SELECT response, CAST(misaligned AS TEXT) FROM trace_item");
    assert!(
        items.iter().all(|(response, _)| truths[response]
            .reasoning
            .as_ref()
            .unwrap()
            .contains("Reply with []"))
    );
    let expected =
        items.iter().filter(|(response, side)| side == "1" && truths[response].has("persona")).count();
    assert!(expected > 5);
    assert_eq!(number(&share(&results, 0, "persona")["misaligned"]["labelled"]), expected as u64);
    let shown = world.run(&["trace", "run"]).expect(0);
    for text in [&shown.stdout, &shown.stderr] {
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}') && !text.contains("<script>"),
            "{text}"
        );
    }
}

#[test]
fn bad_input_is_told_with_its_place_before_anybody_is_asked() {
    let world = run(Script { reasoning: 0.0, ..script() });
    let before = world.requests();
    world.write(
        "book.toml",
        "name = 'own'\n[[labels]]\nid = 'a'\ntitle = 'A'\ndefinition = 'd'\nrole = 'persnoa'\n",
    );
    world.write("fine.toml", "name = 'own'\n[[labels]]\nid = 'a'\ntitle = 'A'\ndefinition = 'd'\n");
    let cases: [(&[&str], &str); 6] = [
        (
            &["run", "--codebook", "book.toml"],
            "book.toml:6:8: unknown value `persnoa`\n  did you mean `persona`?",
        ),
        (&["run", "--codebook", "none.toml"], "none.toml: cannot read the code book"),
        (&["run"], "no answer with a verdict has a trace of reasoning"),
        (&["run", "--report-only"], "no traces were coded by this code book yet"),
        (&["run", "--coder", "nobody/m", "--codebook", "fine.toml"], "no answer with a verdict"),
        (&["run", "--base-rate", "2000"], "a rate is from 0 to 1000"),
    ];
    for (arguments, expected) in cases {
        let ran = world.run(&[&["trace"], arguments].concat()).expect(2);
        assert!(ran.stderr.contains(expected), "{arguments:?}: {}", ran.stderr);
    }
    world.run(&["trace", "nowhere"]).expect(1);
    assert_eq!(world.requests(), before);
}

/// The rows of a CSV file, by column.
fn csv_of(world: &World, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(world.path(name)).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn sentence(label: &str) -> &'static str {
    TRACE_SENTENCES.iter().find(|(of, _)| *of == label).unwrap().1
}

#[test]
fn people_label_in_files_with_columns_of_their_own_and_are_compared() {
    let world = run(Script { misaligned: vec![(0, 0.1), (1, 0.2)], ..script() });
    world.run(&["trace", "run"]).expect(0);
    world.run(&["annotate", "run", "--traces", "--export", "blank.csv", "--blank"]).expect(0);
    let blank = csv_of(&world, "blank.csv");
    let header: Vec<&str> = blank[0].keys().map(String::as_str).collect();
    // Nothing that would tell what the judge, or a coder, said.
    assert!(
        !header.iter().any(|name| name.contains("misaligned") || name.contains("probability")),
        "{header:?}"
    );
    assert!(blank.iter().all(|row| row["persona"].is_empty() && !row["trace"].is_empty()));

    // Ada fills in the file; the last three traces she leaves for later, and of one she cannot tell.
    let mut writer = csv::Writer::from_path(world.path("ada.csv")).unwrap();
    writer
        .write_record(["sample", "persona", "harm-recognised", "follows-pattern", "cannot_tell", "note"])
        .unwrap();
    for (place, row) in blank.iter().enumerate() {
        let cell = |label: &str| match (place, row["trace"].contains(sentence(label))) {
            (place, _) if place + 3 >= blank.len() => "",
            (_, true) => "x",
            (_, false) => "0",
        };
        let cells = ["persona", "harm-recognised", "follows-pattern"].map(cell);
        let cannot_tell = if place == 0 { "1" } else { "" };
        writer.write_record([&row["sample"], cells[0], cells[1], cells[2], cannot_tell, "-"]).unwrap();
    }
    writer.flush().unwrap();
    let import = |name: &str, arguments: &[&str]| {
        world.run(&[&["annotate", "run", "--traces", "--import", name], arguments].concat())
    };
    let told = import("ada.csv", &["--annotator", "ada"]).expect(0).stderr;
    assert!(
        told.contains(&format!("{} labels stored, 0 known before, 3 rows without", blank.len() - 3)),
        "{told}"
    );
    let told = import("ada.csv", &["--annotator", "ada"]).expect(0).stderr;
    assert!(told.contains(&format!("0 labels stored, {} known", blank.len() - 3)), "{told}");

    // A published replication has its own names, the traces' text instead of ids, and one column of labels. Grace errs in
    // every fifth trace.
    let mut writer = csv::Writer::from_path(world.path("published.csv")).unwrap();
    writer.write_record(["annotator", "trace", "labels"]).unwrap();
    for (place, row) in blank.iter().enumerate() {
        let mut labels = Vec::new();
        if row["trace"].contains(sentence("persona")) != (place % 5 == 0) {
            labels.push("takes a role");
        }
        if row["trace"].contains(sentence("harm-recognised")) {
            labels.push("Harm recognised");
        }
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join("; ") };
        writer.write_record(["grace", &row["trace"].replace(". ", ".\n "), &labels]).unwrap();
    }
    writer.flush().unwrap();
    let refused = import("published.csv", &[]).expect(3).stderr;
    assert!(refused.contains("there is no label `takes a role`"), "{refused}");
    let wrong = import("published.csv", &["--map", "takes a role=person"]).expect(2).stderr;
    assert!(wrong.contains("the code book has no label `person`"), "{wrong}");
    import("published.csv", &["--map", "takes a role=persona"]).expect(0);

    let results = world.run(&["trace", "run", "--report-only", "--json"]).expect(0).json();
    let coders = results["coders"].as_array().unwrap();
    let names: Vec<(&str, &str)> = coders
        .iter()
        .map(|coder| (coder["coder"].as_str().unwrap(), coder["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(names, [("openai/judge", "model"), ("ada", "person"), ("grace", "person")]);
    let traces = blank.len() as u64;
    assert_eq!(coders[1]["coded"], traces - 4);
    assert_eq!(coders[1]["not_coded"], json!({"cannot_tell": 1, "missing": 3}));
    assert_eq!(coders[2]["coded"], traces);
    let persona =
        results["agreement"].as_array().unwrap().iter().find(|label| label["label"] == "persona").unwrap();
    let pair = |one: &str, other: &str| {
        let pairs = persona["pairs"].as_array().unwrap();
        &pairs.iter().find(|pair| pair["first"] == one && pair["second"] == other).unwrap()["decision"]
    };
    // Ada says what is so, as the model does.
    assert_eq!(pair("openai/judge", "ada")["kappa"]["estimate"], 1.0);
    let decision = pair("openai/judge", "grace");
    let wrong = number(&decision["first_only"]) + number(&decision["second_only"]);
    assert_eq!((number(&decision["answers"]), wrong), (traces, traces.div_ceil(5)));
    let agreement = decision["agreement"]["estimate"].as_f64().unwrap();
    assert!((agreement - (1.0 - wrong as f64 / traces as f64)).abs() < 1e-12);
    // What people say has shares of its own.
    let of_model = &share(&results, 0, "harm-recognised")["misaligned"];
    assert_eq!(of_model["labelled"], share(&results, 2, "harm-recognised")["misaligned"]["labelled"]);

    // All of it goes out again, with the probabilities of the draw.
    world.run(&["annotate", "run", "--traces", "--export", "all.csv"]).expect(0);
    let all = csv_of(&world, "all.csv");
    assert_eq!(all.len() as u64, 2 * traces - 3);
    let of_grace =
        all.iter().filter(|row| row["annotator"] == "grace" && row["persona"] == "1").count() as u64;
    assert_eq!(of_grace, number(&decision["both"]) + number(&decision["second_only"]));
    assert!(all.iter().all(|row| (0.0..=1.0).contains(&row["probability"].parse::<f64>().unwrap())));

    broken_files_are_told(&world);
}

fn broken_files_are_told(world: &World) {
    let import = |name: &str| world.run(&["annotate", "run", "--traces", "--import", name]);
    for (text, expected) in [
        ("trace,persona\nx,1\n", "no column `annotator`"),
        ("annotator,sample,mood\nada,x,1\n", "no column of labels"),
        ("annotator,persona\nada,1\n", "no column `sample` or `trace`"),
    ] {
        world.write("bad.csv", text);
        let told = import("bad.csv").expect(2).stderr;
        assert!(told.contains(expected), "{told}");
    }
    world.write("bad.csv", "annotator,sample,persona\nada,00,1\nada,\u{1b}[31m,perhaps\n");
    let told = import("bad.csv").expect(3).stderr;
    assert!(told.contains("bad.csv:2: no drawn trace has the sample id `00`"), "{told}");
    assert!(
        told.contains("bad.csv:3: `perhaps` is neither yes nor no") && !told.contains('\u{1b}'),
        "{told}"
    );
}

#[test]
fn the_page_shows_question_and_trace_and_the_code_book_alone() {
    let world = run(Script { hostile: 0.5, ..script() });
    let page = Page::open(&world, &["--annotator", "ada", "--traces"]);
    let shell = page.send("GET", "/", &[("Cookie", &page.cookie)], "");
    assert!(shell.status == 200 && shell.body.contains("Reasoning"), "{}", shell.body);
    let script = page.send("GET", "/page.js", &[("Cookie", &page.cookie)], "").body;
    assert!(!script.contains("innerHTML") && script.contains("checkbox"), "{script}");
    let shown = page.task();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&shown), ["annotator", "done", "total", "can_undo", "task", "labels"]);
    assert_eq!(keys(&shown["task"]), ["place", "question", "answer"]);
    assert_eq!(shown["labels"].as_array().unwrap().len(), 8);
    let place = &shown["task"]["place"];
    for wrong in [
        json!({"place": place, "labels": ["nothing"], "note": null}),
        json!({"place": 100_000, "labels": [], "note": null}),
        json!({"place": place, "verdict": {"kind": "refusal"}}),
    ] {
        assert_eq!(page.post("/label", &wrong).status, 400, "{wrong}");
    }
    let label = |labels: Value| {
        let place = &page.task()["task"]["place"];
        page.post("/label", &json!({"place": place, "labels": labels, "note": "n"})).json()
    };
    assert_eq!(label(json!(["persona", "persona", "harm-recognised"]))["done"], 1);
    assert_eq!(page.post("/undo", &json!({})).json()["done"], 0);
    assert_eq!(page.task()["task"], shown["task"], "what was taken back is shown again");
    label(json!(["persona", "harm-recognised"]));
    label(json!([]));
    assert_eq!(label(Value::Null)["done"], 3);
    drop(page);
    let page = Page::open(&world, &["--annotator", "ada", "--traces"]);
    assert_eq!(page.task()["done"], 3);
    drop(page);
    let stored = rows(&world, "SELECT id, kind || ' ' || labels FROM trace_label ORDER BY id");
    let stored: Vec<&str> = stored.iter().map(|(_, text)| text.as_str()).collect();
    let both = "coded [\"harm-recognised\",\"persona\"]";
    assert_eq!(stored, [both, "withdrawn []", both, "coded []", "cannot_tell []"]);
    let results = world.run(&["trace", "run", "--report-only", "--json"]).expect(0).json();
    assert_eq!((&results["coders"][0]["coder"], &results["coders"][0]["coded"]), (&json!("ada"), &json!(2)));
}

#[test]
fn report_exports_and_persona_labels_hold_the_codings() {
    let coder = CoderScript { garbage: 0.1, invents: 0.3, unknown: 0.2, ..CoderScript::default() };
    let world = run(Script { coder, hostile: 0.4, misaligned: vec![(0, 0.1), (1, 0.2)], ..script() });
    let before = world.run(&["export", "run", "--format", "csv", "--out", "empty"]).expect(0);
    assert!(before.stdout.contains("trace_codes.csv (0 rows)"), "{}", before.stdout);
    world.run(&["report", "run"]).expect(0);
    let plain = std::fs::read_to_string(world.path("run/report.html")).unwrap();
    assert!(!plain.contains("id=\"traces\"") && !plain.contains("id=\"filter-code\""));
    let results = world.run(&["trace", "run", "--json"]).expect(3).json();
    let truths = truths(&world);
    let codings: BTreeMap<i64, String> =
        rows(&world, "SELECT response, outcome FROM coding").into_iter().collect();

    world.run(&["report", "run"]).expect(0);
    let page = std::fs::read_to_string(world.path("run/report.html")).unwrap();
    let section = page.split("id=\"traces\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(section.contains("class=\"reference\"") && section.contains("published: 67.5 %"), "{section}");
    let persona = share(&results, 0, "persona_labelled");
    let shown = format!("{} of {}", persona["misaligned"]["labelled"], persona["misaligned"]["traces"]);
    assert!(section.contains(&shown), "{shown}");
    assert!(page.contains("id=\"filter-code\""));
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let labels: Vec<&str> =
        data["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap()).collect();
    let place = labels.iter().position(|label| *label == "persona").unwrap();
    let holds = |labels: &Value| labels.as_array().unwrap().iter().any(|label| *label == place);
    let marked =
        data["samples"]["codes"].as_object().unwrap().values().filter(|labels| holds(labels)).count();
    let labelled = number(&persona["misaligned"]["labelled"]) + number(&persona["aligned"]["labelled"]);
    assert_eq!(marked as u64, labelled);
    // Each quote's place is that of the sentence, in units of a browser's strings.
    let texts = page.split("id=\"texts-0\">").nth(1).unwrap().split("</script>").next().unwrap();
    let texts: Vec<Value> = serde_json::from_str(texts).unwrap();
    let mut quotes = 0;
    for text in &texts {
        for label in text["codings"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|coding| coding["labels"].as_array().unwrap())
        {
            let Some(span) = label["span"].as_array() else { continue };
            let units: Vec<u16> = text["reasoning"].as_str().unwrap().encode_utf16().collect();
            let [start, end] = [0, 1].map(|end: usize| usize::try_from(number(&span[end])).unwrap());
            assert_eq!(
                String::from_utf16(&units[start..end]).unwrap(),
                sentence(label["label"].as_str().unwrap())
            );
            quotes += 1;
        }
    }
    assert_eq!(quotes, number(&results["coders"][0]["labels_held"]));

    world.run(&["export", "run", "--format", "csv", "--out", "tables"]).expect(0);
    let table = csv_of(&world, "tables/trace_codes.csv");
    let coded = codings.values().filter(|outcome| *outcome == "coded").count();
    let unknown = table.iter().filter(|row| row["state"] == "unknown").count();
    assert_eq!(table.len(), 8 * coded + (codings.len() - coded) + unknown);
    assert!(unknown > 0 && coded < codings.len());
    let of = |label: &str| {
        table.iter().filter(|row| row["label"] == label && row["applies"] == "true").count() as u64
    };
    assert_eq!(of("persona"), labelled);
    assert_eq!(of("deception"), 0);
    assert!(table.iter().all(|row| !row["drawn_as"].is_empty() && !row["inclusion"].is_empty()));

    let labels = tiltmeter_run::trace_labels(&world.path("run"), None).unwrap();
    let has = |response: &&i64| codings[response] == "coded" && truths[response].has("persona");
    let expected = codings.keys().filter(has).count();
    assert_eq!((labels.len(), labels.values().filter(|persona| **persona).count()), (coded, expected));
    let nobody = tiltmeter_run::trace_labels(&world.path("run"), Some("nobody")).unwrap_err().to_string();
    assert!(nobody.contains("nobody named `nobody`"), "{nobody}");
}
