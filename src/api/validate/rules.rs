//! The annotated rules of every message, compiled once from the embedded descriptors.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Name;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, MessageDescriptor, OneofDescriptor,
    Value,
};
use regex::Regex;

/// The compiled rules. Deterministic: compiled from constants, and a test compiles them too.
pub static RULES: LazyLock<Rules> =
    LazyLock::new(|| Rules::compile().expect("the embedded descriptors carry well-formed rules"));

/// Why the annotations cannot be compiled: a mistake in a `.proto` file.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The descriptor set itself is broken.
    #[error("descriptor set: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The definition of a custom option is missing.
    #[error("option {0} is not defined")]
    MissingOption(&'static str),
    /// A range is not of a known form.
    #[error("{field}: range {text:?} is not of the form N, A-B, <=N, <N, >=N or >N")]
    Range {
        /// The annotated field.
        field: String,
        /// The range as written.
        text: String,
    },
    /// A pattern is not a regular expression.
    #[error("{field}: {error}")]
    Pattern {
        /// The annotated field.
        field: String,
        /// What is wrong with it.
        error: regex::Error,
    },
}

/// All rules, by full message name.
pub struct Rules {
    pool: DescriptorPool,
    messages: HashMap<String, MessageRules>,
}

/// The rules of one message.
pub struct MessageRules {
    /// Every field that has a rule or holds a message, in declaration order.
    pub fields: Vec<FieldRules>,
    /// Oneofs of which one member must be set.
    pub exactly_one: Vec<OneofDescriptor>,
}

/// The rules of one field, or of the keys of a map.
pub struct FieldRules {
    pub descriptor: FieldDescriptor,
    pub name: String,
    pub in_oneof: bool,
    pub required: bool,
    pub pattern: Option<Pattern>,
    /// Of a number.
    pub value: Option<Range>,
    /// Of a list or map, in entries.
    pub size: Option<Range>,
    /// Of a text in characters, or of `bytes`.
    pub length: Option<Range>,
    pub map_key: Option<Box<FieldRules>>,
}

/// A regular expression that the whole value must match.
pub struct Pattern {
    /// As annotated, without anchors.
    pub source: String,
    regex: Regex,
}

impl Pattern {
    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// An inclusive range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    min: u64,
    max: Option<u64>,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<u64>().ok();
        if let Some(max) = text.strip_prefix("<=") {
            return Some(Self { min: 0, max: Some(number(max)?) });
        }
        if let Some(min) = text.strip_prefix(">=") {
            return Some(Self { min: number(min)?, max: None });
        }
        if let Some(max) = text.strip_prefix('<') {
            return Some(Self { min: 0, max: Some(number(max)?.checked_sub(1)?) });
        }
        if let Some(min) = text.strip_prefix('>') {
            return Some(Self { min: number(min)?.checked_add(1)?, max: None });
        }
        let (min, max) = text.split_once('-').unwrap_or((text, text));
        Some(Self { min: number(min)?, max: Some(number(max)?) })
    }

    /// Whether a count is in the range.
    pub fn contains(self, count: usize) -> bool {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        count >= self.min && self.max.is_none_or(|max| count <= max)
    }

    /// Whether a number is in the range.
    pub fn contains_signed(self, number: i64) -> bool {
        u64::try_from(number)
            .is_ok_and(|number| number >= self.min && self.max.is_none_or(|max| number <= max))
    }

    /// For a message about a number: `between 0 and 1000`.
    pub fn as_value(self) -> String {
        match self.max {
            Some(max) => format!("between {} and {max}", self.min),
            None => format!("at least {}", self.min),
        }
    }

    /// For a message about a count: `at most 50`.
    pub fn as_count(self) -> String {
        match self.max {
            Some(max) if self.min == 0 => format!("at most {max}"),
            _ => self.as_value(),
        }
    }
}

/// The definitions of the custom options.
struct Options {
    exactly_one: ExtensionDescriptor,
    required: ExtensionDescriptor,
    pattern: ExtensionDescriptor,
    value: ExtensionDescriptor,
    size: ExtensionDescriptor,
    length: ExtensionDescriptor,
    map_key: ExtensionDescriptor,
}

impl Options {
    fn find(pool: &DescriptorPool) -> Result<Self, RulesError> {
        let find = |name| pool.get_extension_by_name(name).ok_or(RulesError::MissingOption(name));
        Ok(Self {
            exactly_one: find("yandex.cloud.exactly_one")?,
            required: find("yandex.cloud.required")?,
            pattern: find("yandex.cloud.pattern")?,
            value: find("yandex.cloud.value")?,
            size: find("yandex.cloud.size")?,
            length: find("yandex.cloud.length")?,
            map_key: find("yandex.cloud.map_key")?,
        })
    }
}

impl Rules {
    /// Reads the rules of all messages of the embedded descriptors.
    ///
    /// # Errors
    /// [`RulesError`] if an annotation has an unknown form.
    pub fn compile() -> Result<Self, RulesError> {
        let pool = DescriptorPool::decode(rookery_proto::FILE_DESCRIPTOR_SET)?;
        let options = Options::find(&pool)?;
        let mut messages = HashMap::new();
        for message in pool.all_messages().filter(|message| !message.is_map_entry()) {
            messages.insert(message.full_name().to_owned(), message_rules(&message, &options)?);
        }
        Ok(Self { pool, messages })
    }

    /// The descriptor of a generated message type.
    pub fn descriptor<M: Name>(&self) -> MessageDescriptor {
        self.pool
            .get_message_by_name(&M::full_name())
            .expect("every generated message is in the descriptor set")
    }

    /// The rules of a message.
    pub fn of(&self, message: &MessageDescriptor) -> Option<&MessageRules> {
        self.messages.get(message.full_name())
    }
}

fn message_rules(message: &MessageDescriptor, options: &Options) -> Result<MessageRules, RulesError> {
    let fields = message.fields().map(|field| field_rules(&field, options)).collect::<Result<Vec<_>, _>>()?;
    let exactly_one =
        message.oneofs().filter(|oneof| is_true(&oneof.options(), &options.exactly_one)).collect();
    Ok(MessageRules { fields, exactly_one })
}

fn field_rules(field: &FieldDescriptor, options: &Options) -> Result<FieldRules, RulesError> {
    let annotations = field.options();
    let name = field.full_name();
    let range = |option| text(&annotations, option).map(|text| range(name, &text)).transpose();
    let map_key = if annotations.has_extension(&options.map_key) {
        match annotations.get_extension(&options.map_key).as_ref() {
            Value::Message(spec) => Some(Box::new(map_key_rules(field, spec)?)),
            _ => None,
        }
    } else {
        None
    };
    Ok(FieldRules {
        descriptor: field.clone(),
        name: field.name().to_owned(),
        in_oneof: field.containing_oneof().is_some(),
        required: is_true(&annotations, &options.required),
        pattern: text(&annotations, &options.pattern).map(|text| pattern(name, text)).transpose()?,
        value: range(&options.value)?,
        size: range(&options.size)?,
        length: range(&options.length)?,
        map_key,
    })
}

fn map_key_rules(field: &FieldDescriptor, spec: &DynamicMessage) -> Result<FieldRules, RulesError> {
    let name = field.full_name();
    let text = |part| {
        let value = spec.get_field_by_name(part)?;
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Ok(FieldRules {
        descriptor: field.clone(),
        name: field.name().to_owned(),
        in_oneof: false,
        required: false,
        pattern: text("pattern").map(|text| pattern(name, text)).transpose()?,
        value: None,
        size: None,
        length: text("length").map(|text| range(name, &text)).transpose()?,
        map_key: None,
    })
}

fn is_true(options: &DynamicMessage, option: &ExtensionDescriptor) -> bool {
    options.get_extension(option).as_bool().unwrap_or(false)
}

fn text(options: &DynamicMessage, option: &ExtensionDescriptor) -> Option<String> {
    options.get_extension(option).as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn range(field: &str, text: &str) -> Result<Range, RulesError> {
    Range::parse(text).ok_or_else(|| RulesError::Range { field: field.to_owned(), text: text.to_owned() })
}

fn pattern(field: &str, source: String) -> Result<Pattern, RulesError> {
    let regex = Regex::new(&format!("^(?:{source})$"))
        .map_err(|error| RulesError::Pattern { field: field.to_owned(), error })?;
    Ok(Pattern { source, regex })
}
