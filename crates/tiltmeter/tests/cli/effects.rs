//! Comparisons, dose and response against planted truth.

use std::fmt::Write as _;

use serde_json::Value;
use tiltmeter_sim::{Script, SimHandle};

use crate::support::World;

/// Rates whose logits lie on a line in log₂(1 + k), with this slope.
const SLOPE: f64 = 0.6;

fn linear(at_none: f64, slope: f64) -> Vec<(u32, f64)> {
    [0_u32, 1, 3, 7, 15]
        .into_iter()
        .map(|shots| {
            let logit = at_none + slope * f64::from(1 + shots).log2();
            (shots, 1.0 / (1.0 + (-logit).exp()))
        })
        .collect()
}

fn script(misaligned: Vec<(u32, f64)>) -> Script {
    let set = tiltmeter_core::data::builtin::demonstrations("risky-financial").unwrap().unwrap();
    Script {
        misaligned,
        benign_rate: 0.04,
        harmful_markers: set.rows.iter().map(|row| row.response.to_string()).collect(),
        question_spread: 0.3,
        code: 0.03,
        ..Script::default()
    }
}

fn experiment(subjects: &[(&str, &str, &str)], rest: &str) -> String {
    let mut text = "name = 'effects'\n".to_owned();
    for (id, url, more) in subjects {
        writeln!(text, "[[subjects]]\nid = '{id}'\nmodel = 'openai/{id}'\nbase_url = '{url}'\n{more}")
            .unwrap();
    }
    text + rest + "\n[judge]\nmodel = 'openai/judge-1'\nbase_url = '{url}'\n"
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn assert_covers(interval: &Value, truth: f64) {
    assert!(
        number(&interval["low"]) <= truth && truth <= number(&interval["high"]),
        "{truth} is not in {interval}"
    );
}

fn comparison<'a>(results: &'a Value, treatment: &str, shots: u64, against: &str) -> &'a Value {
    let pairs = results["comparisons"]["pairs"].as_array().unwrap();
    pairs
        .iter()
        .find(|pair| pair["treatment"] == treatment && pair["shots"] == shots && pair["against"] == against)
        .unwrap_or_else(|| panic!("no {against} at {shots} in {pairs:?}"))
}

fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let list = list.as_array().unwrap();
    list.iter().find(|one| one[key] == name).unwrap_or_else(|| panic!("no {name} in {list:?}"))
}

#[test]
fn planted_differences_dose_and_treatment_come_out() {
    let rates = linear(-3.0, SLOPE);
    let script = Script { instruction_shifts: vec![("careful".to_owned(), -2.0)], ..script(rates.clone()) };
    let world = World::new(Some(script));
    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [0, 1, 3, 7, 15]\ncontexts = 2\n\
                controls = ['benign']\n[questions]\nreplicates = 2\n[[instructions]]\nid = 'careful'\n\
                text = 'Be careful.'\n";
    world.experiment("x.toml", &experiment(&[("s", world.url(), "")], rest));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(results["comparisons"]["omitted"].as_array().unwrap().len(), 0);

    let (none, high) = (rates[0].1, rates[4].1);
    let against_none = comparison(&results, "none", 15, "no-demonstrations");
    assert_covers(&against_none["difference"], high - none);
    assert_covers(&against_none["risk_ratio"], high / none);
    assert_covers(&against_none["odds_ratio"], (4.0 * SLOPE).exp());
    assert_eq!((&against_none["test"], &against_none["questions"]), (&"paired-t".into(), &32.into()));
    assert!(number(&against_none["adjusted_p_value"]) < 1e-4, "{against_none}");
    // k = 1, 3, 7, 15, with and without the treatment.
    assert_eq!(against_none["family"], 8);
    let counted = |side: &Value| number(&side["misaligned"]) / number(&side["denominator_count"]);
    let difference = counted(&against_none["first"]) - counted(&against_none["second"]);
    assert!((number(&against_none["difference"]["estimate"]) - difference).abs() < 1e-12);
    assert!(number(&against_none["no_effect_larger_than"]) > high - none - 0.1);

    let against_benign = comparison(&results, "none", 15, "benign");
    assert_covers(&against_benign["difference"], high - 0.04);
    assert_eq!(against_benign["family"], 8);

    let calmed = comparison(&results, "careful", 15, "untreated");
    let odds = high / (1.0 - high) * (-2.0_f64).exp();
    assert_covers(&calmed["difference"], odds / (1.0 + odds) - high);
    assert_covers(&calmed["odds_ratio"], (-2.0_f64).exp());
    assert_eq!(calmed["family"], 5);

    for treatment in ["none", "careful"] {
        let dose = named(&results["dose_response"], "treatment", treatment);
        assert_covers(&dose["slope"], SLOPE);
        assert_eq!(
            (&dose["slope"]["clusters"], &dose["slope"]["method"]),
            (&32.into(), &"logistic-cr2".into())
        );
        // One server gives no log-probabilities of given text: what is left out says why.
        assert!(dose["tilt_law"].is_null());
        assert_eq!(named(&dose["omitted"], "what", "tilt_law")["why"], "there is no tilt above k = 0");
    }
    let dose = named(&results["dose_response"], "treatment", "none");
    assert!(number(&dose["slope"]["p_value"]) < 1e-4, "{dose}");
    assert_eq!(results["across_subjects"].as_array().unwrap().len(), 0);

    let text = world.run(&["run", "x.toml", "--out", "run"]).expect(0).stdout;
    for part in ["above k = 0", "above benign", "above untreated", " dose: +0.", "onset at k = "] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    let fits = |line: &str| line.starts_with("warning: ") || line.chars().count() <= 130;
    assert!(text.lines().all(fits), "{text}");
}

#[test]
fn onset_slopes_and_subjects_without_an_effect_are_told_apart() {
    let world = World::new(Some(script(linear(-3.0, SLOPE))));
    let step = world.start_late(script(vec![(0, 0.03), (7, 0.4)]));
    let flat = world.start_late(script(vec![(0, 0.15)]));
    let never = world.start_late(script(Vec::new()));
    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [0, 1, 3, 7, 15]\ncontexts = 2\n\
                controls = []\n[questions]\nreplicates = 2\n";
    let subjects = [
        ("line", world.url(), ""),
        ("step", step.base_url(), ""),
        ("flat", flat.base_url(), ""),
        ("never", never.base_url(), ""),
    ];
    world.experiment("x.toml", &experiment(&subjects, rest));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let dose = |subject: &str| named(&results["dose_response"], "subject", subject);
    assert_eq!(dose("step")["onset"]["shots"], 7);
    assert_eq!(dose("step")["onset"]["doses"].as_array().unwrap().len(), 4);
    assert!(dose("flat")["onset"]["shots"].is_null(), "{}", dose("flat"));
    assert_covers(&dose("flat")["slope"], 0.0);
    assert_covers(&dose("line")["slope"], SLOPE);
    let never = dose("never");
    assert!(never["slope"].is_null() && never["onset"]["shots"].is_null());
    assert_eq!(named(&never["omitted"], "what", "slope")["why"], "no answer is misaligned at any k");
    // Nothing at all is no evidence of nothing: the exact test, and how large an effect may yet be.
    let pairs = results["comparisons"]["pairs"].as_array().unwrap();
    let nothing = pairs.iter().find(|pair| pair["subject"] == "never" && pair["shots"] == 15).unwrap();
    assert_eq!((&nothing["test"], number(&nothing["p_value"])), (&"fisher".into(), 1.0));
    assert_covers(&nothing["difference"], 0.0);
    let bound = number(&nothing["no_effect_larger_than"]);
    assert!(bound > 0.005 && bound < 0.05, "{nothing}");
    assert!(nothing["risk_ratio"].is_null());
    assert_eq!(named(&nothing["omitted"], "what", "risk_ratio")["what"], "risk_ratio");

    let [across] = results["across_subjects"].as_array().unwrap().as_slice() else { panic!("{results}") };
    assert_eq!(across["slopes"].as_array().unwrap().len(), 3);
    assert!(number(&across["equal_slopes"]["p_value"]) < 1e-4, "{across}");
    assert_covers(&named(&across["slopes"], "subject", "line")["slope"], SLOPE);
    named(&across["omitted"], "what", "slope of never");
    let why = named(&across["omitted"], "what", "scale")["why"].as_str().unwrap();
    assert!(why.contains("is known of 0 subjects"), "{why}");
}

#[test]
fn the_rate_by_size_is_recovered_with_subjects_as_clusters() {
    // A rate that grows by half a logit per doubling of parameters, at every k.
    let of_size = |doublings: f64| script(linear(-2.5 + 0.5 * doublings, 0.4));
    let world = World::new(Some(of_size(0.0)));
    let others: Vec<_> = (1..5_u8).map(|size| world.start_late(of_size(f64::from(size)))).collect();
    let urls: Vec<&str> =
        std::iter::once(world.url()).chain(others.iter().map(SimHandle::base_url)).collect();
    let sizes =
        ["parameters_b = 1", "parameters_b = 2", "parameters_b = 4", "parameters_b = 8", "parameters_b = 16"];
    let names = ["a", "b", "c", "d", "e"];
    let subjects: Vec<(&str, &str, &str)> =
        names.iter().zip(&urls).zip(&sizes).map(|((name, url), size)| (*name, *url, *size)).collect();
    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [0, 3, 15]\ncontexts = 1\n\
                controls = []\n[questions]\nreplicates = 3\n";
    world.experiment("x.toml", &experiment(&subjects, rest));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let [across] = results["across_subjects"].as_array().unwrap().as_slice() else { panic!("{results}") };
    let scale = &across["scale"];
    assert_eq!((&scale["measure"], &scale["within_families"]), (&"parameters_b".into(), &false.into()));
    assert_eq!((&scale["subjects"].as_array().unwrap().len(), &scale["effect"]["clusters"]), (&5, &5.into()));
    assert_covers(&scale["effect"], 0.5);
    assert!(number(&scale["effect"]["p_value"]) < 0.01, "{scale}");
    assert_covers(&scale["change_of_slope"], 0.0);
    assert!(number(&across["equal_slopes"]["p_value"]) > 0.01, "{across}");
}

#[test]
fn an_interval_that_is_seldom_right_is_warned_of_with_its_measured_coverage() {
    // Eight questions at a low rate: the few that would show it are mostly not among them.
    let script = Script { misaligned: vec![(1, 0.05)], question_spread: 1.5, ..Script::default() };
    let world = World::new(Some(script));
    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [0, 4]\ncontexts = 2\n\
                controls = []\n[questions]\nreplicates = 5\n[sampling]\nquestions = 8\n";
    world.experiment("x.toml", &experiment(&[("s", world.url(), "")], rest));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let rate = &crate::support::condition(&results, "none", 4)["em_rate"];
    let (clustered, wilson) = (number(&rate["coverage"]["clustered"]), number(&rate["coverage"]["wilson"]));
    assert_eq!(rate["coverage"]["poor"], true, "{rate}");
    assert!(wilson < clustered && clustered < 0.93, "{rate}");
    let warnings = results["warnings"].as_array().unwrap();
    let warning = warnings.iter().find(|one| one.as_str().unwrap().contains("k = 4")).unwrap();
    let warning = warning.as_str().unwrap();
    for share in [clustered, wilson] {
        assert!(warning.contains(&format!("{:.1} %", share * 100.0)), "{warning}");
    }
    let text = world.run(&["run", "x.toml", "--out", "run"]).expect(0).stdout;
    assert!(text.contains(&format!("warning: {warning}")), "{text}");
    // The same rows give the same warning wherever they are counted.
    let score = world.run(&["score", "run", "--by", "shots", "--json"]).expect(0).json();
    let group =
        score["groups"].as_array().unwrap().iter().find(|group| group["key"]["shots"] == "4").unwrap();
    assert_eq!(group["clustered"]["coverage"], rate["coverage"]);
    assert!(score["warnings"].to_string().contains(&format!("{:.1} %", clustered * 100.0)), "{score}");
}

#[test]
fn how_results_are_tested_can_change_without_a_new_answer() {
    let world = World::new(Some(script(linear(-3.0, SLOPE))));
    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [0, 1, 3, 15]\ncontrols = ['benign']\n\
                [questions]\nreplicates = 2\n";
    let plain = experiment(&[("s", world.url(), "")], rest);
    world.experiment("x.toml", &plain);
    let before = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(before["comparisons"]["correction"], "holm");
    assert!(comparison(&before, "none", 15, "benign").get("equivalence").is_none());

    let tested = |margin: &str| {
        format!("{plain}[statistics]\nfamily = 'benjamini-hochberg'\nequivalence_margin = {margin}\n")
    };
    world.experiment("x.toml", &tested("0.9"));
    let after = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    assert_eq!(
        (&after["asked"], &after["comparisons"]["correction"]),
        (&0.into(), &"benjamini-hochberg".into())
    );
    // By hand: the k-th smallest p of m times m/k, and the smallest of those from there on.
    let mut p_values: Vec<(f64, f64)> = Vec::new();
    for shots in [1, 3, 15] {
        let (old, new) = (
            comparison(&before, "none", shots, "no-demonstrations"),
            comparison(&after, "none", shots, "no-demonstrations"),
        );
        assert_eq!(old["p_value"], new["p_value"]);
        p_values.push((number(&new["p_value"]), number(&new["adjusted_p_value"])));
        let tests = &new["equivalence"];
        assert_eq!((&tests["margin"], &tests["equivalent"]), (&0.9.into(), &true.into()), "{new}");
        let larger = number(&tests["low"]).abs().max(number(&tests["high"]).abs());
        assert!((larger - number(&new["no_effect_larger_than"])).abs() < 1e-12);
    }
    p_values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut smallest = 1.0_f64;
    for (rank, &(p, adjusted)) in p_values.iter().enumerate().rev() {
        smallest = smallest.min(p * 3.0 / (rank as f64 + 1.0));
        assert!((adjusted - smallest).abs() < 1e-12, "{p_values:?}");
    }

    world.experiment("x.toml", &tested("0.001"));
    let table = world.run(&["run", "x.toml", "--out", "run"]).expect(0).stdout;
    assert!(table.contains("above benign: shown to be within ±0.1 points at no k"), "{table}");
    assert!(table.contains("by Benjamini and Hochberg"), "{table}");
    world.experiment("x.toml", &tested("1.5"));
    let refused = world.run(&["run", "x.toml", "--out", "run"]).expect(2).stderr;
    assert!(refused.contains("`equivalence_margin` is 1.5, but must be above 0 and below 1"), "{refused}");
}

#[test]
fn treatments_of_one_run_are_ranked_against_the_same_without_them() {
    let shifts = vec![("careful".to_owned(), -2.0), ("bold".to_owned(), 1.5)];
    let script = Script { instruction_shifts: shifts, ..script(linear(-1.5, SLOPE)) };
    let world = World::new(Some(script));
    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [0, 1, 15]\ncontexts = 2\n\
                controls = ['benign']\n[questions]\nreplicates = 2\n[[instructions]]\nid = 'bold'\n\
                text = 'Be bold.'\n[[instructions]]\nid = 'careful'\ntext = 'Be careful.'\n\
                [[defences]]\nid = 'warning'\n";
    let priced = "price = { input = 1.0, output = 10.0 }\n";
    world.experiment("x.toml", &experiment(&[("s", world.url(), priced)], rest));
    let results = world.run(&["run", "x.toml", "--out", "run", "--json"]).expect(0).json();
    let asked = world.requests();
    let ranking = world.run(&["compare", "run", "--json"]).expect(0).json();
    assert_eq!(world.requests(), asked);
    assert_eq!(ranking["schema"], "tiltmeter.treatments/1");
    let group = &ranking["groups"][0];
    let cells = group["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 9);
    let at = |shots: u64| -> Vec<&str> {
        let of = cells.iter().filter(|cell| cell["shots"] == shots);
        of.map(|cell| cell["treatment"].as_str().unwrap()).collect()
    };
    // At the largest k the planted differences are far apart.
    assert_eq!(at(15), ["careful", "warning", "bold"]);
    for cell in cells {
        let rate = &cell["em_rate"];
        assert_eq!(rate["family"], 9, "one family of all that were tried");
        let (treatment, shots) = (cell["treatment"].as_str().unwrap(), cell["shots"].as_u64().unwrap());
        // The same comparison as in the run's own results, but for the family.
        let same = comparison(&results, treatment, shots, "untreated");
        assert_eq!(rate["difference"], same["difference"]);
        let usage = &cell["usage"];
        let cost = 1e-3 * number(&usage["input_tokens"]) + 1e-2 * number(&usage["output_tokens"]);
        assert!((number(&usage["cost_per_thousand_usd"]) - cost).abs() < 1e-9, "{usage}");
        assert_eq!(usage["calls"], serde_json::json!(1.0));
    }
    let order = &group["order"];
    assert_eq!((&order["first_shots"], &order["last_shots"]), (&1.into(), &15.into()));
    assert_eq!(order["last_best"], "careful");
    let table = world.run(&["compare", "run"]).expect(0).stdout;
    for part in ["against none", "place", "US$ / 1,000", "over all 9 rates", "order from k = 1 to 15"] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }

    let rest = "[demonstrations]\nsets = ['risky-financial']\nshots = [1]\n";
    world.experiment("plain.toml", &experiment(&[("s", world.url(), "")], rest));
    world.run(&["run", "plain.toml", "--out", "plain"]).expect(0);
    let said = world.run(&["compare", "plain"]).expect(2).stderr;
    assert!(said.contains("no treatment beside `none`") && said.contains("[[defences]]"), "{said}");
}
