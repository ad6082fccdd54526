//! `tiltmeter plan`: what an experiment would ask, without asking.

use tiltmeter_run::{forecast, gives_log_probabilities};

use crate::cli::PlanArguments;
use crate::exit::{Exit, Failure};
use crate::{files, output, prices};

pub(crate) fn plan(arguments: &PlanArguments) -> Result<Exit, Failure> {
    let experiment = files::experiment_to_estimate(&arguments.experiment)?;
    let plan = experiment.plan(gives_log_probabilities);
    let forecast = forecast(&experiment, &plan, &prices::load()?).map_err(Failure::failed)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&forecast).map_err(Failure::failed)?;
        output::result(&format!("{json}\n"));
    } else {
        output::result(&tiltmeter_report::plan_table(&forecast));
    }
    Ok(Exit::Done)
}
