//! Judges the steps of an Integration and the templates of its sink: what they are, the schemas that they name, and whether the
//! worker can run them.

use sluice_crds::{IntegrationSpec, Step, wire};
use sluice_pipeline::{Part, Pipeline};

use super::References;
use crate::{
    Rejection,
    schema::{schema, written_at},
};

/// The steps as the worker gets them, or all that is wrong with them. Without a sink only the steps are judged.
pub(super) fn steps(
    spec: &IntegrationSpec,
    references: &References,
    sink: Option<&wire::SinkConfig>,
) -> Result<Vec<wire::StepConfig>, Vec<Rejection>> {
    let mut rejections = Vec::new();
    let mut steps = Vec::new();
    for (index, step) in spec.steps.iter().enumerate() {
        match operation(&format!("spec.steps[{index}]"), step, references) {
            Ok(operation) => steps.push(wire::StepConfig { name: step.name.clone(), operation }),
            Err(rejection) => rejections.push(rejection),
        }
    }
    if rejections.is_empty() {
        compile(spec, &steps, sink)?;
        return Ok(steps);
    }
    Err(rejections)
}

fn operation(field: &str, step: &Step, references: &References) -> Result<wire::Operation, Rejection> {
    match (&step.filter, &step.map, &step.validate) {
        (Some(program), None, None) => Ok(wire::Operation::Filter(program.clone())),
        (None, Some(program), None) => Ok(wire::Operation::Map(program.clone())),
        (None, None, Some(validation)) => {
            let field = format!("{field}.validate.jsonSchema");
            schema(&field, &validation.json_schema, &references.config_maps).map(wire::Operation::Validate)
        }
        _ => {
            let message = format!("step {:?} must be exactly one of filter, map, validate", step.name);
            Err(Rejection::invalid(field, message))
        }
    }
}

/// The worker's own compiler says here what it would say there.
fn compile(
    spec: &IntegrationSpec,
    steps: &[wire::StepConfig],
    sink: Option<&wire::SinkConfig>,
) -> Result<(), Vec<Rejection>> {
    let field = |part: &Part| match part {
        Part::Step(name) => {
            let index = spec.steps.iter().position(|step| step.name == *name).unwrap_or_default();
            format!("spec.steps[{index}].{}", kind(&spec.steps[index]))
        }
        Part::Sink(field) => format!("spec.sink.{field}"),
    };
    Pipeline::compile(&spec.decode, steps, sink).map(drop).map_err(|errors| {
        errors.iter().map(|error| Rejection::invalid(field(&error.part), error.to_string())).collect()
    })
}

/// The field of a step that a complaint of the compiler is about.
fn kind(step: &Step) -> String {
    match (&step.filter, &step.validate) {
        (Some(_), _) => "filter".to_owned(),
        (_, Some(validation)) => written_at("validate.jsonSchema", &validation.json_schema),
        _ => "map".to_owned(),
    }
}
