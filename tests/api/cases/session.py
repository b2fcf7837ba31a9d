"""A connection to the node under test with the official SDK's generated stubs.

The environment says where the node is: ROOKERY_TEST_API (host:port), ROOKERY_TEST_CA (PEM file),
ROOKERY_TEST_TOKEN (the administrator's token) and ROOKERY_TEST_DESCRIPTORS (file with our descriptor set).
"""

import itertools
import os
import subprocess
import tempfile
import unittest

import grpc
from google.protobuf import empty_pb2
from google.rpc import error_details_pb2, status_pb2
from yandex.cloud.iot.broker.v1 import broker_data_service_pb2_grpc, broker_service_pb2, broker_service_pb2_grpc
from yandex.cloud.iot.broker.v1 import broker_pb2
from yandex.cloud.iot.devices.v1 import (
    device_data_service_pb2_grpc,
    device_pb2,
    device_service_pb2,
    device_service_pb2_grpc,
    registry_data_service_pb2_grpc,
    registry_pb2,
    registry_service_pb2,
    registry_service_pb2_grpc,
)
from yandex.cloud.operation import operation_service_pb2_grpc

PASSWORD = "Passw0rdForDevice"
CALL_TIMEOUT_S = 30
_numbers = itertools.count()


class Api:
    """All stubs, with one bearer token (or none)."""

    def __init__(self, token):
        with open(os.environ["ROOKERY_TEST_CA"], "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        self.channel = grpc.intercept_channel(
            grpc.secure_channel(
                os.environ["ROOKERY_TEST_API"], credentials, [("grpc.ssl_target_name_override", "localhost")]
            ),
            _Metadata(token),
        )
        self.registries = registry_service_pb2_grpc.RegistryServiceStub(self.channel)
        self.devices = device_service_pb2_grpc.DeviceServiceStub(self.channel)
        self.brokers = broker_service_pb2_grpc.BrokerServiceStub(self.channel)
        self.registry_data = registry_data_service_pb2_grpc.RegistryDataServiceStub(self.channel)
        self.device_data = device_data_service_pb2_grpc.DeviceDataServiceStub(self.channel)
        self.broker_data = broker_data_service_pb2_grpc.BrokerDataServiceStub(self.channel)
        self.operations = operation_service_pb2_grpc.OperationServiceStub(self.channel)


class _Metadata(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    def __init__(self, token):
        self.token = token

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self._extended(details), request)

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(self._extended(details), requests)

    def _extended(self, details):
        metadata = list(details.metadata or [])
        if self.token is not None:
            metadata.append(("authorization", f"Bearer {self.token}"))
        return details._replace(metadata=metadata, timeout=CALL_TIMEOUT_S)


class ApiTest(unittest.TestCase):
    """A test with the administrator's connection and a folder of its own."""

    maxDiff = None
    _administrator = None

    def setUp(self):
        if ApiTest._administrator is None:
            ApiTest._administrator = Api(os.environ["ROOKERY_TEST_TOKEN"])
        self.api = ApiTest._administrator
        self.folder = f"b1g{os.getpid()}x{next(_numbers)}"

    # Expectations

    def refused(self, code, call, *arguments, **named):
        """Calls and returns the error text; fails unless the call ends with the code."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception

    def invalid(self, text, call, request):
        """Calls and fails unless the answer is INVALID_ARGUMENT with exactly this text."""
        error = self.refused(grpc.StatusCode.INVALID_ARGUMENT, call, request)
        self.assertEqual(error.details(), text)
        return error

    def not_found(self, call, request):
        return self.refused(grpc.StatusCode.NOT_FOUND, call, request)

    def result(self, operation, metadata_type, response_type=empty_pb2.Empty):
        """Checks the envelope of a finished operation and unpacks metadata and response."""
        self.assertTrue(operation.done)
        self.assertEqual(operation.WhichOneof("result"), "response")
        self.assertRegex(operation.id, r"^are[0-9a-v]{17}$")
        self.assertTrue(operation.created_by)
        self.assertGreater(operation.created_at.seconds, 0)
        self.assertTrue(operation.HasField("modified_at"))
        prefix = "type.googleapis.com/"
        self.assertEqual(operation.metadata.type_url, prefix + metadata_type.DESCRIPTOR.full_name)
        self.assertEqual(operation.response.type_url, prefix + response_type.DESCRIPTOR.full_name)
        metadata, response = metadata_type(), response_type()
        self.assertTrue(operation.metadata.Unpack(metadata))
        self.assertTrue(operation.response.Unpack(response))
        return metadata, response

    # Resources

    def create_registry(self, **fields):
        request = registry_service_pb2.CreateRegistryRequest(folder_id=self.folder, **fields)
        metadata, registry = self.result(
            self.api.registries.Create(request), registry_service_pb2.CreateRegistryMetadata, registry_pb2.Registry
        )
        self.assertEqual(metadata.registry_id, registry.id)
        return registry

    def create_device(self, registry_id, **fields):
        request = device_service_pb2.CreateDeviceRequest(registry_id=registry_id, **fields)
        metadata, device = self.result(
            self.api.devices.Create(request), device_service_pb2.CreateDeviceMetadata, device_pb2.Device
        )
        self.assertEqual(metadata.device_id, device.id)
        return device

    def create_broker(self, **fields):
        request = broker_service_pb2.CreateBrokerRequest(folder_id=self.folder, **fields)
        metadata, broker = self.result(
            self.api.brokers.Create(request), broker_service_pb2.CreateBrokerMetadata, broker_pb2.Broker
        )
        self.assertEqual(metadata.broker_id, broker.id)
        return broker


def field_violations(error):
    """The fields named in the google.rpc.BadRequest detail of an error."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            bad_request = error_details_pb2.BadRequest()
            if status.details and status.details[0].Unpack(bad_request):
                return [violation.field for violation in bad_request.field_violations]
    return []


def make_certificate():
    """A new self-signed certificate: its PEM text and its SHA-1 fingerprint as openssl prints it."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "cert.pem")
        request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
        subprocess.run(
            ["openssl", *request.split(), "-keyout", os.path.join(directory, "key.pem"), "-out", path],
            check=True,
            capture_output=True,
        )
        printed = subprocess.run(
            ["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha1"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        with open(path, encoding="ascii") as file:
            return file.read(), printed.strip().split("=")[1]
