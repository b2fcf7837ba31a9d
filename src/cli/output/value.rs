//! Answers as a tree of values that keeps the order of fields.

use std::fmt;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, SerializeOptions};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::cli::error::CliError;

/// JSON whose objects keep their order: that of the fields of the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number, as it is written.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// Values in order.
    List(Vec<Value>),
    /// Named values in order.
    Object(Vec<(String, Value)>),
}

/// How fields are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As in the definitions: `created_at`.
    Snake,
    /// As in the REST API: `createdAt`.
    Camel,
}

impl Value {
    /// A message as the protobuf JSON mapping has it; unset fields are left out.
    pub fn from_message(message: &DynamicMessage, spelling: Spelling) -> Result<Self, CliError> {
        let options = SerializeOptions::new()
            .use_proto_field_name(spelling == Spelling::Snake)
            .skip_default_fields(true);
        let mut text = Vec::new();
        let mut value: Self = message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
            .and_then(|()| serde_json::from_slice(&text))
            .map_err(|error| CliError::Answer(error.to_string()))?;
        value.sort_maps(&message.descriptor());
        Ok(value)
    }

    /// A message of ours, for people and programs that read it as a report: all fields, also those that are zero, and
    /// 64-bit integers as numbers.
    pub fn facts(message: &DynamicMessage, spelling: Spelling) -> Result<Self, CliError> {
        let options = SerializeOptions::new()
            .use_proto_field_name(spelling == Spelling::Snake)
            .stringify_64_bit_integers(false)
            .skip_default_fields(false);
        let mut text = Vec::new();
        message
            .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
            .and_then(|()| serde_json::from_slice(&text))
            .map_err(|error| CliError::Answer(error.to_string()))
    }

    /// The number in a field.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Self::Number(number)) => number.as_u64(),
            _ => None,
        }
    }

    /// Puts the entries of maps, which have no order, into the order of their keys.
    fn sort_maps(&mut self, descriptor: &MessageDescriptor) {
        let packed = self.text("@type").rsplit('/').next().unwrap_or_default();
        let packed = descriptor.parent_pool().get_message_by_name(packed);
        let descriptor = packed.as_ref().unwrap_or(descriptor);
        let Self::Object(fields) = self else { return };
        for (name, value) in fields {
            let by_json_name = || descriptor.get_field_by_json_name(name);
            let Some(field) = descriptor.get_field_by_name(name).or_else(by_json_name) else { continue };
            match (value, field.kind()) {
                (Self::Object(entries), _) if field.is_map() => entries.sort_by(|(a, _), (b, _)| a.cmp(b)),
                (Self::List(values), Kind::Message(inner)) => {
                    values.iter_mut().for_each(|value| value.sort_maps(&inner));
                }
                (value, Kind::Message(inner)) => value.sort_maps(&inner),
                _ => {}
            }
        }
    }

    /// The field of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a field; empty when it is absent or no text.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Self::Text(text)) => text,
            _ => "",
        }
    }

    /// Appends a text field to an object.
    pub fn push_text(&mut self, name: &str, text: &str) {
        if let Self::Object(fields) = self {
            fields.push((name.to_owned(), Self::Text(text.to_owned())));
        }
    }

    /// Whether it is an object without fields: the result of a deletion.
    pub fn is_empty_object(&self) -> bool {
        matches!(self, Self::Object(fields) if fields.is_empty())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Value::Object(fields))
    }
}
