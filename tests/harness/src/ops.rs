//! The operators' HTTP listener: metrics and health.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{node::Node, runtime::WAIT};

/// Sends a GET request and returns status and body.
pub fn get(node: &Node, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(node.address("ops")).expect("the ops listener accepts connections");
    stream.set_read_timeout(Some(WAIT)).expect("a timeout can be set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer ends in time");
    let answer = String::from_utf8(answer).expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("the answer has a head");
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    (status.expect("the answer has a status"), body.to_owned())
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
