//! Is the node alive, and is it ready: named checks with a reason when they fail.

use std::fmt::Write as _;
use std::sync::Arc;

/// A named check; `Err` says why it fails.
#[derive(Clone)]
pub struct Check {
    /// Its name, as printed.
    pub name: &'static str,
    /// Runs it.
    pub run: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// The checks behind one probe.
#[derive(Clone, Default)]
pub struct Checks(pub Vec<Check>);

impl Checks {
    /// Whether all pass, and a report with one line per check.
    pub fn run(&self) -> (bool, String) {
        let mut healthy = true;
        let mut report = String::new();
        for check in &self.0 {
            let line = match (check.run)() {
                Ok(()) => format!("[+] {} ok", check.name),
                Err(why) => {
                    healthy = false;
                    format!("[-] {} failed: {why}", check.name)
                }
            };
            writeln!(report, "{line}").expect("writing to a String cannot fail");
        }
        (healthy, report)
    }
}
