"""The three data services: who may publish where (the delivery itself is tested with MQTT clients)."""

import grpc
from session import ApiTest
from yandex.cloud.iot.broker.v1 import broker_data_service_pb2
from yandex.cloud.iot.devices.v1 import device_data_service_pb2, registry_data_service_pb2, registry_service_pb2


class Publishing(ApiTest):
    def setUp(self):
        super().setUp()
        self.registry = self.create_registry().id
        self.device = self.create_device(self.registry, topic_aliases={"temp": "$devices/{id}/events/temp"}).id
        self.broker = self.create_broker().id

    def as_device(self, topic, data=b"21.5", device_id=None):
        request = device_data_service_pb2.PublishDeviceDataRequest(
            device_id=device_id or self.device, topic=topic, data=data
        )
        return self.api.device_data.Publish, request

    def as_registry(self, topic, data=b"21.5"):
        request = registry_data_service_pb2.PublishRegistryDataRequest(
            registry_id=self.registry, topic=topic, data=data
        )
        return self.api.registry_data.Publish, request

    def as_broker(self, topic, data=b"21.5"):
        request = broker_data_service_pb2.PublishBrokerDataRequest(broker_id=self.broker, topic=topic, data=data)
        return self.api.broker_data.Publish, request

    def test_allowed_topics_are_accepted(self):
        for call, request in [
            self.as_device(f"$devices/{self.device}/events"),
            self.as_device(f"$devices/{self.device}/state"),
            self.as_device("$me/device/events/x"),
            self.as_device("temp"),
            self.as_device(f"$registries/{self.registry}/events"),
            self.as_registry(f"$registries/{self.registry}/commands/heartbeat"),
            self.as_registry(f"$devices/{self.device}/config"),
            self.as_broker("a/b"),
            self.as_broker("/my/custom/topic", b""),
        ]:
            with self.subTest(request.topic):
                call(request)

    def test_forbidden_and_unresolvable_topics_are_denied(self):
        for call, request in [
            self.as_device(f"$devices/{self.device}/commands"),
            self.as_device("no/such/alias"),
            self.as_device("$devices/arenosuchdevice00000/events"),
            self.as_registry(f"$devices/{self.device}/events"),
            self.as_registry("$registries/arenosuchregistry000/commands"),
            self.as_broker(f"$devices/{self.device}/events"),
        ]:
            with self.subTest(request.topic):
                self.refused(grpc.StatusCode.PERMISSION_DENIED, call, request)

    def test_bad_topics_and_wildcards_are_invalid(self):
        for topic in ["", "$devices/+/events", "a/#", "a\0b"]:
            with self.subTest(topic):
                self.refused(grpc.StatusCode.INVALID_ARGUMENT, *self.as_device(topic))
                self.refused(grpc.StatusCode.INVALID_ARGUMENT, *self.as_broker(topic))

    def test_sizes(self):
        topic = f"$devices/{self.device}/events/"
        longest = topic + "x" * (1024 - len(topic))
        call, request = self.as_device(longest)
        call(request)
        self.invalid("topic: must have at most 1024 characters (got 1025)", *self.as_device(longest + "x"))
        call, request = self.as_device(topic, b"x" * 262_144)
        call(request)
        self.invalid("data: must have at most 262144 bytes (got 262145)", *self.as_device(topic, b"x" * 262_145))

    def test_unknown_publishers_are_not_found(self):
        self.not_found(*self.as_device("$me/device/events", device_id="arenosuchdevice00000"))
        # The ids of registries and devices share a namespace, but not their data services.
        self.not_found(*self.as_device("$me/device/events", device_id=self.registry))

    def test_a_disabled_registry_publishes_nothing(self):
        self.api.registries.Disable(registry_service_pb2.DisableRegistryRequest(registry_id=self.registry))
        for call, request in [
            self.as_device(f"$devices/{self.device}/events"),
            self.as_registry(f"$registries/{self.registry}/commands"),
        ]:
            self.refused(grpc.StatusCode.FAILED_PRECONDITION, call, request)
