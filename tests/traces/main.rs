//! Traces, as a collector gets them (feature `otlp`).

use std::{collections::BTreeMap, path::Path, sync::Arc};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role},
    janitor,
    node::{Launch, Node},
    packet::Connect,
    runtime::run,
};
use rookery_proto::yandex::cloud::iot::devices::v1 as devices;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, transport::Server};

const BINARY: &str = env!("CARGO_BIN_EXE_rookery");

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector {
    requests: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.requests.lock().await.push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts a collector and returns where it is.
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (collector, endpoint)
    }

    async fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().await;
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("a text or a number: {other:?}"),
    }
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    span.attributes.iter().map(|pair| (pair.key.as_str(), text(pair.value.as_ref()))).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

fn start(directory: &Path, endpoint: Option<&str>) -> Node {
    let mut launch = Launch::new(Path::new(BINARY), directory);
    let endpoint = endpoint.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint.to_owned()));
    launch.environment.extend(endpoint);
    Node::launch(launch)
}

#[test]
fn a_collector_gets_what_a_node_does_for_others() {
    run(async {
        let (collector, endpoint) = Collector::start().await;
        let node = start(&janitor::new_directory("traces-"), Some(&endpoint));
        let fixture = Fixture::create(&node).await;
        let mut device = fixture.connect(Role::D1).await;
        assert_eq!(device.subscribe(&[("$me/device/commands", 1), ("$me/device/config", 0)]).await, [1, 0]);
        device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
        let mut stranger = Client::tls_anonymous(&node).await;
        assert_eq!(stranger.connect(&Connect::new("nobody")).await, 5);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let get = devices::GetDeviceRequest { device_id: "nothing".into(), ..Default::default() };
        let mut request = Request::new(get);
        let parent = format!("00-{trace}-b7ad6b7169203331-01").parse().expect("it is visible ASCII");
        request.metadata_mut().insert("traceparent", parent);
        let missing = fixture.api.devices().get(request).await.expect_err("there is no such device");
        assert_eq!(missing.code(), Code::NotFound);
        // What waits is sent before the process ends.
        node.terminate();
        assert!(node.wait().success());
        let log = node.log().tail(1000);
        assert!(!log.contains("rookery::spans") && !log.contains("rpc.method"), "{log}");

        let spans = collector.spans().await;
        let create = named(&spans, "yandex.cloud.iot.devices.v1.RegistryService/Create");
        assert_eq!(create.len(), 2, "one for each registry");
        let facts = attributes(create[0]);
        assert_eq!(facts["rpc.method"], "Create");
        assert_eq!(facts["rpc.grpc.status_code"], "0");
        let commits = named(&spans, "commit");
        assert!(
            commits.iter().any(|commit| commit.parent_span_id == create[0].span_id),
            "it waited for a commit"
        );

        let get = named(&spans, "yandex.cloud.iot.devices.v1.DeviceService/Get");
        assert_eq!((get.len(), hex(&get[0].trace_id)), (1, trace.to_owned()), "the caller's trace goes on");
        assert_eq!(hex(&get[0].parent_span_id), "b7ad6b7169203331");
        assert!(is_error(get[0]) && attributes(get[0])["rpc.grpc.status_code"] == "5");

        let connects = named(&spans, "CONNECT");
        let codes: Vec<_> =
            connects.iter().map(|span| attributes(span)["mqtt.return_code"].clone()).collect();
        assert_eq!(codes, ["0", "5"]);
        assert!(is_error(connects[1]) && !is_error(connects[0]));
        let subscribes = named(&spans, "SUBSCRIBE");
        assert_eq!((subscribes.len(), attributes(subscribes[0])["mqtt.filters"].as_str()), (1, "2"));
        assert!(spans.iter().all(|span| span.end_time_unix_nano >= span.start_time_unix_nano));
        let requests = collector.requests.lock().await;
        let resource = requests[0].resource_spans[0].resource.as_ref().expect("a resource is named");
        let service = resource.attributes.iter().find(|pair| pair.key == "service.name");
        assert_eq!(text(service.and_then(|pair| pair.value.as_ref())), "rookery");
    });
}

#[test]
fn a_collector_that_is_not_there_holds_nobody_up() {
    run(async {
        let node = start(&janitor::new_directory("traces-"), Some("http://127.0.0.1:9"));
        let fixture = Fixture::create(&node).await;
        let mut device = fixture.connect(Role::D1).await;
        device.publish(&fixture.expand("$devices/{D1}/events"), b"x").await;
        node.terminate();
        assert!(node.wait().success(), "the node ends in order");
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
