//! Prints results: tables for lists and YAML for single objects, or YAML or JSON for both
//! (`spec/cli.md`, "Output shapes"). Results go to standard output, everything else to standard error.

pub mod table;
pub mod value;
pub mod yaml;

use std::io::{self, Write as _};

use prost_reflect::DynamicMessage;

use self::table::Column;
use self::value::{Spelling, Value};
use super::arguments::Format;
use super::error::CliError;

impl Format {
    /// How this format spells fields.
    pub fn spelling(self) -> Spelling {
        match self {
            Self::JsonRest => Spelling::Camel,
            Self::Text | Self::Yaml | Self::Json => Spelling::Snake,
        }
    }
}

/// Prints one message. An empty one, the result of a deletion, prints nothing as text.
pub fn print_message(format: Format, message: &DynamicMessage) -> Result<(), CliError> {
    print_object(format, &Value::from_message(message, format.spelling())?)
}

/// Prints one object.
pub fn print_object(format: Format, object: &Value) -> Result<(), CliError> {
    if object.is_empty_object() && matches!(format, Format::Text | Format::Yaml) {
        return Ok(());
    }
    write(&render(format, object))
}

/// Prints a list: a table as text, an array otherwise.
pub fn print_list(format: Format, columns: &[Column], messages: &[DynamicMessage]) -> Result<(), CliError> {
    // Columns name fields by their spelling in the definitions, which `Text` uses.
    let values = messages.iter().map(|message| Value::from_message(message, format.spelling()));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    match format {
        Format::Text => write(&table::to_table(columns, &values)),
        Format::Yaml | Format::Json | Format::JsonRest => write(&render(format, &Value::List(values))),
    }
}

/// Prints several objects that were asked for by name: an array, or the object itself if there is one.
pub fn print_objects(format: Format, messages: &[DynamicMessage]) -> Result<(), CliError> {
    if let [message] = messages {
        return print_message(format, message);
    }
    let values = messages.iter().map(|message| Value::from_message(message, format.spelling()));
    write(&render(format, &Value::List(values.collect::<Result<Vec<_>, _>>()?)))
}

fn render(format: Format, value: &Value) -> String {
    match format {
        Format::Text | Format::Yaml => yaml::to_yaml(value),
        Format::Json | Format::JsonRest => {
            let mut text =
                serde_json::to_string_pretty(value).expect("values have text keys and can always be written");
            text.push('\n');
            text
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::output(error)),
        _ => Ok(()),
    }
}

/// Says something to the person at the terminal.
pub fn note(text: &str) {
    // Nothing can be done when standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}
