//! All drivers of a run: one in this process, or several processes that do the same side by side.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::children;
use crate::driver::{Answer, Command, Driver, Job};
use crate::plan::Access;
use crate::scenario::Scenario;
use crate::target::Target;
use crate::traffic::Share;

/// The drivers.
pub enum Crew {
    /// One, here.
    Here(Box<Driver>),
    /// Several processes.
    Processes {
        /// They.
        workers: Vec<Worker>,
        /// Holds their sockets.
        _directory: TempDir,
    },
}

/// A driver process; dropping it ends it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Crew {
    /// Gets `drivers` drivers ready.
    pub fn start(
        scenario: &Scenario,
        target: &Target,
        access: &Access,
        drivers: u32,
    ) -> anyhow::Result<Self> {
        ensure!(drivers > 0, "there must be a driver");
        let directory = TempDir::with_prefix("rookery-load-drivers-")?;
        let job = |driver| Job {
            scenario: scenario.clone(),
            target: target.clone(),
            access: access.clone(),
            share: Share { driver, drivers },
            directory: directory.path().to_owned(),
        };
        if drivers == 1 {
            return Ok(Self::Here(Box::new(Driver::new(job(0))?)));
        }
        let mut workers = Vec::new();
        for driver in 0..drivers {
            workers.push(Worker::start(&job(driver)).with_context(|| format!("driver {driver}"))?);
        }
        // Nobody may be told anything before all have opened their sockets.
        for worker in &mut workers {
            worker.answer()?;
        }
        Ok(Self::Processes { workers, _directory: directory })
    }

    /// Their processes.
    pub fn pids(&self) -> Vec<u32> {
        match self {
            Self::Here(_) => vec![std::process::id()],
            Self::Processes { workers, .. } => workers.iter().map(|worker| worker.child.id()).collect(),
        }
    }

    /// Has all of them do the same, and adds up their answers.
    pub fn all(&mut self, command: Command) -> anyhow::Result<Answer> {
        let workers = match self {
            Self::Here(driver) => return driver.execute(command),
            Self::Processes { workers, .. } => workers,
        };
        let line = serde_json::to_string(&command)?;
        for worker in workers.iter_mut() {
            worker.tell(&line)?;
        }
        let mut sum = Answer::default();
        for (index, worker) in workers.iter_mut().enumerate() {
            sum.add(worker.answer().with_context(|| format!("driver {index}"))?);
        }
        Ok(sum)
    }
}

impl Worker {
    fn start(job: &Job) -> anyhow::Result<Self> {
        let mut child = Program::new(std::env::current_exe()?)
            .arg("drive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        children::guard(child.id());
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("standard output was asked for")?);
        let mut worker = Self { child, commands, answers };
        worker.tell(&serde_json::to_string(job)?)?;
        Ok(worker)
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let commands = self.commands.as_mut().context("standard input is open")?;
        writeln!(commands, "{line}").context("a driver has ended")
    }

    fn answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "a driver has ended");
        serde_json::from_str::<Result<Answer, String>>(&line)?.map_err(|error| anyhow!(error))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input is the end of its work; but it may be in the middle of something.
        self.commands = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
        children::release(self.child.id());
    }
}

/// What a driver process does: reads its job, then commands, and answers each.
pub fn drive() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut lines = std::io::stdin().lines();
    let Some(job) = lines.next() else { bail!("no job on standard input") };
    let mut driver = Driver::new(serde_json::from_str(&job?).context("job")?);
    let answer = |answer: &anyhow::Result<Answer>| -> anyhow::Result<()> {
        let answer = answer.as_ref().map_err(|error| format!("{error:#}"));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        Ok(out.flush()?)
    };
    match &driver {
        Ok(_) => answer(&Ok(Answer::default()))?,
        Err(error) => answer(&Err(anyhow!("{error:#}")))?,
    }
    for line in lines {
        let command = serde_json::from_str(&line?).context("command")?;
        let Ok(driver) = &mut driver else { break };
        answer(&driver.execute(command))?;
    }
    Ok(())
}
