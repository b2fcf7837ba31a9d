"""The validation table: each broken rule is INVALID_ARGUMENT and names field, rule and value."""

from session import ApiTest, field_violations
from yandex.cloud.iot.broker.v1 import broker_service_pb2 as brokers
from yandex.cloud.iot.devices.v1 import device_service_pb2 as devices
from yandex.cloud.iot.devices.v1 import registry_pb2
from yandex.cloud.iot.devices.v1 import registry_service_pb2 as registries
from yandex.cloud.operation import operation_service_pb2 as operations

NAME = "must match [a-zA-Z0-9_-]* (got {})"
REQUIRED = "must not be empty"


class Validation(ApiTest):
    def check(self, call, rows):
        for request, text in rows:
            with self.subTest(text):
                error = self.invalid(text, call, request)
                self.assertEqual(field_violations(error), [text.split(": ")[0]])

    def test_registries(self):
        create = registries.CreateRegistryRequest
        self.check(
            self.api.registries.Create,
            [
                (create(), f"folder_id: {REQUIRED}"),
                (create(folder_id="x" * 51), "folder_id: must have at most 50 characters (got 51)"),
                (create(folder_id="f", name="a b"), f'name: {NAME.format(chr(34) + "a b" + chr(34))}'),
                (create(folder_id="f", name="x" * 51), "name: must have at most 50 characters (got 51)"),
                (create(folder_id="f", description="ы" * 257), "description: must have at most 256 characters (got 257)"),
                (create(folder_id="f", labels={"A": ""}), 'labels key: must match [a-z][-_0-9a-z]* (got "A")'),
                (create(folder_id="f", labels={"a": "B"}), 'labels["a"]: must match [-_0-9a-z]* (got "B")'),
                (
                    create(folder_id="f", labels={f"a{n}": "" for n in range(65)}),
                    "labels: must have at most 64 entries (got 65)",
                ),
                (
                    create(folder_id="f", log_options=registry_pb2.LogOptions(folder_id="1")),
                    'log_options.folder_id: must match ([a-zA-Z][-a-zA-Z0-9_.]{0,63})? (got "1")',
                ),
            ],
        )
        listing = registries.ListRegistriesRequest
        self.check(
            self.api.registries.List,
            [
                (listing(), f"folder_id: {REQUIRED}"),
                (listing(folder_id="f", page_size=1001), "page_size: must be between 0 and 1000 (got 1001)"),
                (listing(folder_id="f", page_size=-1), "page_size: must be between 0 and 1000 (got -1)"),
                (listing(folder_id="f", page_token="x" * 101), "page_token: must have at most 100 characters (got 101)"),
            ],
        )
        export = registries.AddDataStreamExportRequest
        fields = {"registry_id": "r", "database": "d", "stream": "s", "service_account_id": "a"}
        self.check(
            self.api.registries.AddDataStreamExport,
            [
                (export(**{**fields, name: ""}), f"{name}: {REQUIRED}")
                for name in ("registry_id", "database", "stream", "service_account_id")
            ]
            + [(export(**fields, mqtt_topic_filter="x" * 1025), "mqtt_topic_filter: must have at most 1024 characters (got 1025)")],
        )

    def test_devices(self):
        self.check(
            self.api.devices.Get,
            [
                (devices.GetDeviceRequest(), f"device_id: {REQUIRED}"),
                (devices.GetDeviceRequest(device_id="x" * 51), "device_id: must have at most 50 characters (got 51)"),
            ],
        )
        self.check(
            self.api.devices.GetByName,
            [
                (devices.GetByNameDeviceRequest(registry_id="r"), f"device_name: {REQUIRED}"),
                (
                    devices.GetByNameDeviceRequest(registry_id="r", device_name="имя"),
                    'device_name: must match [a-zA-Z0-9_-]* (got "имя")',
                ),
            ],
        )
        self.check(
            self.api.devices.List,
            [
                (devices.ListDevicesRequest(), "id: exactly one of registry_id, folder_id must be set"),
                (
                    devices.ListDevicesRequest(folder_id="f", page_size=20_001),
                    "page_size: must be between 0 and 20000 (got 20001)",
                ),
            ],
        )
        self.check(
            self.api.devices.AddPassword,
            [
                (
                    devices.AddDevicePasswordRequest(device_id="d", password="my-password1"),
                    "password: must have at least 14 characters (got 12)",
                )
            ],
        )
        self.check(
            self.api.devices.DeleteCertificate,
            [
                (devices.DeleteDeviceCertificateRequest(device_id="d"), f"fingerprint: {REQUIRED}"),
                (
                    devices.DeleteDeviceCertificateRequest(device_id="d", fingerprint="xyz"),
                    "fingerprint: must be 40 hex digits, optionally separated by ':' (got \"xyz\")",
                ),
            ],
        )

    def test_brokers_and_operations(self):
        self.check(
            self.api.brokers.Create,
            [(brokers.CreateBrokerRequest(folder_id="f", name="a/b"), 'name: must match [a-zA-Z0-9_-]* (got "a/b")')],
        )
        self.check(self.api.operations.Get, [(operations.GetOperationRequest(), f"operation_id: {REQUIRED}")])

    def test_all_violations_are_reported_at_once(self):
        request = devices.CreateDeviceRequest(name="a b", description="x" * 257)
        error = self.invalid(
            'registry_id: must not be empty; name: must match [a-zA-Z0-9_-]* (got "a b"); '
            "description: must have at most 256 characters (got 257)",
            self.api.devices.Create,
            request,
        )
        self.assertEqual(field_violations(error), ["registry_id", "name", "description"])
