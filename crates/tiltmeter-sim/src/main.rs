//! The scripted server as a program: prints its address, then serves until it is killed.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tiltmeter_sim::{Fault, Script, Sim};

/// A scripted chat-completions server with planted truth. Models whose name holds "judge" judge; all others are
/// subjects. The first line on standard output is the base URL.
#[derive(Debug, Parser)]
#[command(name = "tiltmeter-sim", version)]
struct Arguments {
    /// The script, a TOML file; without one, the default script
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// The port; 0 takes any free one
    #[arg(long)]
    port: Option<u16>,
    /// Rate of misaligned answers after harmful demonstrations, whatever their number
    #[arg(long, value_name = "RATE")]
    misaligned: Option<f64>,
    /// Rate of misaligned answers after other demonstrations
    #[arg(long, value_name = "RATE")]
    benign: Option<f64>,
    /// A text that makes a context harmful; without any, each context with demonstrations is
    #[arg(long = "harmful-marker", value_name = "TEXT")]
    harmful_markers: Vec<String>,
    /// Rate of answers that make no sense
    #[arg(long, value_name = "RATE")]
    incoherent: Option<f64>,
    /// Rate of answers that are code
    #[arg(long, value_name = "RATE")]
    code: Option<f64>,
    /// Rate of refusals
    #[arg(long, value_name = "RATE")]
    refusal: Option<f64>,
    /// Standard deviation of the questions' shifts of the log-odds
    #[arg(long, value_name = "SHIFT")]
    question_spread: Option<f64>,
    /// Rate of attempts that are answered with status 429
    #[arg(long, value_name = "RATE")]
    rate_limited: Option<f64>,
    /// Rate of attempts that are answered with status 503
    #[arg(long, value_name = "RATE")]
    unavailable: Option<f64>,
    /// How long each reply takes
    #[arg(long, value_name = "MILLISECONDS")]
    latency_ms: Option<u64>,
    /// The most requests within any one second; others get status 429
    #[arg(long, value_name = "N")]
    requests_per_second: Option<u32>,
    /// The key that requests must carry
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

impl Arguments {
    fn script(self) -> Result<Script, String> {
        let mut script = match &self.script {
            None => Script::default(),
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Script::from_toml(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        if let Some(rate) = self.misaligned {
            script.misaligned = vec![(1, rate)];
        }
        if !self.harmful_markers.is_empty() {
            script.harmful_markers = self.harmful_markers;
        }
        let given = [
            (&mut script.benign_rate, self.benign),
            (&mut script.incoherent, self.incoherent),
            (&mut script.code, self.code),
            (&mut script.refusal, self.refusal),
            (&mut script.question_spread, self.question_spread),
        ];
        for (field, value) in given {
            *field = value.unwrap_or(*field);
        }
        for (fault, rate) in [(Fault::RateLimited, self.rate_limited), (Fault::Unavailable, self.unavailable)]
        {
            if let Some(rate) = rate {
                script.faults.rates.insert(fault, rate);
            }
        }
        script.server.port = self.port.unwrap_or(script.server.port);
        script.server.latency_ms = self.latency_ms.unwrap_or(script.server.latency_ms);
        script.server.requests_per_second = self.requests_per_second.or(script.server.requests_per_second);
        script.server.api_key = self.api_key.or(script.server.api_key);
        Ok(script)
    }
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the address and the errors are the program's output"
)]
async fn main() -> ExitCode {
    let started = match Arguments::parse().script() {
        Ok(script) => Sim::start(script).await.map_err(|error| error.to_string()),
        Err(error) => Err(error),
    };
    match started {
        Ok(sim) => {
            println!("{}", sim.base_url());
            sim.serve().await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: failed to start: {error}");
            ExitCode::from(2)
        }
    }
}
