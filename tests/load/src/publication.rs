//! The whole report in a directory: tables, pictures and raw figures, for people who were not there.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::growth::Curve;
use crate::plot::{self, Series};
use crate::scenario::Shape;
use crate::suite::{Outcome, Suite};

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Publication {
    /// The brokers side by side.
    pub outcome: Outcome,
    /// How costs grow.
    pub curves: Vec<Curve>,
}

impl Publication {
    /// Writes `report.md`, `results.json` and the pictures into `directory`, which is made.
    pub fn write(&self, directory: &Path, suite: &Suite) -> anyhow::Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let mut text = String::from("# What a message and a connection cost\n\n");
        text.push_str(&self.outcome.markdown(suite));
        self.write_bars(directory, suite, &mut text)?;
        self.write_curves(directory, &mut text)?;
        let put = |name: &str, content: &str| {
            let path = directory.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
        };
        put("results.json", &serde_json::to_string_pretty(self)?)?;
        put("report.md", &text)
    }

    fn write_bars(&self, directory: &Path, suite: &Suite, text: &mut String) -> anyhow::Result<()> {
        let traffic =
            suite.scenarios.iter().filter(|scenario| scenario.shape != Shape::Idle && !scenario.storm);
        let groups: Vec<String> = traffic.map(|scenario| scenario.name.clone()).collect();
        let series: Vec<_> = suite
            .brokers
            .iter()
            .map(|broker| Series {
                broker: broker.name().to_owned(),
                values: groups.iter().map(|name| self.outcome.message_cost(name, broker.name())).collect(),
            })
            .collect();
        if groups.is_empty() {
            return Ok(());
        }
        let unit = "broker CPU µs per delivered message";
        plot::bars(&directory.join("message-cost.svg"), "Cost of a message", unit, &groups, &series)?;
        text.push_str("\n![Cost of a message](message-cost.svg)\n");
        Ok(())
    }

    fn write_curves(&self, directory: &Path, text: &mut String) -> anyhow::Result<()> {
        if self.curves.is_empty() {
            return Ok(());
        }
        text.push_str("\n## Growth\n");
        for curve in &self.curves {
            let file = format!("{}.svg", curve.name);
            plot::curve(&directory.join(&file), curve)?;
            let _ = writeln!(
                text,
                "\n### {}: {}\n\n| {} | {} |\n| --- | --- |",
                curve.title,
                curve.figure.label(),
                curve.x,
                curve.figure.label()
            );
            for (x, y) in &curve.points {
                let _ = writeln!(text, "| {x} | {y:.3} |");
            }
            if let Some(growth) = curve.growth() {
                let _ = writeln!(
                    text,
                    "\nFrom the first to the last: × {growth:.2}.\n\n![{}]({file})",
                    curve.title
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Kind;
    use crate::growth::Figure;
    use crate::run::Durations;

    #[test]
    fn a_report_has_its_tables_its_pictures_and_its_figures() {
        let suite = Suite {
            brokers: vec![Kind::Relay],
            scenarios: vec![crate::scenario::find(&crate::scenario::built_in().unwrap(), "pairs").unwrap()],
            repeats: 1,
            durations: Durations { warmup_s: 0.1, measure_s: 0.1, drain_s: 0.1, open_s: 0.1 },
            drivers: 1,
            broker_cpu: None,
        };
        let outcome = Outcome::fixed("pairs", Kind::Relay.name(), 0.25);
        let curve = Curve {
            name: "nodes-message-cost".to_owned(),
            title: "Cost against nodes".to_owned(),
            x: "nodes".to_owned(),
            figure: Figure::MessageCost,
            points: vec![(1.0, 0.5), (3.0, 1.0), (5.0, 1.5)],
        };
        let directory = tempfile::TempDir::new().unwrap();
        Publication { outcome, curves: vec![curve] }.write(directory.path(), &suite).unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let report = read("report.md");
        for part in ["| pairs | relay | 0.250 |", "message-cost.svg", "× 3.00", "| 3 | 1.000 |"] {
            assert!(report.contains(part), "{part} in\n{report}");
        }
        assert!(read("results.json").contains("\"nodes-message-cost\""));
        for picture in ["message-cost.svg", "nodes-message-cost.svg"] {
            assert!(read(picture).trim_end().ends_with("</svg>"), "{picture}");
        }
        assert!(read("nodes-message-cost.svg").contains("CPU µs per delivered message"));
    }
}
