//! `rookery doctor`: looks at a machine and a configuration before, or while, a node runs on it.
//!
//! Each check says what it found and, if that is not well, what follows and what to do. It changes nothing but a file of its
//! own in the data directory, which it removes again.

use std::fs;
use std::io::{self, Write as _};
use std::net::ToSocketAddrs as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::arguments::Format;
use super::arguments::server::ServeArguments;
use super::error::CliError;
use super::output::table::{Column, NAME, to_table};
use super::output::value::Value;
use super::output::{print_object, write};
use crate::clock;
use crate::config::{self, Config, Sources};
use crate::net::pki;

/// With fewer a node of a fleet runs out of connections.
const DESCRIPTORS_WANTED: u64 = 65_536;

/// Below so much free disk a node should not be started.
const FREE_WANTED: u64 = 2 * 1024 * 1024 * 1024;

/// Writes that are timed.
const SYNCS: usize = 20;

/// A median above this makes changes slow.
const SYNC_SLOW: Duration = Duration::from_millis(20);

/// A median above this endangers the cluster: an entry must be on a follower's disk within 225 ms.
const SYNC_TOO_SLOW: Duration = Duration::from_millis(150);

/// Time before the end of a certificate from which on it is worth a word.
const CERTIFICATE_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

const COLUMNS: &[Column] =
    &[NAME, Column { heading: "RESULT", field: "result" }, Column { heading: "FINDING", field: "finding" }];

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Good,
    Warning,
    Problem,
}

struct Finding {
    name: &'static str,
    verdict: Verdict,
    text: String,
}

fn finding(name: &'static str, verdict: Verdict, text: impl Into<String>) -> Finding {
    Finding { name, verdict, text: text.into() }
}

/// Runs all checks with the configuration that `serve` would have, and prints what they found.
///
/// # Errors
/// [`CliError::NotDone`] if one of them found a problem.
pub fn run(arguments: &ServeArguments, format: Format) -> Result<(), CliError> {
    let sources =
        Sources { file: arguments.config.clone(), flags: arguments.configuration(), environment: true };
    let findings = match config::load(&sources) {
        Ok(config) => examine(&config),
        Err(problems) => vec![finding("configuration", Verdict::Problem, problems.to_string())],
    };
    let rows: Vec<Value> = findings.iter().map(row).collect();
    match format {
        Format::Text => write(&to_table(COLUMNS, &rows))?,
        _ => print_object(format, &Value::List(rows))?,
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count() {
        0 => Ok(()),
        count => Err(CliError::NotDone(format!("{count} of {} checks found a problem", findings.len()))),
    }
}

fn row(finding: &Finding) -> Value {
    let result = match finding.verdict {
        Verdict::Good => "ok",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
    };
    let fields = [("name", finding.name), ("result", result), ("finding", &finding.text)];
    Value::Object(fields.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned()))).to_vec())
}

fn examine(config: &Config) -> Vec<Finding> {
    let data_dir = &config.node.data_dir;
    let mut findings = vec![
        finding("configuration", Verdict::Good, "all keys are valid"),
        descriptors(),
        data_directory(data_dir),
        free_space(data_dir),
        sync_time(data_dir),
        certificate(config),
    ];
    findings.extend(names(config));
    findings
}

fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < DESCRIPTORS_WANTED => finding(
            "descriptors",
            Verdict::Warning,
            format!(
                "{limit} open files are allowed; a node needs one per connection: raise LimitNOFILE (systemd), ulimits \
                 (Docker) or ulimit -Hn"
            ),
        ),
        Some(limit) => finding("descriptors", Verdict::Good, format!("{limit} open files are allowed")),
        None => finding("descriptors", Verdict::Good, "any number of open files is allowed"),
    }
}

fn data_directory(path: &Path) -> Finding {
    let name = "data directory";
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            finding(name, Verdict::Good, format!("{} does not exist yet: the node makes it", path.display()))
        }
        Err(error) => finding(name, Verdict::Problem, format!("{}: {error}", path.display())),
        Ok(found) if !found.is_dir() => {
            finding(name, Verdict::Problem, format!("{} must be a directory", path.display()))
        }
        Ok(found) if found.permissions().mode() & 0o077 != 0 => finding(
            name,
            Verdict::Warning,
            format!(
                "{} can be entered by others (mode {:o}); it holds hashes of passwords: chmod 700",
                path.display(),
                found.permissions().mode() & 0o777
            ),
        ),
        Ok(_) => finding(name, Verdict::Good, format!("{} is closed to others", path.display())),
    }
}

/// The directory itself, or the nearest one above it that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."))
}

fn free_space(path: &Path) -> Finding {
    let name = "disk space";
    match rustix::fs::statvfs(existing(path)) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{} MiB free", free / 1024 / 1024);
            let enough = free >= FREE_WANTED;
            finding(
                name,
                if enough { Verdict::Good } else { Verdict::Warning },
                if enough {
                    text
                } else {
                    format!("{text}; log and snapshots need room for twice the state")
                },
            )
        }
        Err(error) => finding(name, Verdict::Problem, format!("{}: {error}", path.display())),
    }
}

fn sync_time(path: &Path) -> Finding {
    let name = "disk sync";
    match median_sync(existing(path)) {
        Err(error) => finding(name, Verdict::Problem, format!("cannot write to {}: {error}", path.display())),
        Ok(median) => {
            let text =
                format!("a write is on disk after {:.1} ms (median of {SYNCS})", median.as_secs_f64() * 1e3);
            match median {
                slow if slow > SYNC_TOO_SLOW => finding(
                    name,
                    Verdict::Problem,
                    format!("{text}; a cluster needs less than 225 ms for one entry, with a margin"),
                ),
                slow if slow > SYNC_SLOW => finding(
                    name,
                    Verdict::Warning,
                    format!("{text}; changes and stored messages will be slow"),
                ),
                _ => finding(name, Verdict::Good, text),
            }
        }
    }
}

fn median_sync(directory: &Path) -> io::Result<Duration> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = clock::monotonic();
        file.write_all(&[b'x'; 4096])?;
        file.as_file().sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}

fn certificate(config: &Config) -> Finding {
    let name = "certificate";
    let own = config.node.data_dir.join("pki");
    let (certificate, key) = match &config.security.tls {
        Some(files) => files.clone(),
        None => (own.join("server.pem"), own.join("server.key")),
    };
    if config.security.tls.is_none() && !certificate.exists() {
        return finding(name, Verdict::Good, "none yet: the node makes one, signed by a CA of its own");
    }
    match pki::load(&certificate, &key) {
        Err(error) => finding(name, Verdict::Problem, error.to_string()),
        Ok(identity) => match identity.not_after().duration_since(clock::system_time()) {
            Err(_) => finding(name, Verdict::Problem, format!("{} has expired", certificate.display())),
            Ok(left) => {
                let text =
                    format!("{} is valid for {} more days", certificate.display(), left.as_secs() / 86_400);
                finding(name, if left < CERTIFICATE_SOON { Verdict::Warning } else { Verdict::Good }, text)
            }
        },
    }
}

/// Whether the names of the other nodes have addresses.
fn names(config: &Config) -> Vec<Finding> {
    let addresses = config.cluster.join.iter().chain(&config.cluster.advertise);
    let check = |address: &String| match address.to_socket_addrs() {
        Ok(mut found) => match found.next() {
            Some(first) => finding("name", Verdict::Good, format!("{address} is {}", first.ip())),
            None => finding("name", Verdict::Problem, format!("{address} has no address")),
        },
        Err(error) => finding("name", Verdict::Problem, format!("{address}: {error}")),
    };
    addresses.map(check).collect()
}
