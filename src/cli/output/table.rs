//! Tables, as `yc` draws them.

use super::value::Value;

/// One column: its heading and the field it shows.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What stands above it.
    pub heading: &'static str,
    /// The field of the listed objects.
    pub field: &'static str,
}

/// The columns `ID`, `NAME`.
pub const ID_AND_NAME: &[Column] = &[ID, NAME];

/// `ID`.
pub const ID: Column = Column { heading: "ID", field: "id" };

/// `NAME`.
pub const NAME: Column = Column { heading: "NAME", field: "name" };

/// `CREATED AT`, written as `YYYY-MM-DD HH:MM:SS` (UTC).
pub const CREATED_AT: Column = Column { heading: "CREATED AT", field: "created_at" };

/// A table of objects, with a newline at the end.
pub fn to_table(columns: &[Column], rows: &[Value]) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell(row, *column)).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let contents = cells.iter().map(|row| width(&row[index]));
            contents.chain([width(column.heading)]).max().unwrap_or_default()
        })
        .collect();

    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    let rule = format!("{rule}+\n");
    let mut out = rule.clone();
    for (column, width) in columns.iter().zip(&widths) {
        out.push_str(&format!("| {:^width$} ", column.heading));
    }
    out.push_str("|\n");
    out.push_str(&rule);
    for row in &cells {
        for (content, width) in row.iter().zip(&widths) {
            out.push_str(&format!("| {content:<width$} "));
        }
        out.push_str("|\n");
    }
    out.push_str(&rule);
    out
}

/// Width in characters; good enough for names, which are Latin.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn cell(row: &Value, column: Column) -> String {
    let text = match row.get(column.field) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(value)) => value.to_string(),
        _ => String::new(),
    };
    if [CREATED_AT.field, "connected_at"].contains(&column.field) {
        return text
            .chars()
            .take(19)
            .map(|character| if character == 'T' { ' ' } else { character })
            .collect();
    }
    // A newline or an escape sequence in a name must not draw on the terminal.
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_centred_headings_and_short_times() {
        let rows: Value = serde_json::from_str(
            r#"[{"id":"are1","created_at":"2019-09-16T10:41:06.489Z"},{"id":"are22\u001b[2J"}]"#,
        )
        .unwrap();
        let Value::List(rows) = rows else { panic!("a list") };
        let expected = "\
+-----------+---------------------+
|    ID     |     CREATED AT      |
+-----------+---------------------+
| are1      | 2019-09-16 10:41:06 |
| are22?[2J |                     |
+-----------+---------------------+
";
        assert_eq!(to_table(&[ID, CREATED_AT], &rows), expected);
    }
}
