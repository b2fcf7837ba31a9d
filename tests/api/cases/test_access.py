"""Tokens and roles; every method of every service is tried without a token."""

import os

import grpc
from google.protobuf import descriptor_pool, empty_pb2, message_factory
from session import Api, ApiTest
from yandex.cloud.iot.devices.v1 import registry_service_pb2 as registries

SERVICES = [
    "yandex.cloud.iot.devices.v1.DeviceService",
    "yandex.cloud.iot.devices.v1.DeviceDataService",
    "yandex.cloud.iot.devices.v1.RegistryService",
    "yandex.cloud.iot.devices.v1.RegistryDataService",
    "yandex.cloud.iot.broker.v1.BrokerService",
    "yandex.cloud.iot.broker.v1.BrokerDataService",
    "yandex.cloud.operation.OperationService",
]


def methods():
    pool = descriptor_pool.Default()
    for service in SERVICES:
        for method in pool.FindServiceByName(service).methods:
            request = message_factory.GetMessageClass(method.input_type)
            response = message_factory.GetMessageClass(method.output_type)
            yield f"/{service}/{method.name}", request, response


class Access(ApiTest):
    def test_no_method_answers_without_a_valid_token(self):
        number = 0
        for token in [None, "", "wrong", os.environ["ROOKERY_TEST_TOKEN"][:-1]]:
            channel = Api(token).channel
            for path, request, response in methods():
                with self.subTest(path):
                    call = channel.unary_unary(
                        path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
                    )
                    self.refused(grpc.StatusCode.UNAUTHENTICATED, call, request())
                    number += 1
        self.assertGreater(number, 4 * 50)

    def test_unknown_methods_are_unimplemented(self):
        call = self.api.channel.unary_unary(
            "/yandex.cloud.iot.devices.v1.DeviceService/Explode",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=empty_pb2.Empty.FromString,
        )
        self.refused(grpc.StatusCode.UNIMPLEMENTED, call, empty_pb2.Empty())

    def test_operations_name_the_subject(self):
        create = registries.CreateRegistryRequest(folder_id=self.folder)
        subjects = {self.api.registries.Create(create).created_by for _ in range(2)}
        self.assertEqual(len(subjects), 1)
