"""Registries: life cycle, masks, paging, state rules."""

import grpc
from google.protobuf import field_mask_pb2
from session import ApiTest
from yandex.cloud.iot.devices.v1 import registry_pb2 as registry
from yandex.cloud.iot.devices.v1 import registry_service_pb2 as pb
from yandex.cloud.logging.v1 import log_entry_pb2


class Registries(ApiTest):
    def test_create_get_and_get_by_name(self):
        created = self.create_registry(
            name="iot_registry_name", description="Описание", labels={"environment": "test", "empty": ""}
        )
        self.assertRegex(created.id, r"^are[0-9a-v]{17}$")
        self.assertEqual(created.status, registry.Registry.ACTIVE)
        self.assertEqual(dict(created.labels), {"environment": "test", "empty": ""})
        self.assertEqual(created.log_options, registry.LogOptions(folder_id=self.folder))
        self.assertEqual(self.api.registries.Get(pb.GetRegistryRequest(registry_id=created.id)), created)
        by_name = pb.GetByNameRegistryRequest(folder_id=self.folder, registry_name="iot_registry_name")
        self.assertEqual(self.api.registries.GetByName(by_name), created)

    def test_unknown_registries_are_not_found(self):
        self.not_found(self.api.registries.Get, pb.GetRegistryRequest(registry_id="arenosuchregistry000"))
        by_name = pb.GetByNameRegistryRequest(folder_id=self.folder, registry_name="nobody")
        self.not_found(self.api.registries.GetByName, by_name)
        self.not_found(self.api.registries.Delete, pb.DeleteRegistryRequest(registry_id="x"))
        self.not_found(self.api.registries.Update, pb.UpdateRegistryRequest(registry_id="x"))
        self.not_found(self.api.registries.Disable, pb.DisableRegistryRequest(registry_id="x"))

    def test_names_are_unique_in_a_folder_unless_empty(self):
        self.create_registry(name="boilers")
        again = pb.CreateRegistryRequest(folder_id=self.folder, name="boilers")
        self.refused(grpc.StatusCode.ALREADY_EXISTS, self.api.registries.Create, again)
        self.create_registry()
        self.create_registry()
        other = self.create_registry(name="others")
        rename = pb.UpdateRegistryRequest(
            registry_id=other.id, update_mask=field_mask_pb2.FieldMask(paths=["name"]), name="boilers"
        )
        self.refused(grpc.StatusCode.ALREADY_EXISTS, self.api.registries.Update, rename)

    def test_listing_follows_creation_and_survives_inserts_between_pages(self):
        ids = [self.create_registry().id for _ in range(5)]
        request = pb.ListRegistriesRequest(folder_id=self.folder, page_size=2)
        seen = []
        while True:
            page = self.api.registries.List(request)
            self.assertLessEqual(len(page.registries), 2)
            seen += [entry.id for entry in page.registries]
            if not page.next_page_token:
                break
            self.assertLessEqual(len(page.next_page_token), 100)
            request.page_token = page.next_page_token
            if len(ids) < 7:
                ids.append(self.create_registry().id)
        self.assertEqual(seen, ids)
        self.invalid_token("forged")

    def invalid_token(self, token):
        request = pb.ListRegistriesRequest(folder_id=self.folder, page_token=token)
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.api.registries.List, request)

    def test_an_update_changes_what_the_mask_lists(self):
        created = self.create_registry(name="before", description="kept", labels={"a": "1"})
        operation = self.api.registries.Update(
            pb.UpdateRegistryRequest(
                registry_id=created.id,
                update_mask=field_mask_pb2.FieldMask(paths=["name", "log_options"]),
                name="after",
                description="not taken",
                log_options=registry.LogOptions(log_group_id="ckg0", min_level=log_entry_pb2.LogLevel.ERROR),
            )
        )
        metadata, updated = self.result(operation, pb.UpdateRegistryMetadata, registry.Registry)
        self.assertEqual(metadata.registry_id, created.id)
        created.name = "after"
        created.log_options.CopyFrom(registry.LogOptions(log_group_id="ckg0", min_level=5))
        self.assertEqual(updated, created)
        self.assertEqual(self.api.registries.Get(pb.GetRegistryRequest(registry_id=created.id)), created)

    def test_an_update_without_a_mask_overwrites_everything(self):
        created = self.create_registry(name="before", description="gone", labels={"a": "1"})
        self.api.registries.Update(pb.UpdateRegistryRequest(registry_id=created.id, name="after"))
        updated = self.api.registries.Get(pb.GetRegistryRequest(registry_id=created.id))
        self.assertEqual((updated.name, updated.description, dict(updated.labels)), ("after", "", {}))

    def test_disable_and_enable_are_repeatable(self):
        id_ = self.create_registry().id
        for expected, call, request, metadata in [
            (registry.Registry.DISABLED, self.api.registries.Disable, pb.DisableRegistryRequest, pb.DisableRegistryMetadata),
            (registry.Registry.ACTIVE, self.api.registries.Enable, pb.EnableRegistryRequest, pb.EnableRegistryMetadata),
        ]:
            for _ in range(2):
                _, changed = self.result(call(request(registry_id=id_)), metadata, registry.Registry)
                self.assertEqual(changed.status, expected)

    def test_only_an_empty_registry_can_be_deleted(self):
        created = self.create_registry(name="full")
        device = self.create_device(created.id)
        delete = pb.DeleteRegistryRequest(registry_id=created.id)
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, self.api.registries.Delete, delete)
        self.api.devices.Delete(self.delete_device(device.id))
        metadata, _ = self.result(self.api.registries.Delete(delete), pb.DeleteRegistryMetadata)
        self.assertEqual(metadata.registry_id, created.id)
        self.not_found(self.api.registries.Get, pb.GetRegistryRequest(registry_id=created.id))
        self.create_registry(name="full")

    @staticmethod
    def delete_device(device_id):
        from yandex.cloud.iot.devices.v1 import device_service_pb2

        return device_service_pb2.DeleteDeviceRequest(device_id=device_id)

    def test_a_registry_has_at_most_one_data_stream_export(self):
        id_ = self.create_registry().id
        fields = {"registry_id": id_, "database": "/ru/b1g/etn", "stream": "s", "service_account_id": "aje0"}
        add = pb.AddDataStreamExportRequest(name="export", **fields)
        metadata, export = self.result(
            self.api.registries.AddDataStreamExport(add), pb.AddDataStreamExportMetadata, registry.DataStreamExport
        )
        self.assertEqual((metadata.registry_id, metadata.data_stream_export_id), (id_, export.id))
        self.assertEqual((export.name, export.database, export.stream), ("export", "/ru/b1g/etn", "s"))
        listed = self.api.registries.ListDataStreamExports(pb.ListDataStreamExportsRequest(registry_id=id_))
        self.assertEqual(list(listed.data_stream_exports), [export])
        second = pb.AddDataStreamExportRequest(**fields)
        self.refused(grpc.StatusCode.FAILED_PRECONDITION, self.api.registries.AddDataStreamExport, second)
        delete = pb.DeleteDataStreamExportRequest(registry_id=id_, data_stream_export_id=export.id)
        self.result(self.api.registries.DeleteDataStreamExport(delete), pb.DeleteDataStreamExportMetadata)
        self.not_found(self.api.registries.DeleteDataStreamExport, delete)
