"""Tokens and roles; every method of every service is tried without a token."""

import os

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory
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


def own_messages():
    """Message classes of the project's own packages, from the server's descriptors."""
    pool = descriptor_pool.DescriptorPool()
    with open(os.environ["ROOKERY_TEST_DESCRIPTORS"], "rb") as file:
        files = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file
    for file in files:
        pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"rookery.admin.v1.{name}"))


class Tokens(ApiTest):
    def setUp(self):
        super().setUp()
        self.message = own_messages()
        self.role = self.message("Token").DESCRIPTOR.enum_types_by_name["Role"].values_by_name

    def call(self, method, api=None, **fields):
        request, response = self.message(f"{method[0]}Request"), self.message(f"{method[0]}Response")
        stub = (api or self.api).channel.unary_unary(
            f"/rookery.admin.v1.TokenService/{method[1]}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        return stub(request(**fields))

    def create(self, role, **named):
        return self.call(("CreateToken", "Create"), role=self.role[role].number, name=f"{role.lower()}-token", **named)

    def tokens(self):
        found, token = [], ""
        while True:
            page = self.call(("ListTokens", "List"), page_size=2, page_token=token)
            found += page.tokens
            token = page.next_page_token
            if not token:
                return found

    def test_roles(self):
        listing = registries.ListRegistriesRequest(folder_id=self.folder)
        create = registries.CreateRegistryRequest(folder_id=self.folder)
        denied = grpc.StatusCode.PERMISSION_DENIED
        made = {role: self.create(role) for role in ("VIEWER", "EDITOR", "ADMIN")}
        apis = {role: Api(token.secret) for role, token in made.items()}
        for role, api in apis.items():
            api.registries.List(listing)
            if role == "VIEWER":
                self.refused(denied, api.registries.Create, create)
            else:
                self.assertEqual(api.registries.Create(create).created_by, made[role].token.id)
            if role != "ADMIN":
                self.refused(denied, self.call, ("ListTokens", "List"), api=api)
                self.refused(denied, self.call, ("CreateToken", "Create"), api=api, role=self.role["ADMIN"].number)
            else:
                self.call(("ListTokens", "List"), api=api)

    def test_a_token_is_shown_once_listed_without_its_secret_and_useless_once_revoked(self):
        made = self.create("VIEWER")
        self.assertRegex(made.secret, r"^t1\.[0-9a-z]{20}\.[0-9A-Za-z_-]{43}$")
        self.assertEqual(made.token.name, "viewer-token")
        listed = self.tokens()
        self.assertEqual([entry for entry in listed if entry.id == made.token.id], [made.token])
        self.assertTrue(all(made.secret not in str(entry) for entry in listed))
        api = Api(made.secret)
        api.registries.List(registries.ListRegistriesRequest(folder_id=self.folder))
        self.call(("RevokeToken", "Revoke"), token_id=made.token.id)
        call = api.registries.List
        self.refused(grpc.StatusCode.UNAUTHENTICATED, call, registries.ListRegistriesRequest(folder_id=self.folder))
        self.refused(grpc.StatusCode.NOT_FOUND, self.call, ("RevokeToken", "Revoke"), token_id=made.token.id)

    def test_a_role_is_required(self):
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.call, ("CreateToken", "Create"))
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.call, ("CreateToken", "Create"), role=7)


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
        self.assertEqual(number, 4 * 49)

    def test_unknown_methods_are_unimplemented(self):
        call = self.api.channel.unary_unary(
            "/yandex.cloud.iot.devices.v1.DeviceService/Explode",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=empty_pb2.Empty.FromString,
        )
        self.refused(grpc.StatusCode.UNIMPLEMENTED, call, empty_pb2.Empty())

    def raw(self, path, api, request=b""):
        return api.channel.unary_unary(path)(request)

    def test_health_needs_no_token(self):
        serving = bytes([8, 1])
        self.assertEqual(self.raw("/grpc.health.v1.Health/Check", Api(None)), serving)

    def test_reflection_lists_the_services_to_viewers_only(self):
        list_services = bytes([0x3A, 1]) + b"*"
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            answer = b"".join(self.stream(path, self.api, list_services))
            for service in [*SERVICES, "rookery.admin.v1.TokenService"]:
                self.assertIn(service.encode(), answer)
            with self.assertRaises(grpc.RpcError) as caught:
                list(self.stream(path, Api(None), list_services))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

    def stream(self, path, api, request):
        return api.channel.stream_stream(path)(iter([request]))

    def test_a_request_above_the_limit_is_refused(self):
        request = registries.CreateRegistryRequest(folder_id=self.folder, description="x" * (5 * 1024 * 1024))
        self.refused(grpc.StatusCode.OUT_OF_RANGE, self.api.registries.Create, request)

    def test_operations_name_the_subject(self):
        create = registries.CreateRegistryRequest(folder_id=self.folder)
        subjects = {self.api.registries.Create(create).created_by for _ in range(2)}
        self.assertEqual(len(subjects), 1)
