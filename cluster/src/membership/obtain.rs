//! The way of a node with an empty data directory into a cluster.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use rookery_proto::rookery::cluster::v1::{HelloRequest, HelloResponse, JoinRequest, JoinResponse};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::bootstrap::{Answer, Decision, Label, Sighting};
use super::dial::{DialError, Dialer};
use super::introduction::Introducer;
use super::proof::{nonce, random};
use super::request;
use crate::error::StartError;
use crate::formats::Release;
use crate::nodes::FOUNDER_NODE_ID;
use crate::pki::{Authority, Credentials, NodeKey, PeerIdentity, PkiError};

/// Time between two rounds of questions.
const ROUND: Duration = Duration::from_millis(500);
/// For what the node waits is logged this often.
const REPORT: Duration = Duration::from_secs(10);
/// Members that are asked for admission in one attempt, those included to which others point.
const ASKED_MAX: usize = 16;

/// Gets this node into a cluster. Returns its credentials, not on disk yet, when it is a member, however long
/// that takes. A founder has the identifier [`FOUNDER_NODE_ID`].
///
/// # Errors
/// When the data directory cannot be written, or no key can be made.
pub(crate) async fn obtain_identity(
    introducer: &Introducer,
    dialer: &Dialer,
    data_dir: &Path,
    release: &Release,
) -> Result<Credentials, StartError> {
    let joining = Joining { introducer, dialer, data_dir, release };
    let mut report = Report::default();
    loop {
        match introducer.board(|board| board.decide(Instant::now())) {
            Decision::Found => return found().map_err(no_credentials(data_dir)),
            Decision::Wait(reason) => report.waiting(&reason),
            Decision::Join { cluster_id, addresses } => match joining.join(&cluster_id, addresses).await? {
                Ok(credentials) => return Ok(credentials),
                Err(reason) => {
                    report.waiting(&format!("cluster {cluster_id} does not admit this node: {reason}"))
                }
            },
        }
        sleep(if report.rounds == 0 { Duration::ZERO } else { ROUND }).await;
        report.rounds += 1;
        ask_everybody(introducer, dialer, &mut report).await;
    }
}

fn found() -> Result<Credentials, PkiError> {
    let cluster_id = new_cluster_id();
    tracing::info!(cluster_id, "this node founds a cluster");
    Credentials::found(&PeerIdentity { cluster_id, node_id: FOUNDER_NODE_ID })
}

/// A random identifier for a cluster: 32 hexadecimal digits.
pub(crate) fn new_cluster_id() -> String {
    random(16).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_credentials(data_dir: &Path) -> impl Fn(PkiError) -> StartError {
    let path = data_dir.to_owned();
    move |error| StartError::CredentialsInvalid { path: path.clone(), rule: error.to_string() }
}

/// One round: asks all known addresses at the same time and notes the answers.
async fn ask_everybody(introducer: &Introducer, dialer: &Dialer, report: &mut Report) {
    let addresses = introducer.board(|board| board.addresses());
    let me = introducer.me();
    let hello = HelloRequest {
        name: me.label.name.clone(),
        // Without an address nobody asks back, and it is no candidate.
        address: if me.never_votes { String::new() } else { me.label.address.clone() },
        candidates: if me.never_votes { Vec::new() } else { introducer.candidates() },
        expect_voters: u32::from(me.expect_voters.unwrap_or_default()),
        instance: me.instance.clone().into(),
        ..HelloRequest::default()
    };
    let asked = join_all(addresses.iter().map(|address| ask(dialer, address, &hello))).await;
    let now = Instant::now();
    for (address, answers) in addresses.iter().zip(asked) {
        let problem = answers.iter().find_map(|answer| answer.as_ref().err());
        let silent = answers.iter().all(Result::is_err);
        match problem {
            Some(DialError::Secret(differs)) => report.problem(address, &differs.to_string()),
            Some(error) if silent => report.problem(address, &error.to_string()),
            _ => report.answered(address),
        }
        for answer in answers.into_iter().flatten() {
            introducer.board(|board| board.note(address, what(answer), now));
        }
    }
}

/// Asks every node behind one address: a name may stand for several.
async fn ask(dialer: &Dialer, address: &str, hello: &HelloRequest) -> Vec<Result<HelloResponse, DialError>> {
    match Dialer::resolve(address).await {
        Ok(found) => {
            let each = |address| dialer.hello(address, HelloRequest { nonce: nonce(), ..hello.clone() });
            join_all(found.into_iter().map(each)).await
        }
        Err(error) => vec![Err(error)],
    }
}

fn what(response: HelloResponse) -> Answer {
    if !response.cluster_id.is_empty() {
        let mut addresses = response.member_addresses;
        addresses.push(response.address);
        return Answer::Member { cluster_id: response.cluster_id, addresses };
    }
    let sees = response.candidates.into_iter();
    Answer::Candidate(Sighting {
        label: Label { name: response.name, address: response.address },
        instance: response.instance.to_vec(),
        expect_voters: response.expect_voters,
        sees: sees.map(|candidate| Label { name: candidate.name, address: candidate.address }).collect(),
    })
}

struct Joining<'a> {
    introducer: &'a Introducer,
    dialer: &'a Dialer,
    data_dir: &'a Path,
    release: &'a Release,
}

/// Why an attempt to join did not succeed; the next one may.
type NotAdmitted = String;

impl Joining<'_> {
    /// Asks members for admission, following their pointers to the leader.
    async fn join(
        &self,
        cluster_id: &str,
        addresses: Vec<String>,
    ) -> Result<Result<Credentials, NotAdmitted>, StartError> {
        let key = NodeKey::generate().map_err(no_credentials(self.data_dir))?;
        let certificate_request = key.request().map_err(no_credentials(self.data_dir))?;
        let mut queue = VecDeque::from(addresses);
        let mut asked = Vec::new();
        let mut reason = "no member was reached".to_owned();
        let mut renewed = false;
        while let Some(address) = queue.pop_front() {
            if asked.contains(&address) || asked.len() >= ASKED_MAX {
                continue;
            }
            let request = self.request(&certificate_request)?;
            let response = self.ask(&address, &request).await;
            asked.push(address.clone());
            match response {
                Err(error) => reason = format!("{address}: {error}"),
                Ok(response) if response.request_used && !renewed => {
                    request::discard(self.data_dir)?;
                    // The same member takes the next one.
                    renewed = true;
                    asked.pop();
                    queue.push_front(address);
                }
                Ok(response) if !response.ask_address.is_empty() => {
                    reason.clone_from(&response.refused);
                    queue.push_front(response.ask_address);
                }
                Ok(response) if !response.refused.is_empty() => return Ok(Err(response.refused)),
                Ok(response) => match credentials(cluster_id, response, &key) {
                    Ok(credentials) => return Ok(Ok(credentials)),
                    Err(error) => reason = format!("{address}: {error}"),
                },
            }
        }
        Ok(Err(reason))
    }

    fn request(&self, certificate_request: &[u8]) -> Result<JoinRequest, StartError> {
        let me = self.introducer.me();
        let label = &me.label;
        Ok(JoinRequest {
            name: label.name.clone(),
            address: label.address.clone(),
            request_id: request::load_or_create(self.data_dir)?.into(),
            certificate_request: certificate_request.to_vec().into(),
            version: self.release.version.clone(),
            never_votes: me.never_votes,
            oldest_format: self.release.formats.oldest(),
            newest_format: self.release.formats.newest(),
            ..JoinRequest::default()
        })
    }

    async fn ask(&self, address: &str, request: &JoinRequest) -> Result<JoinResponse, DialError> {
        let mut failure = DialError::Refused("the name has no address".to_owned());
        for resolved in Dialer::resolve(address).await? {
            let request = JoinRequest { nonce: nonce(), ..request.clone() };
            match self.dialer.join(resolved, request).await {
                Ok(response) => return Ok(response),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// Checks what a member gave this node.
fn credentials(cluster_id: &str, response: JoinResponse, key: &NodeKey) -> Result<Credentials, String> {
    let given = PeerIdentity { cluster_id: response.cluster_id, node_id: response.node_id };
    let authority = Authority::from_pem(&response.ca_certificate, &Zeroizing::new(response.ca_key));
    let credentials = authority
        .and_then(|authority| Credentials::new(authority, &response.certificate, key.pem()))
        .map_err(|error| error.to_string())?;
    if given.cluster_id != cluster_id || *credentials.identity() != given {
        return Err(format!("the certificate must name a node of cluster {cluster_id}"));
    }
    Ok(credentials)
}

/// Tells the operator what this node waits for, without flooding the log.
#[derive(Default)]
struct Report {
    rounds: u64,
    waiting: Option<(String, Instant)>,
    problems: BTreeMap<String, String>,
}

impl Report {
    fn waiting(&mut self, reason: &str) {
        let now = Instant::now();
        // The first rounds of a start say little.
        let first = self.waiting.get_or_insert_with(|| (String::new(), now));
        if now - first.1 >= REPORT {
            tracing::info!("this node belongs to no cluster yet: {reason}");
            *first = (reason.to_owned(), now);
        } else if first.0 != reason {
            tracing::debug!("this node belongs to no cluster yet: {reason}");
            reason.clone_into(&mut first.0);
        }
    }

    fn problem(&mut self, address: &str, problem: &str) {
        if self.problems.get(address).is_none_or(|known| known != problem) {
            tracing::warn!(address, "a node cannot be asked about its cluster: {problem}");
            self.problems.insert(address.to_owned(), problem.to_owned());
        }
    }

    fn answered(&mut self, address: &str) {
        self.problems.remove(address);
    }
}
