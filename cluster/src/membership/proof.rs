//! Proof that both ends of a connection know the join secret.
//!
//! A node that wants to join cannot know the certificate of the node it asks, so it accepts any and relies on
//! this proof instead. Each message carries HMAC-SHA-256 under the secret over everything it says, over the
//! asker's nonce and over the channel binding: key material exported from the TLS session (RFC 5705, RFC
//! 9266), equal at its two ends and different in every other session. So a man in the middle, who has two
//! sessions, can pass on neither question nor answer, nothing that was recorded can be used again, and the
//! secret itself is never sent.

use hmac::{Hmac, KeyInit, Mac};
use rookery_proto::rookery::cluster::v1::{
    Candidate, HelloRequest, HelloResponse, JoinRequest, JoinResponse,
};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::pki::SessionBinding;

/// Length of a nonce in bytes.
pub(crate) const NONCE_BYTES: usize = 32;

/// The shared secret of a cluster's nodes.
#[derive(Clone)]
pub(crate) struct JoinSecret(Zeroizing<Vec<u8>>);

/// A proof was not made with this secret, on this connection, for this content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("join secret differs")]
pub(crate) struct SecretDiffers;

/// The four messages; each has its own label, so that none can stand for another.
#[derive(Debug, Clone, Copy)]
enum Role {
    HelloRequest,
    HelloResponse,
    JoinRequest,
    JoinResponse,
}

impl Role {
    fn label(self) -> &'static [u8] {
        match self {
            Role::HelloRequest => b"rookery hello request 1",
            Role::HelloResponse => b"rookery hello response 1",
            Role::JoinRequest => b"rookery join request 1",
            Role::JoinResponse => b"rookery join response 1",
        }
    }
}

/// The bytes under the proof: every field behind its length, so that no two contents give the same bytes.
struct Transcript(Hmac<Sha256>);

impl Transcript {
    fn field(mut self, bytes: impl AsRef<[u8]>) -> Transcript {
        let bytes = bytes.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn number(self, number: u64) -> Transcript {
        self.field(number.to_le_bytes())
    }

    fn candidates(self, candidates: &[Candidate]) -> Transcript {
        let counted = self.number(candidates.len() as u64);
        candidates.iter().fold(counted, |transcript, candidate| {
            transcript.field(&candidate.name).field(&candidate.address)
        })
    }

    fn strings(self, strings: &[String]) -> Transcript {
        let counted = self.number(strings.len() as u64);
        strings.iter().fold(counted, Transcript::field)
    }

    fn proof(self) -> Vec<u8> {
        self.0.finalize().into_bytes().to_vec()
    }

    /// Compares in constant time.
    fn verify(self, proof: &[u8]) -> Result<(), SecretDiffers> {
        self.0.verify_slice(proof).map_err(|_differs| SecretDiffers)
    }
}

impl JoinSecret {
    /// The secret as it stands in its file.
    pub(crate) fn new(secret: Zeroizing<Vec<u8>>) -> JoinSecret {
        JoinSecret(secret)
    }

    /// Completes a question about who is there.
    pub(crate) fn sign_hello_request(&self, binding: SessionBinding, request: &mut HelloRequest) {
        request.proof = self.hello_request(binding, request).proof().into();
    }

    /// Checks a question about who is there.
    pub(crate) fn verify_hello_request(
        &self,
        binding: SessionBinding,
        request: &HelloRequest,
    ) -> Result<(), SecretDiffers> {
        fresh(&request.nonce)?;
        self.hello_request(binding, request).verify(&request.proof)
    }

    /// Completes the answer to the question with this nonce.
    pub(crate) fn sign_hello_response(
        &self,
        binding: SessionBinding,
        nonce: &[u8],
        response: &mut HelloResponse,
    ) {
        response.proof = self.hello_response(binding, nonce, response).proof().into();
    }

    /// Checks the answer to the question with this nonce.
    pub(crate) fn verify_hello_response(
        &self,
        binding: SessionBinding,
        nonce: &[u8],
        response: &HelloResponse,
    ) -> Result<(), SecretDiffers> {
        self.hello_response(binding, nonce, response).verify(&response.proof)
    }

    /// Completes a request to become a member.
    pub(crate) fn sign_join_request(&self, binding: SessionBinding, request: &mut JoinRequest) {
        request.proof = self.join_request(binding, request).proof().into();
    }

    /// Checks a request to become a member.
    pub(crate) fn verify_join_request(
        &self,
        binding: SessionBinding,
        request: &JoinRequest,
    ) -> Result<(), SecretDiffers> {
        fresh(&request.nonce)?;
        self.join_request(binding, request).verify(&request.proof)
    }

    /// Completes the answer to the request with this nonce.
    pub(crate) fn sign_join_response(
        &self,
        binding: SessionBinding,
        nonce: &[u8],
        response: &mut JoinResponse,
    ) {
        response.proof = self.join_response(binding, nonce, response).proof().into();
    }

    /// Checks the answer to the request with this nonce.
    pub(crate) fn verify_join_response(
        &self,
        binding: SessionBinding,
        nonce: &[u8],
        response: &JoinResponse,
    ) -> Result<(), SecretDiffers> {
        self.join_response(binding, nonce, response).verify(&response.proof)
    }

    fn begin(&self, role: Role, binding: SessionBinding, nonce: &[u8]) -> Transcript {
        let keyed = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length is taken");
        Transcript(keyed).field(role.label()).field(binding).field(nonce)
    }

    fn hello_request(&self, binding: SessionBinding, request: &HelloRequest) -> Transcript {
        self.begin(Role::HelloRequest, binding, &request.nonce)
            .field(&request.name)
            .field(&request.address)
            .field(&request.instance)
            .number(u64::from(request.expect_voters))
            .candidates(&request.candidates)
    }

    fn hello_response(&self, binding: SessionBinding, nonce: &[u8], response: &HelloResponse) -> Transcript {
        self.begin(Role::HelloResponse, binding, nonce)
            .field(&response.name)
            .field(&response.address)
            .field(&response.instance)
            .field(&response.cluster_id)
            .number(u64::from(response.expect_voters))
            .candidates(&response.candidates)
            .strings(&response.member_addresses)
    }

    fn join_request(&self, binding: SessionBinding, request: &JoinRequest) -> Transcript {
        self.begin(Role::JoinRequest, binding, &request.nonce)
            .field(&request.name)
            .field(&request.address)
            .field(&request.request_id)
            .field(&request.certificate_request)
            .field(&request.version)
            .number(u64::from(request.never_votes))
            .number(u64::from(request.oldest_format))
            .number(u64::from(request.newest_format))
    }

    fn join_response(&self, binding: SessionBinding, nonce: &[u8], response: &JoinResponse) -> Transcript {
        self.begin(Role::JoinResponse, binding, nonce)
            .field(&response.cluster_id)
            .number(response.node_id)
            .field(&response.certificate)
            .field(&response.ca_certificate)
            .field(&response.ca_key)
            .field(&response.refused)
            .field(&response.ask_address)
            .number(u64::from(response.request_used))
    }
}

/// A random nonce.
pub(crate) fn nonce() -> bytes::Bytes {
    random(NONCE_BYTES).into()
}

/// Random bytes.
pub(crate) fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes
}

/// A nonce must be long enough to be unique.
fn fresh(nonce: &[u8]) -> Result<(), SecretDiffers> {
    if nonce.len() == NONCE_BYTES { Ok(()) } else { Err(SecretDiffers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: SessionBinding = [1; 32];
    const ELSEWHERE: SessionBinding = [2; 32];

    fn secret(text: &str) -> JoinSecret {
        JoinSecret::new(Zeroizing::new(text.as_bytes().to_vec()))
    }

    fn hello() -> HelloRequest {
        HelloRequest {
            name: "a".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            nonce: nonce(),
            expect_voters: 3,
            candidates: vec![Candidate { name: "b".to_owned(), address: "127.0.0.1:2".to_owned() }],
            ..HelloRequest::default()
        }
    }

    #[test]
    fn a_question_is_valid_with_its_secret_on_its_connection_only() {
        let (ours, other) = (secret("0123456789abcdef"), secret("0123456789abcdeg"));
        let mut request = hello();
        ours.sign_hello_request(HERE, &mut request);
        assert_eq!(ours.verify_hello_request(HERE, &request), Ok(()));
        assert_eq!(other.verify_hello_request(HERE, &request), Err(SecretDiffers));
        assert_eq!(
            ours.verify_hello_request(ELSEWHERE, &request),
            Err(SecretDiffers),
            "passed on or replayed"
        );
        request.candidates[0].address.push('1');
        assert_eq!(ours.verify_hello_request(HERE, &request), Err(SecretDiffers));
        let mut short = HelloRequest { nonce: bytes::Bytes::from_static(b"short"), ..hello() };
        ours.sign_hello_request(HERE, &mut short);
        assert_eq!(ours.verify_hello_request(HERE, &short), Err(SecretDiffers));
    }

    #[test]
    fn an_answer_belongs_to_its_question() {
        let ours = secret("0123456789abcdef");
        let (asked, other) = (nonce(), nonce());
        let mut response = HelloResponse { name: "a".to_owned(), ..HelloResponse::default() };
        ours.sign_hello_response(HERE, &asked, &mut response);
        assert_eq!(ours.verify_hello_response(HERE, &asked, &response), Ok(()));
        assert_eq!(ours.verify_hello_response(HERE, &other, &response), Err(SecretDiffers));
        response.cluster_id = "c".to_owned();
        assert_eq!(ours.verify_hello_response(HERE, &asked, &response), Err(SecretDiffers));
        // A question reflected as an answer: the labels differ.
        let mut request = HelloRequest { nonce: asked.clone(), ..HelloRequest::default() };
        ours.sign_hello_request(HERE, &mut request);
        let reflected = HelloResponse { proof: request.proof, ..HelloResponse::default() };
        assert_eq!(ours.verify_hello_response(HERE, &asked, &reflected), Err(SecretDiffers));
    }

    #[test]
    fn the_proof_of_an_admission_covers_each_field() {
        let ours = secret("0123456789abcdef");
        let asked = nonce();
        let mut response = JoinResponse {
            cluster_id: "c".to_owned(),
            node_id: 4,
            certificate: "certificate".to_owned(),
            ca_certificate: "ca".to_owned(),
            ca_key: "key".to_owned(),
            ..JoinResponse::default()
        };
        ours.sign_join_response(HERE, &asked, &mut response);
        assert_eq!(ours.verify_join_response(HERE, &asked, &response), Ok(()));
        let changes: [fn(&mut JoinResponse); 8] = [
            |response| response.cluster_id.push('x'),
            |response| response.node_id = 5,
            |response| response.certificate.push('x'),
            |response| response.ca_certificate.push('x'),
            |response| response.ca_key.push('x'),
            |response| response.refused.push('x'),
            |response| response.ask_address.push('x'),
            |response| response.request_used = true,
        ];
        for change in changes {
            let mut forged = response.clone();
            change(&mut forged);
            assert_eq!(ours.verify_join_response(HERE, &asked, &forged), Err(SecretDiffers));
        }
        // A byte that moves from one field to the next.
        let mut moved = response.clone();
        (moved.certificate, moved.ca_certificate) = ("certificatec".to_owned(), "a".to_owned());
        assert_eq!(ours.verify_join_response(HERE, &asked, &moved), Err(SecretDiffers));
    }
}
