//! The connection of a command to the API.
//!
//! Calls are made by the names of the published definitions: a service, a method, and the request as
//! JSON. The descriptors compiled into the program check names and types. So one function serves every
//! command, and answers can be printed whatever their type ([`super::output`]).

pub mod codec;
pub mod operation;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use rand::Rng as _;
use serde_json::Value as Json;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use zeroize::Zeroizing;

use self::codec::DynamicCodec;
use super::arguments::ClientArguments;
use super::error::{CliError, innermost};

/// Where the API is when nothing else is said.
const DEFAULT_ENDPOINT: &str = "127.0.0.1:8443";

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one attempt of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// First pause before trying again; it doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Longest pause between attempts.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Largest answer accepted, in bytes: a page of 1000 devices with long descriptions fits many times.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to the API, opened by the first call.
pub struct Client {
    endpoint: Endpoint,
    address: String,
    token: MetadataValue<Ascii>,
    folder_id: String,
    attempts: u32,
    pool: DescriptorPool,
    channel: Option<Channel>,
}

impl Client {
    /// Reads token and CA and prepares a connection; nothing is sent.
    pub fn new(arguments: &ClientArguments) -> Result<Self, CliError> {
        let address = arguments.endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
        Ok(Self {
            endpoint: endpoint(arguments, &address)?,
            address,
            token: token(arguments)?,
            folder_id: arguments.folder_id.clone(),
            attempts: arguments.retry,
            pool: descriptors(),
            channel: None,
        })
    }

    /// The folder of this command.
    pub fn folder_id(&self) -> &str {
        &self.folder_id
    }

    /// All message types of the API.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Calls a method, `package.Service` and `Method`, again while the server is unavailable. All
    /// attempts carry one idempotency key, so that a change happens once (U-P9).
    pub async fn call(
        &mut self,
        service: &str,
        method: &str,
        request: Json,
    ) -> Result<DynamicMessage, CliError> {
        let (method, message) = self.request(service, method, request)?;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = PathAndQuery::try_from(path).expect("names of services are valid in a path");
        let key = idempotency_key();
        let mut pause = RETRY_PAUSE;
        for attempt in 1.. {
            match self.attempt(&method, &path, message.clone(), &key).await {
                Err(error) if may_pass(&error) && attempt < self.attempts => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                outcome => return outcome,
            }
        }
        unreachable!("the attempts are counted from 1, and the last one returns")
    }

    /// Calls a method that answers with a stream. Not repeated: the caller has seen a part of it already.
    pub async fn watch(&mut self, service: &str, method: &str, request: Json) -> Result<Answers, CliError> {
        let (method, message) = self.request(service, method, request)?;
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = PathAndQuery::try_from(path).expect("names of services are valid in a path");
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.connect().await?,
        };
        let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        grpc.ready().await.map_err(|error| self.unreachable(&error))?;
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        let codec = DynamicCodec { answer: method.output() };
        match grpc.server_streaming(request, path, codec).await {
            Ok(answers) => Ok(Answers(answers.into_inner())),
            Err(status) => Err(self.failed(status)),
        }
    }

    /// Looks a method up and builds its request.
    pub(super) fn request(
        &self,
        service: &str,
        method: &str,
        request: Json,
    ) -> Result<(MethodDescriptor, DynamicMessage), CliError> {
        let unknown = || CliError::Answer(format!("this program knows no method {service}/{method}"));
        let service_descriptor = self.pool.get_service_by_name(service).ok_or_else(unknown)?;
        let method = service_descriptor.methods().find(|known| known.name() == method).ok_or_else(unknown)?;
        let message = DynamicMessage::deserialize(method.input(), request)
            .map_err(|error| CliError::Answer(format!("request of {}: {error}", method.full_name())))?;
        Ok((method, message))
    }

    async fn attempt(
        &mut self,
        method: &MethodDescriptor,
        path: &PathAndQuery,
        message: DynamicMessage,
        key: &MetadataValue<Ascii>,
    ) -> Result<DynamicMessage, CliError> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => self.connect().await?,
        };
        let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        grpc.ready().await.map_err(|error| self.unreachable(&error))?;
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request.metadata_mut().insert("idempotency-key", key.clone());
        let codec = DynamicCodec { answer: method.output() };
        match grpc.unary(request, path.clone(), codec).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.failed(status)),
        }
    }

    async fn connect(&mut self) -> Result<Channel, CliError> {
        let channel = self.endpoint.connect().await.map_err(|error| self.unreachable(&error))?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// A status of the server, or a failure of the connection dressed as one.
    fn failed(&self, status: Status) -> CliError {
        match std::error::Error::source(&status) {
            Some(source) => self.unreachable(source),
            None => status.into(),
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> CliError {
        CliError::Unreachable { endpoint: self.address.clone(), reason: innermost(error) }
    }
}

/// The answers of a method that goes on answering.
pub struct Answers(Streaming<DynamicMessage>);

impl Answers {
    /// The next answer; `None` when the server has ended the stream.
    pub async fn next(&mut self) -> Result<Option<DynamicMessage>, CliError> {
        Ok(self.0.message().await?)
    }
}

/// Whether trying again may help.
fn may_pass(error: &CliError) -> bool {
    match error {
        CliError::Refused { code, .. } => *code == super::error::code_name(Code::Unavailable),
        // Certificates do not become right by waiting.
        CliError::Unreachable { reason, .. } => !reason.contains("certificate"),
        _ => false,
    }
}

/// The descriptors of everything in the API.
pub fn descriptors() -> DescriptorPool {
    // The global pool has the well-known types; `google.protobuf.Empty` is named by results only.
    let mut pool = DescriptorPool::global();
    pool.decode_file_descriptor_set(rookery_proto::FILE_DESCRIPTOR_SET)
        .expect("the descriptors were encoded by our build");
    pool
}

fn idempotency_key() -> MetadataValue<Ascii> {
    let random: u128 = rand::rng().random();
    MetadataValue::try_from(format!("{random:032x}")).expect("hex digits are valid metadata")
}

fn endpoint(arguments: &ClientArguments, address: &str) -> Result<Endpoint, CliError> {
    let argument_error =
        |rule: String| CliError::Argument { flag: "--endpoint", rule, value: address.to_owned() };
    let with_scheme = match address.contains("://") {
        true => address.to_owned(),
        false => format!("https://{address}"),
    };
    let endpoint = Endpoint::from_shared(with_scheme.clone())
        .map_err(|error| argument_error(format!("must be HOST:PORT: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    if with_scheme.starts_with("http://") {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new();
    if let Some(path) = ca_file(arguments) {
        let pem = fs::read(&path).map_err(CliError::reading(&path))?;
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let Some(name) = &arguments.tls_name {
        tls = tls.domain_name(name);
    }
    endpoint.tls_config(tls).map_err(|error| argument_error(innermost(&error)))
}

/// The CA file that is given, or the one in the data directory.
pub fn ca_file(arguments: &ClientArguments) -> Option<PathBuf> {
    let in_data_dir = || arguments.data_dir.as_ref().map(|directory| directory.join("pki/ca.pem"));
    arguments.ca_file.clone().or_else(in_data_dir)
}

fn token(arguments: &ClientArguments) -> Result<MetadataValue<Ascii>, CliError> {
    let in_data_dir = || arguments.data_dir.as_ref().map(|directory| directory.join("admin.token"));
    let path = arguments.token_file.clone().or_else(in_data_dir).ok_or(CliError::NoToken)?;
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(CliError::reading(&path))?);
    let header = Zeroizing::new(format!("Bearer {}", text.trim()));
    let invalid = || CliError::Argument {
        flag: "--token-file",
        rule: "must name a file with one token of printable ASCII characters".to_owned(),
        value: path.display().to_string(),
    };
    let mut value = MetadataValue::try_from(header.as_str()).map_err(|_| invalid())?;
    if text.trim().is_empty() {
        return Err(invalid());
    }
    value.set_sensitive(true);
    Ok(value)
}
