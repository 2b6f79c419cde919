//! Prints outcomes: aligned text for people, JSON for scripts.

use serde_json::{Map, Value};

pub(super) fn print(outcome: &Value, json: bool) {
    if json {
        println!("{outcome:#}");
    } else {
        print!("{}", text(outcome));
    }
}

fn text(outcome: &Value) -> String {
    match outcome {
        Value::Array(rows) if rows.is_empty() => "none\n".to_owned(),
        Value::Array(rows) => table(rows),
        Value::Object(fields) => fields_text(fields),
        other => format!("{}\n", cell(other)),
    }
}

/// One field a line, names padded to one width.
fn fields_text(fields: &Map<String, Value>) -> String {
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    let line = |(name, value): (&String, &Value)| format!("{name:width$}  {}\n", cell(value));
    fields.iter().map(line).collect()
}

/// One row a line under the names of the first row's fields.
fn table(rows: &[Value]) -> String {
    let columns: Vec<&String> = rows.first().and_then(Value::as_object).into_iter().flat_map(Map::keys).collect();
    let width = |column: &String| {
        let cells = rows.iter().map(|row| cell(&row[column.as_str()]).chars().count());
        cells.chain([column.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(|column| width(column)).collect();
    let line = |cells: Vec<String>| {
        let padded: String = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}  ")).collect();
        padded.trim_end().to_owned() + "\n"
    };
    let head = line(columns.iter().map(|column| (*column).clone()).collect());
    let body = rows.iter().map(|row| line(columns.iter().map(|column| cell(&row[column.as_str()])).collect()));
    head + &body.collect::<String>()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_get_columns_that_line_up() {
        let rows = json!([{ "id": "a", "name": "long name" }, { "id": "bbb", "name": null }]);
        assert_eq!(text(&rows), "id   name\na    long name\nbbb  -\n");
        assert_eq!(text(&json!({ "id": "a", "balance": "5.00" })), "balance  5.00\nid       a\n");
        assert_eq!(text(&json!([])), "none\n");
    }
}
