//! YAML of values, in the style of `yc`: block style, texts quoted only where they must be.

use super::value::Value;

/// The value as a YAML document, with a newline at the end.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => write_fields(&mut out, fields, 0),
        Value::List(values) if !values.is_empty() => write_items(&mut out, values, 0),
        scalar => {
            write_scalar(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

fn write_fields(out: &mut String, fields: &[(String, Value)], indent: usize) {
    for (index, (name, value)) in fields.iter().enumerate() {
        // The first field of a list item stands right after its dash.
        if index > 0 || !out.ends_with("- ") {
            push_indent(out, indent);
        }
        out.push_str(&text(name));
        out.push(':');
        write_nested(out, value, indent);
    }
}

fn write_items(out: &mut String, values: &[Value], indent: usize) {
    for value in values {
        push_indent(out, indent);
        out.push_str("- ");
        match value {
            Value::Object(fields) if !fields.is_empty() => write_fields(out, fields, indent + 2),
            other => {
                write_scalar(out, other, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// What follows the colon of a field.
fn write_nested(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write_fields(out, fields, indent + 2);
        }
        Value::List(values) if !values.is_empty() => {
            out.push('\n');
            write_items(out, values, indent + 2);
        }
        scalar => {
            out.push(' ');
            write_scalar(out, scalar, indent + 2);
            out.push('\n');
        }
    }
}

fn write_scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Text(content) if is_block(content) => write_block(out, content, indent),
        Value::Text(content) => out.push_str(&text(content)),
        Value::List(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

/// Whether a text is several plain lines, such as a PEM text.
fn is_block(content: &str) -> bool {
    content.trim_end_matches('\n').contains('\n')
        && !content.starts_with([' ', '\n'])
        && content.chars().all(|character| character == '\n' || !character.is_control())
}

/// A literal block; the sign after the bar tells how many newlines end the text.
fn write_block(out: &mut String, content: &str, indent: usize) {
    let body = content.trim_end_matches('\n');
    let sign = match content.len() - body.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    out.push('|');
    out.push_str(sign);
    let lines = if sign == "+" { &content[..content.len() - 1] } else { body };
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            push_indent(out, indent);
            out.push_str(line);
        }
    }
}

/// A text on one line: plain where YAML reads it back as the same text, else in double quotes.
fn text(content: &str) -> String {
    if is_plain(content) {
        return content.to_owned();
    }
    // The escapes of JSON strings are escapes of YAML's double quotes too.
    serde_json::to_string(content).expect("a text can always be written as JSON")
}

fn is_plain(content: &str) -> bool {
    const WORDS: [&str; 12] =
        ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "~", ".inf", ".nan"];
    let Some(first) = content.chars().next() else { return false };
    let opens_safely = first.is_alphabetic() || "_/$".contains(first);
    opens_safely
        && !content.ends_with([' ', ':'])
        && !content.contains(": ")
        && !content.contains(" #")
        && !content.chars().any(char::is_control)
        && !WORDS.contains(&content.to_ascii_lowercase().as_str())
}

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        to_yaml(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn objects_keep_their_order_and_nest() {
        let json = r#"{"id":"are1","created_at":"2019-09-16T10:41:06.489Z","labels":{"b":"1","a":"x"},"done":true,
            "list":[{"id":"x","inner":{"k":"v"}},{"id":"z"}],"empty":{}}"#;
        let expected = "id: are1\ncreated_at: \"2019-09-16T10:41:06.489Z\"\nlabels:\n  b: \"1\"\n  a: x\ndone: true\n\
                        list:\n  - id: x\n    inner:\n      k: v\n  - id: z\nempty: {}\n";
        assert_eq!(yaml(json), expected);
    }

    #[test]
    fn lists_stand_at_the_top() {
        assert_eq!(yaml(r#"[{"id":"a","name":"b"},{"id":"c"}]"#), "- id: a\n  name: b\n- id: c\n");
        assert_eq!(yaml("[]"), "[]\n");
    }

    #[test]
    fn texts_of_several_lines_are_blocks() {
        assert_eq!(yaml(r#"{"pem":"-----A\nb\n","next":"x"}"#), "pem: |\n  -----A\n  b\nnext: x\n");
        assert_eq!(yaml(r#"{"pem":"-----A\nb"}"#), "pem: |-\n  -----A\n  b\n");
        assert_eq!(yaml(r#"{"pem":"A\nb\n\n"}"#), "pem: |+\n  A\n  b\n\n");
    }

    #[test]
    fn texts_that_yaml_would_read_otherwise_are_quoted() {
        let quoted = [
            "true", "No", "", "123", "-", "a: b", "a #b", "*x", "{a}", "tail ", "a\tb", "\"q\"", "0x1", "!t",
            "@id",
        ];
        for content in quoted {
            assert!(text(content).starts_with('"'), "{content:?}");
        }
        for plain in ["first", "$devices/are1/events", "/iot", "Привет", "a:b", "it's"] {
            assert_eq!(text(plain), plain);
        }
    }
}
