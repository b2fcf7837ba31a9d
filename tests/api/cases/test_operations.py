"""Operations: look-up, listing, filter, idempotency."""

import uuid

import grpc
from session import PASSWORD, ApiTest
from yandex.cloud.iot.devices.v1 import device_service_pb2 as devices
from yandex.cloud.iot.devices.v1 import registry_service_pb2 as registries
from yandex.cloud.operation import operation_service_pb2 as pb


class Operations(ApiTest):
    def test_an_operation_stays_readable_and_cannot_be_cancelled(self):
        made = self.api.registries.Create(registries.CreateRegistryRequest(folder_id=self.folder))
        self.assertEqual(made.description, "Create device registry")
        self.assertEqual(self.api.operations.Get(pb.GetOperationRequest(operation_id=made.id)), made)
        cancel = pb.CancelOperationRequest(operation_id=made.id)
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, self.api.operations.Cancel, cancel)
        self.not_found(self.api.operations.Get, pb.GetOperationRequest(operation_id="arenosuchoperation00"))
        self.not_found(self.api.operations.Cancel, pb.CancelOperationRequest(operation_id="x"))

    def test_operations_are_listed_per_resource(self):
        registry = self.create_registry(name="boilers").id
        device = self.create_device(registry, name="boiler").id
        self.api.devices.AddPassword(devices.AddDevicePasswordRequest(device_id=device, password=PASSWORD))
        self.api.registries.Disable(registries.DisableRegistryRequest(registry_id=registry))

        request = registries.ListRegistryOperationsRequest(registry_id=registry)
        listed = self.api.registries.ListOperations(request).operations
        self.assertEqual(
            [entry.description for entry in listed], ["Create device registry", "Disable device registry"]
        )
        request = devices.ListDeviceOperationsRequest(device_id=device, page_size=1)
        first = self.api.devices.ListOperations(request)
        self.assertEqual([entry.description for entry in first.operations], ["Create device"])
        request.page_token = first.next_page_token
        second = self.api.devices.ListOperations(request)
        self.assertEqual([entry.description for entry in second.operations], ["Add password"])
        self.assertEqual(second.next_page_token, "")

    def test_the_filter_knows_the_name_of_the_resource_only(self):
        registry = self.create_registry(name="boilers").id
        request = registries.ListRegistryOperationsRequest(registry_id=registry)
        for text, number in [('name = "boilers"', 1), ('name="others"', 0)]:
            request.filter = text
            self.assertEqual(len(self.api.registries.ListOperations(request).operations), number, text)
        request.filter = "status = 1"
        self.invalid(
            'filter: must be empty or of the form name = "<value>"', self.api.registries.ListOperations, request
        )

    def test_a_repeated_idempotency_key_acts_once(self):
        key = [("idempotency-key", str(uuid.uuid4()))]
        create = registries.CreateRegistryRequest(folder_id=self.folder, name="once")
        first = self.api.registries.Create(create, metadata=key)
        self.assertEqual(self.api.registries.Create(create, metadata=key), first)
        listed = self.api.registries.List(registries.ListRegistriesRequest(folder_id=self.folder))
        self.assertEqual(len(listed.registries), 1)
        other = [("idempotency-key", str(uuid.uuid4()))]
        self.refused(grpc.StatusCode.ALREADY_EXISTS, self.api.registries.Create, create, metadata=other)
        long = [("idempotency-key", "k" * 129)]
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.api.registries.Create, create, metadata=long)
