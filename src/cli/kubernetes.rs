//! Asks Kubernetes whether a pod ends because its set is to have fewer replicas. A pod cannot tell that from a restart, and
//! only then may its node leave the cluster.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Where Kubernetes puts the token of a pod's account, and the authority of its API.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// For the whole question.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Of an answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Not in a pod, or a pod that does not say which.
    #[error("the variable {0} must be set")]
    Variable(&'static str),
    /// A pod of no StatefulSet.
    #[error("the name of the pod must be that of its StatefulSet, a hyphen and a number (got {0:?})")]
    PodName(String),
    /// Token or authority.
    #[error("cannot read {path}: {reason}")]
    Account {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The API could not be asked.
    #[error("cannot ask the Kubernetes API at {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The API does not tell.
    #[error("the Kubernetes API answers {status} about {set}: may the pod's account get its StatefulSet?")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The set.
        set: String,
    },
    /// The answer makes no sense.
    #[error("the answer about {set} has no number of replicas")]
    Answer {
        /// The set.
        set: String,
    },
}

/// A pod of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    namespace: String,
    set: String,
    ordinal: u64,
}

impl Pod {
    /// From the variables that the manifests set.
    fn from_environment() -> Result<Self, KubernetesError> {
        Self::new(&variable("POD_NAME")?, variable("POD_NAMESPACE")?)
    }

    fn new(name: &str, namespace: String) -> Result<Self, KubernetesError> {
        let parts = name.rsplit_once('-').and_then(|(set, ordinal)| Some((set, ordinal.parse().ok()?)));
        let (set, ordinal) = parts.ok_or_else(|| KubernetesError::PodName(name.to_owned()))?;
        Ok(Self { namespace, set: set.to_owned(), ordinal })
    }

    /// Whether this pod is one too many for what is wanted of the set.
    fn is_surplus(&self, set: &Value) -> Option<bool> {
        let replicas = set["spec"]["replicas"].as_u64()?;
        let first = set["spec"]["ordinals"]["start"].as_u64().unwrap_or_default();
        Some(self.ordinal >= first + replicas)
    }
}

fn variable(name: &'static str) -> Result<String, KubernetesError> {
    env::var(name).ok().filter(|value| !value.is_empty()).ok_or(KubernetesError::Variable(name))
}

/// Whether the pod that this process runs in is one that its StatefulSet is not to have any more.
///
/// # Errors
/// [`KubernetesError`]; then nothing is known.
pub async fn is_scaled_down() -> Result<bool, KubernetesError> {
    let pod = Pod::from_environment()?;
    let address =
        format!("{}:{}", variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let unreachable = |reason: String| KubernetesError::Unreachable { address: address.clone(), reason };
    let asked = timeout(ANSWER_MAX, get(&address, &pod)).await;
    let (status, body) = asked.unwrap_or_else(|_| Err(unreachable("no answer in time".to_owned())))?;
    if status != StatusCode::OK {
        return Err(KubernetesError::Refused { status: status.as_u16(), set: pod.set });
    }
    let answer = serde_json::from_slice::<Value>(&body).ok();
    let surplus = answer.and_then(|set| pod.is_surplus(&set));
    surplus.ok_or(KubernetesError::Answer { set: pod.set })
}

async fn get(address: &str, pod: &Pod) -> Result<(StatusCode, Bytes), KubernetesError> {
    let unreachable = |error: &dyn std::error::Error| KubernetesError::Unreachable {
        address: address.to_owned(),
        reason: super::error::innermost(error),
    };
    let token = Zeroizing::new(read("token")?);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|error| unreachable(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
    let stream =
        TlsConnector::from(tls()?).connect(name, stream).await.map_err(|error| unreachable(&error))?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| unreachable(&error))?;
    let driven = tokio::spawn(connection);
    let Pod { namespace, set, .. } = pod;
    let request = Request::get(format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{set}"))
        .header("host", host)
        .header("authorization", format!("Bearer {}", token.trim()))
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| unreachable(&error))?;
    let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| unreachable(error.as_ref()))?.to_bytes();
    driven.abort();
    Ok((status, body))
}

fn tls() -> Result<Arc<ClientConfig>, KubernetesError> {
    let text = read("ca.crt")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|reason| KubernetesError::Account {
            path: file("ca.crt").display().to_string(),
            reason,
        })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for the default versions");
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env::var("ROOKERY_KUBERNETES_ACCOUNT").unwrap_or_else(|_| ACCOUNT.to_owned())).join(name)
}

fn read(name: &str) -> Result<String, KubernetesError> {
    let path = file(name);
    fs::read_to_string(&path).map_err(|error| KubernetesError::Account {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_belongs_to_the_set_that_its_name_begins_with() {
        let pod = Pod::new("rookery-edge-12", "iot".to_owned()).unwrap();
        assert_eq!((pod.set.as_str(), pod.ordinal), ("rookery-edge", 12));
        for name in ["rookery", "rookery-", "rookery-x", ""] {
            assert!(matches!(Pod::new(name, String::new()), Err(KubernetesError::PodName(_))), "{name}");
        }
    }

    #[test]
    fn a_pod_is_surplus_when_its_number_is_not_among_those_wanted() {
        let pod = Pod::new("r-3", String::new()).unwrap();
        assert_eq!(pod.is_surplus(&json!({"spec": {"replicas": 4}})), Some(false));
        assert_eq!(pod.is_surplus(&json!({"spec": {"replicas": 3}})), Some(true));
        assert_eq!(pod.is_surplus(&json!({"spec": {"replicas": 3, "ordinals": {"start": 1}}})), Some(false));
        assert_eq!(pod.is_surplus(&json!({"spec": {"replicas": 0}})), Some(true));
        assert_eq!(pod.is_surplus(&json!({"kind": "Status"})), None);
    }
}
