//! The operators' HTTP listener: metrics and health.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{node::Node, runtime::WAIT};

/// Sends a GET request and returns status and body.
pub fn get(node: &Node, path: &str) -> (u16, String) {
    try_get(node, path, WAIT).expect("the ops listener answers")
}

/// As [`get`] for a node that may be dead or paused: waits at most `patience` for each step.
///
/// # Errors
/// The connection was refused, ended early or was silent for too long.
pub fn try_get(node: &Node, path: &str, patience: Duration) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&node.address("ops"), patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// The sum of all samples of a metric, whatever their labels; `None` if there is no such metric.
pub fn metric(node: &Node, name: &str) -> Option<f64> {
    let (status, body) = get(node, "/metrics");
    assert_eq!(status, 200, "GET /metrics");
    let samples: Vec<f64> = body.lines().filter_map(|line| sample(line, name)).collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

fn sample(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    if !rest.starts_with([' ', '{']) {
        return None;
    }
    rest.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_whole_name() {
        assert_eq!(sample("dropped_total 3", "dropped_total"), Some(3.0));
        assert_eq!(sample("dropped_total{kind=\"a b\"} 4", "dropped_total"), Some(4.0));
        assert_eq!(sample("dropped_total_bytes 5", "dropped_total"), None);
        assert_eq!(sample("# TYPE dropped_total counter", "dropped_total"), None);
    }
}
