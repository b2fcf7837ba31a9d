"""Two Paho clients, a device and its registry, exchange an event and a command.

Reads the plan (JSON, made by exchange.rs) from standard input; exits 0 when both messages have arrived.
"""

import json
import queue
import ssl
import sys

import paho.mqtt.client as mqtt

TIMEOUT_S = 60


def tls_context(plan, identity):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if plan["ca"]:
        context.load_verify_locations(plan["ca"])
    else:  # the ESP8266 sample's setInsecure()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if plan["tls12"]:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if identity["certificate"]:
        context.load_cert_chain(identity["certificate"], identity["key"])
    return context


class Peer:
    """A connected and subscribed client."""

    def __init__(self, plan, identity):
        self.connected, self.granted, self.received = queue.Queue(), queue.Queue(), queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=identity["client_id"],
            clean_session=True,
            protocol=mqtt.MQTTv311,
        )
        if identity["password"]:
            self.client.username_pw_set(identity["id"], identity["password"])
        self.client.tls_set_context(tls_context(plan, identity))
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.connected.put(reason)
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.granted.put(reasons)
        self.client.on_message = lambda _c, _u, message: self.received.put(message)
        self.client.connect(plan["host"], plan["port"], keepalive=plan["keep_alive_s"])
        self.client.loop_start()
        reason = self.connected.get(timeout=TIMEOUT_S)
        assert not reason.is_failure, f"CONNACK: {reason}"
        self.client.subscribe(identity["filter"], qos=1)
        reasons = self.granted.get(timeout=TIMEOUT_S)
        assert not reasons[0].is_failure, f"SUBACK for {identity['filter']}: {reasons}"

    def publish(self, topic, payload):
        self.client.publish(topic, payload, qos=1).wait_for_publish(TIMEOUT_S)

    def expect(self, topic, payload):
        message = self.received.get(timeout=TIMEOUT_S)
        assert (message.topic, message.payload) == (topic, payload), (message.topic, message.payload)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
        assert self.received.empty(), "more messages than expected"
        assert self.connected.empty(), "the client had to connect again"


def main():
    plan = json.load(sys.stdin)
    device, registry = Peer(plan, plan["device"]), Peer(plan, plan["registry"])
    device.publish(plan["device"]["topic"], b"21.5")
    registry.expect(plan["device"]["topic"], b"21.5")
    registry.publish(plan["registry"]["topic"], b"reboot")
    device.expect(plan["registry"]["topic"], b"reboot")
    device.close()
    registry.close()


main()
