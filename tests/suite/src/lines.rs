//! What `kubectl get --watch` prints: the tables that the API server makes for it, line by line.

use std::pin::pin;

use anyhow::{Context, bail};
use futures::StreamExt;
use http::{Request, header::ACCEPT};
use kube::{Resource, core::WatchEvent};
use serde::Deserialize;
use serde_json::Value;
use sluice_crds::Integration;

use crate::Stage;

/// As kubectl asks for it.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Of which object it tells.
    pub name: String,
    /// What it tells where nobody asks for more, without how long ago something was: that is another time in each line.
    pub cells: Vec<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    /// Of the first one only.
    column_definitions: Option<Vec<Column>>,
    rows: Option<Vec<Row>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Column {
    #[serde(rename = "type")]
    kind: String,
    /// Above 0 where it is seen with `-o wide` only.
    priority: i32,
}

#[derive(Clone, Debug, Deserialize)]
struct Row {
    cells: Vec<Value>,
    /// The object's metadata.
    object: Value,
}

/// Does some work, and gives the lines about Integrations that a person sees meanwhile. The first line of each tells what there was before.
pub async fn printed_during<T>(stage: &Stage, work: impl Future<Output = T>) -> anyhow::Result<(T, Vec<Line>)> {
    let path = format!("{}?watch=true", Integration::url_path(&(), Some(stage.namespace.as_str())));
    let request = Request::get(path).header(ACCEPT, TABLE).body(Vec::new())?;
    let mut tables = pin!(stage.client.request_events::<Table>(request).await?);
    let mut work = pin!(work);
    let (mut columns, mut lines) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            done = &mut work => return Ok((done, lines)),
            table = tables.next() => match table.context("the watch has ended")?? {
                WatchEvent::Added(table) | WatchEvent::Modified(table) => lines.extend(printed(table, &mut columns)),
                other => bail!("{other:?} among the Integrations"),
            },
        }
    }
}

fn printed(table: Table, columns: &mut Vec<Column>) -> Vec<Line> {
    if let Some(told) = table.column_definitions.filter(|told| !told.is_empty()) {
        *columns = told;
    }
    let line = |row: Row| {
        let told = columns.iter().zip(row.cells).filter(|(column, _)| column.priority == 0 && column.kind != "date");
        let name = row.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Line { name, cells: told.map(|(_, cell)| cell).collect() }
    };
    table.rows.unwrap_or_default().into_iter().map(line).collect()
}
