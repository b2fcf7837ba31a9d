//! The lines a node has written, and waiting for one.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Instant,
};

use crate::runtime::WAIT;

/// Lines of standard output or standard error, shared with the thread that reads them.
#[derive(Clone, Default)]
pub struct Lines {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads `stream` to its end on a thread of its own. Escapes of quotes and colours are undone, so that a
    /// line can be compared with the text in the specification whatever the log format is.
    pub fn collect(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = plain(String::from_utf8_lossy(&line).trim_end());
                writer.lock().lines.push(text);
                writer.state.1.notify_all();
                line.clear();
            }
            writer.lock().ended = true;
            writer.state.1.notify_all();
        });
        lines
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The last lines, for messages of failed assertions.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.all();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Blocks until a line satisfies `wanted` and returns it; `None` when the stream ended or nothing came in
    /// time.
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + WAIT;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = match self.state.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                characters.by_ref().find(char::is_ascii_alphabetic);
            }
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_colours_are_undone() {
        assert_eq!(plain("\u{1b}[32mINFO\u{1b}[0m topic \\\"a\\\""), "INFO topic \"a\"");
    }

    #[test]
    fn waiting_ends_with_the_stream() {
        let lines = Lines::collect(&b"one\ntwo\n"[..]);
        assert_eq!(lines.wait_for(|line| line == "two"), Some("two".to_owned()));
        assert_eq!(lines.wait_for(|line| line == "three"), None);
    }
}
