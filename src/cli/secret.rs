//! Passwords: asked for, read or made.

use std::io::{self, BufRead as _, IsTerminal as _};

use zeroize::Zeroizing;

use super::arguments::credential::PasswordSource;
use super::error::CliError;
use crate::verify::generate;

/// A password for a request.
pub struct NewPassword {
    /// The password.
    pub text: Zeroizing<String>,
    /// Whether it was made here and the user has to be told.
    pub generated: bool,
}

/// The password of a source, or `None` when the source names none.
pub fn obtain(source: &PasswordSource) -> Result<Option<NewPassword>, CliError> {
    if let Some(text) = &source.password {
        return Ok(Some(NewPassword { text: Zeroizing::new(text.clone()), generated: false }));
    }
    if source.generate_password {
        return Ok(Some(NewPassword { text: generate::password(), generated: true }));
    }
    match source.read_password {
        true => Ok(Some(NewPassword { text: read("Password: ", true)?, generated: false })),
        false => Ok(None),
    }
}

/// Asks for a password without showing it, twice if `repeat`; reads one line when standard input is
/// not a terminal.
pub fn read(prompt: &str, repeat: bool) -> Result<Zeroizing<String>, CliError> {
    let stream_error = |error| CliError::Stream { stream: "standard input", error };
    if !io::stdin().is_terminal() {
        let mut line = Zeroizing::new(String::new());
        io::stdin().lock().read_line(&mut line).map_err(stream_error)?;
        let length = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(length);
        return match line.is_empty() {
            true => {
                Err(CliError::Password("was not given: the first line of standard input is empty".into()))
            }
            false => Ok(line),
        };
    }
    let first = Zeroizing::new(rpassword::prompt_password(prompt).map_err(stream_error)?);
    if repeat {
        let again = Zeroizing::new(rpassword::prompt_password("Once more: ").map_err(stream_error)?);
        if first != again {
            return Err(CliError::Password("was typed differently the second time".into()));
        }
    }
    Ok(first)
}
