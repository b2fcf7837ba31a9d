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

/// Prints one message of ours with all its fields.
pub fn print_facts(format: Format, message: &DynamicMessage) -> Result<(), CliError> {
    print_object(format, &Value::facts(message, format.spelling())?)
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
    write_while_read(text).map(|_| ())
}

/// Writes to standard output. Returns whether anybody still reads it: what prints without end must end then.
pub fn write_while_read(text: &str) -> Result<bool, CliError> {
    write_to(&mut io::stdout().lock(), text)
}

fn write_to(output: &mut impl io::Write, text: &str) -> Result<bool, CliError> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::output(error)),
    }
}

/// Says something to the person at the terminal.
pub fn note(text: &str) {
    // Nothing can be done when standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_told_apart_from_one_that_reads() {
        // `rookery mqtt subscribe ... | head -n 1` never ended: the closed pipe was taken for success, message after
        // message, and the shell waited for the subscriber.
        let (reader, mut writer) = io::pipe().unwrap();
        assert!(write_to(&mut writer, "one\n").unwrap());
        drop(reader);
        assert!(!write_to(&mut writer, "two\n").unwrap());
    }
}
