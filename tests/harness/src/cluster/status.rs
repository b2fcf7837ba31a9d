//! What `rookery cluster status` and `rookery session list` print with `--format json`. The shape is a contract with tools outside of this
//! repository, so a test reads it by its words.

use serde_json::Value;

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Identifies the cluster.
    pub cluster_id: String,
    /// Name of the leader, empty if none is known.
    pub leader: String,
    /// Lease in milliseconds.
    pub lease_ms: u64,
    /// Time after which a fenced node drops its clients, in milliseconds.
    pub fenced_drop_ms: u64,
    /// The format that the nodes write.
    pub format: u64,
    /// All nodes.
    pub nodes: Vec<NodeStatus>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Raft identifier.
    pub id: u64,
    /// Where peers dial it.
    pub address: String,
    /// `voter` or `learner`.
    pub role: String,
    /// `leader`, `follower`, `learner`, `fenced`, `unreachable` or `draining`.
    pub state: String,
    /// Raft term.
    pub term: u64,
    /// Last log index that it has applied.
    pub applied_index: u64,
    /// Open MQTT connections.
    pub connections: u64,
    /// Its sessions.
    pub sessions: u64,
    /// Version of its program; empty where the node did not answer.
    pub version: String,
    /// The newest format that it can write.
    pub newest_format: u64,
    /// Hash and index of the replicated state; absent where the node did not answer.
    pub state_hash: Option<(String, u64)>,
}

impl Status {
    /// Reads the printed object.
    ///
    /// # Errors
    /// Names the first field that is missing or of another type.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}: {text}"))?;
        let nodes = value["nodes"].as_array().ok_or("nodes is no list")?;
        Ok(Self {
            cluster_id: text_of(&value, "cluster_id")?,
            leader: value["leader"].as_str().unwrap_or_default().to_owned(),
            lease_ms: number(&value, "lease_ms")?,
            fenced_drop_ms: number(&value, "fenced_drop_ms")?,
            format: number(&value, "format")?,
            nodes: nodes.iter().map(NodeStatus::read).collect::<Result<_, _>>()?,
        })
    }

    /// The row of a node.
    pub fn node(&self, name: &str) -> Option<&NodeStatus> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl NodeStatus {
    fn read(value: &Value) -> Result<Self, String> {
        let hash = &value["state_hash"];
        Ok(Self {
            name: text_of(value, "name")?,
            id: number(value, "id")?,
            address: text_of(value, "address")?,
            role: text_of(value, "role")?,
            state: text_of(value, "state")?,
            term: number(value, "term")?,
            applied_index: number(value, "applied_index")?,
            connections: number(value, "connections")?,
            sessions: number(value, "sessions")?,
            version: text_of(value, "version")?,
            newest_format: number(value, "newest_format")?,
            state_hash: match hash {
                Value::Null => None,
                hash => Some((text_of(hash, "hash")?, number(hash, "index")?)),
            },
        })
    }
}

/// A row of `rookery session list --format json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Name of the node that serves it.
    pub node: String,
    /// `device`, `registry` or `broker`.
    pub entity_type: String,
    /// Id of the entity.
    pub entity_id: String,
    /// Client identifier; may be empty.
    pub client_id: String,
}

impl Session {
    /// Reads the printed list.
    ///
    /// # Errors
    /// Names what is missing or of another type.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}: {text}"))?;
        let rows = value.as_array().ok_or("no list")?;
        let read = |row: &Value| {
            Ok(Self {
                node: text_of(row, "node")?,
                entity_type: text_of(row, "entity_type")?,
                entity_id: text_of(row, "entity_id")?,
                client_id: row["client_id"].as_str().unwrap_or_default().to_owned(),
            })
        };
        rows.iter().map(read).collect()
    }
}

fn text_of(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("{name} is no text in {value}"))
}

/// Numbers of 64 bits may be printed as text; zeros may be left out.
fn number(value: &Value, name: &str) -> Result<u64, String> {
    match &value[name] {
        Value::Null => Ok(0),
        Value::String(text) => text.parse().map_err(|_| format!("{name} is no number in {value}")),
        number => number.as_u64().ok_or_else(|| format!("{name} is no number in {value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_read() {
        let text = r#"{"cluster_id":"c","leader":"n1","lease_ms":5000,"fenced_drop_ms":30000,"nodes":[
            {"name":"n1","id":"1","address":"127.0.2.1:1","role":"voter","state":"leader","term":"3","log_index":"9",
             "applied_index":"9","connections":"0","sessions":"2","uptime_s":"5","version":"0.1.0",
             "state_hash":{"hash":"ab","index":"9"}},
            {"name":"n2","id":2,"address":"127.0.2.2:1","role":"voter","state":"unreachable","term":3,"log_index":0,
             "applied_index":0,"connections":0,"sessions":0,"uptime_s":0,"version":""}]}"#;
        let status = Status::parse(text).unwrap();
        assert_eq!((status.leader.as_str(), status.lease_ms, status.fenced_drop_ms), ("n1", 5000, 30000));
        let first = status.node("n1").unwrap();
        assert_eq!((first.sessions, first.state_hash.clone()), (2, Some(("ab".to_owned(), 9))));
        assert_eq!(status.node("n2").unwrap().state_hash, None);
        assert!(Status::parse("{}").is_err());
    }

    #[test]
    fn sessions_are_read() {
        let text = r#"[{"id":"s","node":"n1","entity_type":"device","entity_id":"d","client_id":"c"}]"#;
        let session = &Session::parse_list(text).unwrap()[0];
        assert_eq!((session.node.as_str(), session.client_id.as_str()), ("n1", "c"));
        assert!(Session::parse_list("{}").is_err());
    }
}
