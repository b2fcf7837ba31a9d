//! Validation of requests by the rules that their own definitions carry (`spec/api.md`, the rules in brackets).
//!
//! The rules are options in the published `.proto` files, so they are read from the embedded descriptors rather
//! than written down a second time. A handler calls [`check`] before it looks at a request.
//! Rules that are not annotated there (password groups, aliases, certificates) belong to the domain.

mod rules;

use std::fmt;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, ReflectMessage, Value};

use rules::{FieldRules, MessageRules, RULES};

/// Longest part of an offending value that is echoed, in characters.
const ECHO_CHARACTERS_MAX: usize = 40;

/// Most violations that are reported at once. An answer travels in headers, for which clients allow 8 KiB.
pub const VIOLATIONS_MAX: usize = 5;

/// A field of a request and the rule that it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Violation {
    /// Path of the field in the request, such as `log_options.folder_id`.
    pub field: String,
    /// The rule and the offending value, such as `must have at most 50 characters (got 51)`.
    pub rule: String,
}

impl Violation {
    /// Names a field and the rule that it broke.
    pub fn new(field: impl Into<String>, rule: impl fmt::Display) -> Self {
        Self { field: field.into(), rule: rule.to_string() }
    }
}

/// Checks every annotated rule of the message and of the messages in it.
///
/// # Errors
/// The first [`VIOLATIONS_MAX`] violations, in the order of the field numbers; never empty.
pub fn check<M: Message + Name>(message: &M) -> Result<(), Vec<Violation>> {
    let descriptor = RULES.descriptor::<M>();
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes with its own descriptor");
    let mut violations = Vec::new();
    check_message(&dynamic, "", &mut violations);
    violations.truncate(VIOLATIONS_MAX);
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn check_message(message: &DynamicMessage, prefix: &str, violations: &mut Vec<Violation>) {
    let descriptor: MessageDescriptor = message.descriptor();
    let Some(rules) = RULES.of(&descriptor) else { return };
    check_oneofs(message, rules, prefix, violations);
    for field in &rules.fields {
        if violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let path = format!("{prefix}{}", field.name);
        let is_set = message.has_field(&field.descriptor);
        if !is_set && (field.required || field.in_oneof) {
            if field.required {
                violations.push(Violation::new(path, "must not be empty"));
            }
            continue;
        }
        check_value(&message.get_field(&field.descriptor), field, &path, violations);
    }
}

fn check_oneofs(
    message: &DynamicMessage,
    rules: &MessageRules,
    prefix: &str,
    violations: &mut Vec<Violation>,
) {
    for oneof in &rules.exactly_one {
        // An empty string in the member selects nothing, so it does not count as a choice.
        let chosen = oneof.fields().any(|field| {
            message.has_field(&field)
                && message.get_field(&field).as_str().is_none_or(|text| !text.is_empty())
        });
        if !chosen {
            let members: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
            let rule = format!("exactly one of {} must be set", members.join(", "));
            violations.push(Violation::new(format!("{prefix}{}", oneof.name()), rule));
        }
    }
}

fn check_value(value: &Value, rules: &FieldRules, path: &str, violations: &mut Vec<Violation>) {
    match value {
        Value::Map(map) => {
            check_range(rules.size.as_ref(), map.len(), "entries", path, violations);
            for (key, value) in map {
                if violations.len() >= VIOLATIONS_MAX {
                    return;
                }
                let MapKey::String(key) = key else { continue };
                if let Some(key_rules) = &rules.map_key {
                    check_text(key, key_rules, &format!("{path} key"), violations);
                }
                check_value(value, rules, &format!("{path}[{:?}]", echo(key)), violations);
            }
        }
        Value::List(list) => {
            check_range(rules.size.as_ref(), list.len(), "entries", path, violations);
            for (index, value) in list.iter().enumerate() {
                if violations.len() >= VIOLATIONS_MAX {
                    return;
                }
                check_value(value, rules, &format!("{path}[{index}]"), violations);
            }
        }
        Value::Message(message) => check_message(message, &format!("{path}."), violations),
        Value::String(text) => check_text(text, rules, path, violations),
        Value::Bytes(data) => check_range(rules.length.as_ref(), data.len(), "bytes", path, violations),
        Value::I64(number) => {
            if let Some(range) = rules.value.as_ref().filter(|range| !range.contains_signed(*number)) {
                let rule = format!("must be {} (got {number})", range.as_value());
                violations.push(Violation::new(path, rule));
            }
        }
        _ => {}
    }
}

fn check_text(text: &str, rules: &FieldRules, path: &str, violations: &mut Vec<Violation>) {
    check_range(rules.length.as_ref(), text.chars().count(), "characters", path, violations);
    if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
        let rule = format!("must match {} (got {:?})", pattern.source, echo(text));
        violations.push(Violation::new(path, rule));
    }
}

fn check_range(
    range: Option<&rules::Range>,
    count: usize,
    unit: &str,
    path: &str,
    violations: &mut Vec<Violation>,
) {
    if let Some(range) = range.filter(|range| !range.contains(count)) {
        violations.push(Violation::new(path, format!("must have {} {unit} (got {count})", range.as_count())));
    }
}

/// The beginning of a value, short enough for an error message.
fn echo(text: &str) -> &str {
    text.char_indices().nth(ECHO_CHARACTERS_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests;
