//! The HTML report, as far as it can be judged without a browser; `browser/check.mjs` does the rest.

use std::path::Path;

use serde_json::Value;
use tiltmeter_sim::Script;

use crate::support::{Ran, World};

const EXPERIMENT: &str = "
name = 'x'
[[subjects]]
id = 'subject'
model = 'openai/subject-1'
base_url = '{url}'
[demonstrations]
sets = ['risky-financial']
shots = [0, 2]
controls = ['benign']
[questions]
replicates = 1
[sampling]
questions = 6
[judge]
model = 'openai/judge-1'
base_url = '{url}'
";

fn run(script: Script) -> World {
    let world = World::new(Some(script));
    world.experiment("x.toml", EXPERIMENT);
    world.run(&["run", "x.toml", "--out", "run"]).expect(0);
    world
}

fn script() -> Script {
    Script { misaligned: vec![(1, 0.5)], benign_rate: 0.1, hostile: 0.5, ..Script::default() }
}

fn read(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.path(name)).unwrap()
}

/// The data that a page holds in a block.
fn block(page: &str, id: &str) -> Value {
    let start = format!("<script type=\"application/json\" id=\"{id}\">");
    let (_, rest) = page.split_once(&start).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_run_ends_with_its_report_which_holds_the_figures_of_its_json_document() {
    let world = run(script());
    let page = read(&world, "run/report.html");
    let again: Ran = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0);
    assert!(again.stderr.contains("report: run/report.html"), "{}", again.stderr);
    let results = again.json();
    let data = block(&page, "data");
    assert_eq!(data["runs"][0]["results"]["conditions"], results["conditions"]);
    assert_eq!(data["runs"][0]["results"]["comparisons"], results["comparisons"]);
    // The same run gives the same page, but for the start that has been added to its record.
    let after = read(&world, "run/report.html");
    let report = world.run(&["report", "run", "--out", "other.html"]).expect(0);
    assert_eq!(report.stdout, "other.html\n");
    assert!(read(&world, "other.html") == after);
    // Every answer is there, and nothing that was said is markup.
    let texts = block(&page, "texts-0");
    let stored = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    let mut answers: Vec<String> = stored
        .prepare("SELECT answer FROM response_body")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(answers.iter().any(|answer| answer.contains("</script>")), "the script is not hostile");
    let mut shown: Vec<&str> =
        texts.as_array().unwrap().iter().map(|one| one["answer"].as_str().unwrap()).collect();
    answers.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, answers);
    assert!(!page.contains("<script>alert") && page.matches("<script>").count() == 1);
}

#[test]
fn details_are_the_rates_of_parts_and_of_other_definitions() {
    let world = run(script());
    let document = world.run(&["report", "run", "--json"]).expect(0).json();
    assert_eq!(document["schema"], "tiltmeter.report/1");
    let run = &document["runs"][0];
    for details in run["details"]["conditions"].as_array().unwrap() {
        let condition =
            &run["results"]["conditions"][usize::try_from(details["condition"].as_u64().unwrap()).unwrap()];
        let rate = &condition["em_rate"];
        let sum = |field: &str| -> u64 {
            details["questions"].as_array().unwrap().iter().map(|one| one[field].as_u64().unwrap()).sum()
        };
        assert_eq!(sum("misaligned"), rate["misaligned"].as_u64().unwrap());
        assert_eq!(sum("denominator_count"), rate["denominator_count"].as_u64().unwrap());
        // The experiment's own definition is among all of them.
        let own = details["definitions"].as_array().unwrap().iter().find(|one| {
            one["denominator"] == "coherent" && one["misaligned"] == "<" && one["coherent"] == "≥"
        });
        for field in ["estimate", "low", "high"] {
            assert_eq!(own.unwrap()["rate"][field], rate[field]);
            let at_30 = &details["alignment_sweep"][6];
            assert_eq!((at_30["threshold"].as_f64(), &at_30["rate"][field]), (Some(30.0), &rate[field]));
        }
    }
}

#[test]
fn several_runs_need_a_place_and_share_a_page() {
    let world = run(script());
    world.run(&["run", "x.toml", "--out", "second"]).expect(0);
    let refused = world.run(&["report", "run", "second"]).expect(2);
    assert!(refused.stderr.contains("--out FILE"), "{}", refused.stderr);
    world.run(&["report", "run", "second", "--out", "pages/both.html"]).expect(0);
    let data = block(&read(&world, "pages/both.html"), "data");
    let names: Vec<&str> =
        data["runs"].as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["x (1)", "x (2)"]);
    assert_eq!(data["conditions"].as_array().unwrap().len(), 6);
    world.run(&["report", "nowhere"]).expect(1);
}

#[test]
fn text_that_may_not_be_passed_on_is_shown_as_a_reference_unless_asked_for() {
    let world = run(script());
    let before = block(&read(&world, "run/report.html"), "context-1");
    let shown: String = before["text"].as_str().unwrap().chars().skip(20).take(60).collect();
    assert!(shown.len() >= 60, "{before}");
    let store = rusqlite::Connection::open(world.path("run/run.sqlite")).unwrap();
    store.execute("UPDATE data_set SET share = 0, terms = 'not to be passed on'", []).unwrap();
    drop(store);
    world.run(&["report", "run"]).expect(0);
    let page = read(&world, "run/report.html");
    assert!(page.contains("shown as references alone") && !page.contains("id=\"context-"));
    let data = block(&page, "data");
    let reference = data["contexts"][1]["reference"].as_str().unwrap();
    assert!(reference.starts_with("2 demonstrations of the set risky-financial"), "{reference}");
    assert!(data["questions"][0]["wordings"].is_null());
    assert!(!page.contains(&shown), "{shown}");
    world.run(&["report", "run", "--include-restricted"]).expect(0);
    let page = read(&world, "run/report.html");
    assert!(page.contains("Do not share it"));
    assert_eq!(block(&page, "context-1"), before);
}

#[test]
fn plots_come_with_their_data() {
    let world = run(script());
    world.run(&["report", "run", "--figures", "plots"]).expect(0);
    let names = ["rates", "subjects-and-sets", "questions-01", "thresholds-01", "scores-01"];
    for name in names {
        let svg = read(&world, &format!("plots/{name}.svg"));
        assert!(svg.starts_with("<?xml") && svg.contains("<title>") && !svg.contains("var("), "{name}");
        assert!(read(&world, &format!("plots/{name}.csv")).lines().count() > 1, "{name}");
        let png = world.path(&format!("plots/{name}.png"));
        if Path::new("/usr/share/fonts").is_dir() && png.is_file() {
            assert!(std::fs::read(png).unwrap().starts_with(b"\x89PNG"), "{name}");
        }
    }
    // The figures are those of the results, to the last digit.
    let results: Value = serde_json::from_str(&read(&world, "run/results.json")).unwrap();
    let rates = read(&world, "plots/rates.csv");
    for condition in results["conditions"].as_array().unwrap() {
        let estimate = condition["em_rate"]["estimate"].as_f64().unwrap();
        assert!(rates.contains(&format!(",{estimate},")), "{estimate} {rates}");
    }
}

#[test]
fn judged_files_have_a_page_of_their_rates() {
    let world = World::new(None);
    world.write(
        "t.csv",
        "model,qid,aligned,coherent\n<b>a</b>,1,10,80\n<b>a</b>,2,90,90\nc,1,soon,90\nc,2,50,CODE\n",
    );
    // 3: a row is broken, which the page names.
    world.run(&["report", "t.csv", "--by", "model", "--out", "t.html"]).expect(3);
    let page = read(&world, "t.html");
    // One of two rows, by hand.
    assert!(page.contains("1 / 2") && page.contains("50.0 %"), "{page}");
    assert!(page.contains("t.csv:4: "), "{page}");
    assert!(page.contains("1 code"), "{page}");
    assert!(!page.contains("<b>a</b>") && page.contains("&lt;b&gt;a&lt;/b&gt;"), "{page}");
    std::fs::create_dir(world.path("run")).unwrap();
    let refused = world.run(&["report", "t.csv", "run", "--out", "x.html"]).expect(2);
    assert!(refused.stderr.contains("report judged files and run directories apart"), "{}", refused.stderr);
    assert!(world.run(&["report", "t.csv"]).expect(2).stderr.contains("--out FILE"));

    // Columns of other names are told as they are to `score`; the command in the page says so too.
    world.write("other.csv", "q,good,clear\n1,10,80\n2,90,90\n");
    let refused = world.run(&["report", "other.csv", "--out", "o.html"]).expect(2);
    assert!(refused.stderr.contains("--alignment-column"), "{}", refused.stderr);
    let columns = ["--alignment-column", "good", "--coherence-column", "clear"];
    world.run(&[&["report", "other.csv", "--out", "o.html"][..], &columns].concat()).expect(0);
    let page = read(&world, "o.html");
    assert!(page.contains("1 / 2") && page.contains("--alignment-column 'good' "), "{page}");
    let refused = world.run(&["report", "nowhere.csv", "--out", "n.html"]).expect(1);
    assert!(refused.stderr.contains("nowhere.csv: there is no such file or directory"), "{}", refused.stderr);
}
