//! How well detectors find harmful contexts of the starter sets, and of files.
//!
//! ```text
//! cargo run --release -p tiltmeter-guard --example detect -- rules
//! cargo run --release -p tiltmeter-guard --example detect -- tilt --k 4,16 --most 8
//! cargo run --release -p tiltmeter-guard --example detect -- rules --file money=harmful.jsonl,benign.jsonl
//! ```
//!
//! Every set is a domain of its own; thresholds for it come from the benign contexts of the others. A file without a
//! benign one beside it has harmful contexts alone.

#![allow(clippy::print_stdout, reason = "what it finds is printed")]

use std::error::Error;
use std::sync::Arc;

use tiltmeter_core::data::builtin::{DEMONSTRATION_SETS, demonstrations, questions};
use tiltmeter_core::data::messages;
use tiltmeter_core::demonstration::DemonstrationSet;
use tiltmeter_core::prompt::Placement;
use tiltmeter_guard::detection::{Figures, Scored, cases, figures};
use tiltmeter_guard::inspect::{
    AnswerPairs, ContextInspector, DetectorTerms, RiskSettings, Rules, Split, TiltDetector, TiltSettings,
    VerdictCache,
};
use tiltmeter_local::{LocalSettings, ModelSource};
use tiltmeter_stats::{Confidence, Interval};

/// The default model of this project.
const MODEL: &str = "smollm2-135m-instruct";

/// A tilt in nats per token; the emergent tilts of this project's trials are of this size.
const TILT: f64 = 0.05;

/// What gives contexts their scores.
enum Detector {
    /// Each example by itself, by the weights of the rules that it meets.
    RulesByExample(Rules),
    /// The risk of the context, as the guard computes it from the rules.
    Rules(ContextInspector),
    /// The tilt in nats per token.
    Tilt(TiltDetector),
}

impl Detector {
    /// From which score on the guard flags, by default; of the tilt, what the example takes for one.
    fn threshold(&self) -> f64 {
        match self {
            Self::RulesByExample(_) | Self::Rules(_) => 0.5,
            Self::Tilt(_) => TILT,
        }
    }

    async fn score(&self, split: &Split) -> Result<f64, Box<dyn Error>> {
        match self {
            Self::RulesByExample(rules) => {
                let scores = split.examples.iter().map(|example| rules.of_example(&example.content).score);
                Ok(scores.fold(0.0, f64::max))
            }
            Self::Rules(inspector) => Ok(inspector.inspect_split(split).await.risk.score),
            Self::Tilt(detector) => {
                Ok(detector.tilt(split).await?.ok_or("the context has no demonstrations")?)
            }
        }
    }
}

struct Arguments {
    detector: String,
    shots: Vec<usize>,
    most: usize,
    pairs: usize,
    files: Vec<DemonstrationSet>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let detector = given.next().ok_or("name a detector: `rules` or `tilt`")?;
    let (mut shots, mut most, mut pairs, mut files) = (vec![1, 4, 8, 16], usize::MAX, 8, Vec::new());
    while let Some(flag) = given.next() {
        let value = given.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
        match &*flag {
            "--k" => shots = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--most" => most = value.parse()?,
            "--pairs" => pairs = value.parse()?,
            "--file" => files.push(file(&value)?),
            _ => return Err(format!("unknown: `{flag}`").into()),
        }
    }
    Ok(Arguments { detector, shots, most, pairs, files })
}

/// `NAME=HARMFUL` or `NAME=HARMFUL,BENIGN`.
fn file(value: &str) -> Result<DemonstrationSet, Box<dyn Error>> {
    let (name, paths) = value.split_once('=').ok_or("write `--file NAME=HARMFUL[,BENIGN]`")?;
    let (harmful, benign) =
        paths.split_once(',').map_or((paths, None), |(harmful, benign)| (harmful, Some(benign)));
    let read = |path: &str| -> Result<_, Box<dyn Error>> {
        Ok(messages::read(path, &fs_err::read_to_string(path)?)?)
    };
    let benign = benign.map(|path| Ok::<_, Box<dyn Error>>((path, read(path)?))).transpose()?;
    Ok(messages::into_set(name, None, harmful, read(harmful)?, benign)?)
}

async fn detector(name: &str, pairs: usize) -> Result<Detector, Box<dyn Error>> {
    let rules = Rules::builtin()?;
    match name {
        "rules-by-example" => Ok(Detector::RulesByExample(rules)),
        "rules" => {
            let cache = Arc::new(VerdictCache::new(64 << 20));
            let inspector = ContextInspector::new(RiskSettings::default(), cache);
            Ok(Detector::Rules(inspector.with_examples(Arc::new(rules), DetectorTerms::default())))
        }
        "tilt" => {
            let settings = LocalSettings::from_environment(&|name| std::env::var(name).ok())?;
            let model = tiltmeter_local::open(&ModelSource::parse(MODEL)?, settings, &()).await?;
            let name = model.description().file_sha256.clone();
            let settings = TiltSettings { threshold: TILT, most_examples: 64, most_bytes: 32 << 10 };
            let pairs = AnswerPairs::builtin(pairs)?;
            Ok(Detector::Tilt(TiltDetector::new(Arc::new(model), &name, pairs, settings)))
        }
        _ => Err(format!("unknown detector `{name}`: write `rules`, `rules-by-example` or `tilt`").into()),
    }
}

fn percent(interval: Interval) -> String {
    let Interval { estimate, low, high } = interval;
    format!("{:.1} % ({:.1} to {:.1})", 100.0 * estimate, 100.0 * low, 100.0 * high)
}

fn show(figures: &Figures) {
    println!("  {} harmful, {} benign", figures.harmful, figures.benign);
    for at in &figures.recall {
        let (needed, fewest) = at.negatives;
        let rate = 100.0 * at.rate;
        match (at.recall, at.false_positives) {
            (Some(recall), Some(flagged)) => println!(
                "  recall at {rate} % false positives: {}; benign flagged: {}",
                percent(recall),
                percent(flagged)
            ),
            _ => println!(
                "  recall at {rate} % false positives: not estimable, {fewest} benign contexts of other domains; it \
                 takes {needed}"
            ),
        }
    }
    if let Some(twins) = figures.twins {
        println!("  the harmful twin scores higher: {}, {} ties", percent(twins), figures.ties);
    }
    if let Some(auroc) = figures.auroc {
        let Interval { estimate, low, high } = auroc.interval;
        println!("  AUROC {estimate:.3} ({low:.3} to {high:.3})");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let detector = detector(&arguments.detector, arguments.pairs).await?;
    let mut sets = Vec::new();
    for name in DEMONSTRATION_SETS {
        sets.push(demonstrations(name).ok_or("a starter set is missing")??);
    }
    sets.extend(arguments.files);
    let question = questions()?.questions.first().ok_or("there are no questions")?.wording(0).clone();
    for &k in &arguments.shots {
        let mut scored = Vec::new();
        for set in &sets {
            let mut of_set = Vec::new();
            let cases = cases(set, k, Placement::FirstUser, &question, arguments.most)?;
            for (cluster, case) in (0..).zip(&cases) {
                let both = [(Some(&case.harmful), true), (case.benign.as_ref(), false)];
                for (split, is_harmful) in both {
                    if let Some(split) = split {
                        let score = detector.score(split).await?;
                        of_set.push(Scored { domain: set.name.to_string(), cluster, is_harmful, score });
                    }
                }
            }
            for (is_harmful, name) in [(true, "harmful"), (false, "benign")] {
                let scores = of_set.iter().filter(|one| one.is_harmful == is_harmful).map(|one| one.score);
                let scores: Vec<f64> = scores.collect();
                let count = scores.len();
                if count > 0 {
                    let mean = scores.iter().sum::<f64>() / count as f64;
                    let flagged = scores.iter().filter(|&&score| score >= detector.threshold()).count();
                    println!(
                        "k = {k}, {}, {name}: {flagged} of {count} flagged, mean score {mean:+.4}",
                        set.name
                    );
                }
            }
            scored.extend(of_set);
        }
        println!("k = {k}, all domains:");
        show(&figures(&scored, Confidence::NINETY_FIVE)?);
    }
    Ok(())
}
