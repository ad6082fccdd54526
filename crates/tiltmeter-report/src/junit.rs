//! What gates came to, as `JUnit` XML: the format that continuous-integration services read test results in.
//!
//! One suite for each gate, one case for each condition: a value beyond the gate is a failure, a value that is missing an
//! error, a figure that says nothing of a condition a skipped case.

use std::io::Write;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use tiltmeter_run::{GateFinding, GateOutcome, GateResult, RunResults};

use crate::table::printable;

/// The document.
///
/// # Errors
/// None but those of writing to memory.
pub fn junit(results: &RunResults) -> std::io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("testsuites")
        .with_attribute(("name", printable(&results.experiment).as_str()))
        .write_inner_content(|writer| {
            for gate in &results.gates {
                write_suite(writer, results, gate)?;
            }
            Ok(())
        })?;
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    Ok(text)
}

fn write_suite<W: Write>(
    writer: &mut Writer<W>,
    results: &RunResults,
    gate: &GateResult,
) -> std::io::Result<()> {
    let count =
        |is: fn(&GateOutcome) -> bool| gate.conditions.iter().filter(|finding| is(&finding.outcome)).count();
    let skipped = count(|outcome| matches!(outcome, GateOutcome::NotApplicable(_)));
    // A gate that nowhere had anything to look at is an error of its own.
    let is_empty = skipped == gate.conditions.len();
    let errors = count(|outcome| matches!(outcome, GateOutcome::Missing(_))) + usize::from(is_empty);
    let tests = gate.conditions.len() + usize::from(is_empty);
    let failures = count(|outcome| matches!(outcome, GateOutcome::Failed(_)));
    writer
        .create_element("testsuite")
        .with_attributes([
            ("name", gate.gate.as_str()),
            ("tests", &tests.to_string()),
            ("failures", &failures.to_string()),
            ("errors", &errors.to_string()),
            ("skipped", &skipped.to_string()),
        ])
        .write_inner_content(|writer| {
            for finding in &gate.conditions {
                write_case(writer, results, gate, finding)?;
            }
            if is_empty {
                let nowhere = GateFinding {
                    condition: "all conditions".to_owned(),
                    outcome: GateOutcome::Missing("no condition has this figure"),
                };
                write_case(writer, results, gate, &nowhere)?;
            }
            Ok(())
        })?;
    Ok(())
}

fn write_case<W: Write>(
    writer: &mut Writer<W>,
    results: &RunResults,
    gate: &GateResult,
    finding: &GateFinding,
) -> std::io::Result<()> {
    let class = printable(&results.experiment);
    let name = printable(&finding.condition);
    let case = writer
        .create_element("testcase")
        .with_attributes([("classname", class.as_str()), ("name", name.as_str())]);
    let (element, kind, message) = match finding.outcome {
        GateOutcome::Passed(value) => {
            let output = format!("{value}");
            case.write_inner_content(|writer| {
                writer.create_element("system-out").write_text_content(BytesText::new(&output))?;
                Ok(())
            })?;
            return Ok(());
        }
        GateOutcome::Failed(value) => ("failure", Some("gate"), format!("{value} meets {}", gate.gate)),
        GateOutcome::Missing(reason) => ("error", Some("missing"), reason.to_owned()),
        GateOutcome::NotApplicable(reason) => ("skipped", None, reason.to_owned()),
    };
    case.write_inner_content(|writer| {
        let mut outcome = writer.create_element(element).with_attribute(("message", message.as_str()));
        if let Some(kind) = kind {
            outcome = outcome.with_attribute(("type", kind));
        }
        outcome.write_empty()?;
        Ok(())
    })?;
    Ok(())
}
