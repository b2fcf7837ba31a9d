"""Certificates and passwords of all three kinds of owners."""

import grpc
from session import PASSWORD, ApiTest, make_certificate
from yandex.cloud.iot.broker.v1 import broker_pb2, broker_service_pb2
from yandex.cloud.iot.devices.v1 import device_pb2, device_service_pb2, registry_pb2, registry_service_pb2


class Credentials(ApiTest):
    def owners(self):
        """Stub, module of requests, module of resources, kind, id field and id of one owner of each kind."""
        registry = self.create_registry().id
        device = self.create_device(registry).id
        broker = self.create_broker().id
        yield self.api.registries, registry_service_pb2, registry_pb2, "Registry", {"registry_id": registry}
        yield self.api.devices, device_service_pb2, device_pb2, "Device", {"device_id": device}
        yield self.api.brokers, broker_service_pb2, broker_pb2, "Broker", {"broker_id": broker}

    def test_certificates(self):
        for stub, pb, resources, kind, owner in self.owners():
            with self.subTest(kind):
                pem, fingerprint = make_certificate()
                text = "Some text before.\r\n" + pem + "\n"
                add = getattr(pb, f"Add{kind}CertificateRequest")(certificate_data=text, **owner)
                metadata, added = self.result(
                    stub.AddCertificate(add),
                    getattr(pb, f"Add{kind}CertificateMetadata"),
                    getattr(resources, f"{kind}Certificate"),
                )
                self.assertEqual(added.fingerprint, fingerprint.replace(":", "").lower())
                self.assertEqual(metadata.fingerprint, added.fingerprint)
                self.assertEqual(added.certificate_data, text)
                listing = getattr(pb, f"List{kind}CertificatesRequest")(**owner)
                self.assertEqual(list(stub.ListCertificates(listing).certificates), [added])
                self.refused(grpc.StatusCode.ALREADY_EXISTS, stub.AddCertificate, add)

                # Upper case and colons, as openssl prints it, do not fit into 50 characters; upper case alone does.
                delete = getattr(pb, f"Delete{kind}CertificateRequest")(
                    fingerprint=fingerprint.replace(":", ""), **owner
                )
                self.result(stub.DeleteCertificate(delete), getattr(pb, f"Delete{kind}CertificateMetadata"))
                self.assertEqual(list(stub.ListCertificates(listing).certificates), [])
                self.not_found(stub.DeleteCertificate, delete)

    def test_a_certificate_belongs_to_one_owner_only(self):
        pem, _ = make_certificate()
        registry = self.create_registry(
            certificates=[registry_service_pb2.CreateRegistryRequest.Certificate(certificate_data=pem)]
        )
        listing = registry_service_pb2.ListRegistryCertificatesRequest(registry_id=registry.id)
        self.assertEqual(len(self.api.registries.ListCertificates(listing).certificates), 1)
        certificate = device_service_pb2.CreateDeviceRequest.Certificate(certificate_data=pem)
        create = device_service_pb2.CreateDeviceRequest(registry_id=registry.id, certificates=[certificate])
        self.refused(grpc.StatusCode.ALREADY_EXISTS, self.api.devices.Create, create)
        devices = self.api.devices.List(device_service_pb2.ListDevicesRequest(registry_id=registry.id))
        self.assertEqual(list(devices.devices), [])

    def test_certificates_must_parse(self):
        add = device_service_pb2.AddDeviceCertificateRequest(device_id="x")
        self.invalid("certificate_data: must not be empty", self.api.devices.AddCertificate, add)
        add.certificate_data = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.invalid("certificate_data: certificate must be valid X.509", self.api.devices.AddCertificate, add)
        create = broker_service_pb2.CreateBrokerRequest(folder_id=self.folder, certificates=[{"certificate_data": "x"}])
        self.invalid(
            "certificates[0].certificate_data: certificate text must contain a PEM section CERTIFICATE (found none)",
            self.api.brokers.Create,
            create,
        )

    def test_passwords(self):
        for stub, pb, resources, kind, owner in self.owners():
            with self.subTest(kind):
                add = getattr(pb, f"Add{kind}PasswordRequest")(password=PASSWORD, **owner)
                metadata, added = self.result(
                    stub.AddPassword(add),
                    getattr(pb, f"Add{kind}PasswordMetadata"),
                    getattr(resources, f"{kind}Password"),
                )
                self.assertEqual(metadata.password_id, added.id)
                listing = getattr(pb, f"List{kind}PasswordsRequest")(**owner)
                self.assertEqual(list(stub.ListPasswords(listing).passwords), [added])
                delete = getattr(pb, f"Delete{kind}PasswordRequest")(password_id=added.id, **owner)
                self.result(stub.DeletePassword(delete), getattr(pb, f"Delete{kind}PasswordMetadata"))
                self.assertEqual(list(stub.ListPasswords(listing).passwords), [])
                self.not_found(stub.DeletePassword, delete)

    def test_weak_passwords_are_refused(self):
        device = self.create_device(self.create_registry().id).id
        request = device_service_pb2.AddDevicePasswordRequest
        for password in ["", "Sh0rt!", "alllowercaseletters", "Only2groupsHere".replace("2", "x")]:
            error = self.refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                self.api.devices.AddPassword,
                request(device_id=device, password=password),
            )
            self.assertTrue(error.details().startswith("password: "), error.details())
            if password:
                self.assertNotIn(password, error.details())
        for password in ["Passw0rdForDevice", "0123456789_abcd", "1Test2Sample3Password!"]:
            self.api.devices.AddPassword(request(device_id=device, password=password))

    def test_at_most_five_of_each(self):
        device = self.create_device(self.create_registry().id).id
        add = device_service_pb2.AddDevicePasswordRequest(device_id=device, password=PASSWORD)
        for _ in range(5):
            self.api.devices.AddPassword(add)
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, self.api.devices.AddPassword, add)
