"""Devices: life cycle, views, aliases, listings."""

import grpc
from google.protobuf import field_mask_pb2
from session import ApiTest
from yandex.cloud.iot.devices.v1 import device_pb2 as device
from yandex.cloud.iot.devices.v1 import device_service_pb2 as pb
from yandex.cloud.iot.devices.v1 import registry_service_pb2


class Devices(ApiTest):
    def setUp(self):
        super().setUp()
        self.registry = self.create_registry().id

    def update(self, device_id, *paths, **fields):
        mask = field_mask_pb2.FieldMask(paths=paths) if paths else None
        request = pb.UpdateDeviceRequest(device_id=device_id, update_mask=mask, **fields)
        return self.result(self.api.devices.Update(request), pb.UpdateDeviceMetadata, device.Device)[1]

    def test_create_get_and_get_by_name(self):
        created = self.create_device(self.registry, name="iot_device_01_name", description="d", labels={"a": "b"})
        self.assertEqual((created.registry_id, created.status), (self.registry, device.Device.ACTIVE))
        self.assertEqual(self.api.devices.Get(pb.GetDeviceRequest(device_id=created.id)), created)
        by_name = pb.GetByNameDeviceRequest(registry_id=self.registry, device_name="iot_device_01_name")
        self.assertEqual(self.api.devices.GetByName(by_name), created)
        by_name.device_name = "IOT_device_01_name"
        self.not_found(self.api.devices.GetByName, by_name)

    def test_a_device_needs_its_registry(self):
        self.not_found(self.api.devices.Create, pb.CreateDeviceRequest(registry_id="arenosuchregistry000"))

    def test_monitoring_data_is_in_the_full_view_only(self):
        created = self.create_device(self.registry)
        basic = self.api.devices.Get(pb.GetDeviceRequest(device_id=created.id))
        self.assertFalse(basic.HasField("monitoring_data"))
        full = self.api.devices.Get(pb.GetDeviceRequest(device_id=created.id, device_view=device.FULL))
        self.assertTrue(full.HasField("monitoring_data"))
        self.assertEqual(full.monitoring_data, device.DeviceMonitoringData())

    def test_listing_by_registry_and_by_folder(self):
        other = self.create_registry().id
        ids = [self.create_device(registry).id for registry in (self.registry, other, self.registry)]
        by_registry = self.api.devices.List(pb.ListDevicesRequest(registry_id=self.registry))
        self.assertEqual([entry.id for entry in by_registry.devices], [ids[0], ids[2]])
        by_folder = self.api.devices.List(pb.ListDevicesRequest(folder_id=self.folder))
        self.assertEqual([entry.id for entry in by_folder.devices], ids)
        page = self.api.devices.List(pb.ListDevicesRequest(folder_id=self.folder, page_size=2))
        rest = self.api.devices.List(
            pb.ListDevicesRequest(folder_id=self.folder, page_size=2, page_token=page.next_page_token)
        )
        self.assertEqual([entry.id for entry in [*page.devices, *rest.devices]], ids)
        self.assertEqual(rest.next_page_token, "")

    def test_aliases_are_resolved_replaced_as_a_whole_and_unique_in_the_registry(self):
        d1 = self.create_device(self.registry, topic_aliases={"my/alias/": "$devices/{id}/"})
        self.assertEqual(dict(d1.topic_aliases), {"my/alias/": f"$devices/{d1.id}/"})
        conflict = pb.CreateDeviceRequest(registry_id=self.registry, topic_aliases={"my/": "$devices/{id}/"})
        self.refused(grpc.StatusCode.ALREADY_EXISTS, self.api.devices.Create, conflict)
        foreign = pb.CreateDeviceRequest(registry_id=self.registry, topic_aliases={"x": f"$devices/{d1.id}/events"})
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.api.devices.Create, foreign)
        six = pb.CreateDeviceRequest(
            registry_id=self.registry, topic_aliases={f"a{n}/": "$devices/{id}/events" for n in range(6)}
        )
        self.refused(grpc.StatusCode.INVALID_ARGUMENT, self.api.devices.Create, six)

        renamed = self.update(d1.id, "name", name="boiler")
        self.assertEqual(dict(renamed.topic_aliases), {"my/alias/": f"$devices/{d1.id}/"})
        replaced = self.update(d1.id, "topic_aliases", topic_aliases={"events": "$devices/{id}/events"})
        self.assertEqual(dict(replaced.topic_aliases), {"events": f"$devices/{d1.id}/events"})

        listed = self.api.registries.ListDeviceTopicAliases(
            registry_service_pb2.ListDeviceTopicAliasesRequest(registry_id=self.registry)
        )
        self.assertEqual(
            [(entry.device_id, entry.alias, entry.topic_prefix) for entry in listed.aliases],
            [(d1.id, "events", f"$devices/{d1.id}/events")],
        )

    def test_an_update_without_a_mask_resets_absent_fields(self):
        created = self.create_device(
            self.registry, name="before", description="gone", labels={"a": "1"}, topic_aliases={"x": "$devices/{id}/state"}
        )
        updated = self.update(created.id, name="after")
        self.assertEqual((updated.name, updated.description), ("after", ""))
        self.assertEqual((dict(updated.labels), dict(updated.topic_aliases)), ({}, {}))

    def test_unknown_mask_paths_are_refused(self):
        created = self.create_device(self.registry)
        request = pb.UpdateDeviceRequest(
            device_id=created.id, update_mask=field_mask_pb2.FieldMask(paths=["registry_id"])
        )
        self.invalid(
            'update_mask: must list only name, description, topic_aliases, labels (got "registry_id")',
            self.api.devices.Update,
            request,
        )

    def test_delete(self):
        created = self.create_device(self.registry, name="boiler")
        delete = pb.DeleteDeviceRequest(device_id=created.id)
        metadata, _ = self.result(self.api.devices.Delete(delete), pb.DeleteDeviceMetadata)
        self.assertEqual(metadata.device_id, created.id)
        self.not_found(self.api.devices.Get, pb.GetDeviceRequest(device_id=created.id))
        self.not_found(self.api.devices.Delete, delete)
        self.create_device(self.registry, name="boiler")
