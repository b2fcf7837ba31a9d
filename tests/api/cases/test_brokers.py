"""Brokers: life cycle, masks, listing."""

import grpc
from google.protobuf import field_mask_pb2
from session import ApiTest
from yandex.cloud.iot.broker.v1 import broker_pb2 as broker
from yandex.cloud.iot.broker.v1 import broker_service_pb2 as pb


class Brokers(ApiTest):
    def test_life_of_a_broker(self):
        created = self.create_broker(name="tower", description="d", labels={"a": "1"})
        self.assertEqual(created.status, broker.Broker.ACTIVE)
        self.assertEqual(created.log_options, broker.LogOptions(folder_id=self.folder))
        self.assertEqual(self.api.brokers.Get(pb.GetBrokerRequest(broker_id=created.id)), created)
        listed = self.api.brokers.List(pb.ListBrokersRequest(folder_id=self.folder))
        self.assertEqual(list(listed.brokers), [created])

        request = pb.UpdateBrokerRequest(
            broker_id=created.id,
            update_mask=field_mask_pb2.FieldMask(paths=["labels", "log_options"]),
            name="not_taken",
            log_options=broker.LogOptions(disabled=True),
        )
        _, updated = self.result(self.api.brokers.Update(request), pb.UpdateBrokerMetadata, broker.Broker)
        self.assertEqual((updated.name, dict(updated.labels)), ("tower", {}))
        self.assertTrue(updated.log_options.disabled)

        delete = pb.DeleteBrokerRequest(broker_id=created.id)
        self.result(self.api.brokers.Delete(delete), pb.DeleteBrokerMetadata)
        self.not_found(self.api.brokers.Get, pb.GetBrokerRequest(broker_id=created.id))

    def test_names_are_unique_in_a_folder(self):
        self.create_broker(name="tower")
        again = pb.CreateBrokerRequest(folder_id=self.folder, name="tower")
        self.refused(grpc.StatusCode.ALREADY_EXISTS, self.api.brokers.Create, again)
