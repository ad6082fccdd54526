//! What people look at: tables for the terminal, and the HTML report. Computes no statistic: every figure is one of
//! [`RunResults`](tiltmeter_run::RunResults).

mod agreement;
mod chart;
mod compare;
mod effects;
mod gates;
mod junit;
mod live;
mod markdown;
mod page;
mod persona;
mod plan;
mod ranking;
mod status;
mod table;
mod traces;
mod usefulness;

pub use agreement::{agreement_table, labels_table};
pub use compare::comparison_table;
pub use gates::gate_lines;
pub use junit::junit;
pub use live::live_lines;
pub use markdown::markdown;
pub use page::{
    ReportDocument, ReportError, ReportOptions, ReportRun, WrittenPlots, WrittenReport, report_document,
    write_judged_report, write_plots, write_report, write_report_of,
};
pub use persona::{projection_table, vector_table};
pub use plan::plan_table;

pub use ranking::ranking_table;
pub use status::status_table;
pub use table::{number, printable, short, signed, table};
pub use traces::traces_table;
