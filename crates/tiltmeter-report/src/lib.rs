//! What people look at: tables for the terminal, and the HTML report. Computes no statistic: every figure is one of
//! [`RunResults`](tiltmeter_run::RunResults).

mod effects;
mod page;
mod persona;
mod plan;
mod status;
mod table;

pub use page::{
    ReportDocument, ReportError, ReportOptions, ReportRun, WrittenPlots, WrittenReport, report_document,
    write_plots, write_report, write_report_of,
};
pub use persona::{projection_table, vector_table};
pub use plan::plan_table;

pub use status::status_table;
pub use table::table;
