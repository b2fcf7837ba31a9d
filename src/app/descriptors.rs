//! File descriptors. Every connection takes one; so do the log, its snapshots and the operations listener, and a node
//! whose clients have taken all of them cannot store anything any more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The part of the descriptors that MQTT connections never get: one of so many.
const RESERVED_PART: u64 = 4;

/// Descriptors that MQTT connections never get, at most.
const RESERVED_MAX: u64 = 2048;

/// How many connections of each kind the process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionShares {
    /// MQTT connections.
    pub mqtt: usize,
    /// API connections.
    pub api: usize,
}

/// Raises the soft limit of open files as far as the system permits, and divides it.
pub fn shares(mqtt_max: usize, api_max: usize) -> ConnectionShares {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where raising is refused the soft limit counts.
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let shares = divide(files, mqtt_max, api_max);
    if shares.mqtt < mqtt_max {
        tracing::info!(
            connections_max = shares.mqtt,
            configured = mqtt_max,
            open_files = files,
            "the limit of open files permits fewer connections than limits.connections_max"
        );
    }
    shares
}

/// `files` is the limit of open files; `None` is none.
fn divide(files: Option<u64>, mqtt_max: usize, api_max: usize) -> ConnectionShares {
    let Some(files) = files else { return ConnectionShares { mqtt: mqtt_max, api: api_max } };
    let reserved = (files / RESERVED_PART).min(RESERVED_MAX);
    let at_most = |wanted: usize, room: u64| wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
    // Half of the reserve stays for files.
    ConnectionShares { mqtt: at_most(mqtt_max, files - reserved), api: at_most(api_max, reserved / 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_never_get_the_last_descriptors() {
        let shares = |files| divide(files, 1_000_000, 1024);
        assert_eq!(shares(None), ConnectionShares { mqtt: 1_000_000, api: 1024 });
        assert_eq!(shares(Some(1024)), ConnectionShares { mqtt: 768, api: 128 });
        assert_eq!(shares(Some(20_000)), ConnectionShares { mqtt: 17_952, api: 1024 });
        assert_eq!(divide(Some(20_000), 100, 10), ConnectionShares { mqtt: 100, api: 10 });
    }
}
