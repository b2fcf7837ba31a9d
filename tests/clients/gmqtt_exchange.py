"""Two gmqtt clients, a device and its registry, exchange an event and a command.

Reads the plan (JSON, made by exchange.rs) from standard input; exits 0 when both messages have arrived.
"""

import asyncio
import json
import ssl
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

TIMEOUT_S = 60


def tls_context(plan, identity):
    context = ssl.create_default_context(cafile=plan["ca"])
    if plan["tls12"]:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if identity["certificate"]:
        context.load_cert_chain(identity["certificate"], identity["key"])
    return context


class Peer:
    """A connected and subscribed client."""

    def __init__(self, identity):
        self.identity, self.received, self.granted = identity, asyncio.Queue(), asyncio.Queue()
        self.client = gmqtt.Client(identity["client_id"], clean_session=True)
        if identity["password"]:
            self.client.set_auth_credentials(identity["id"], identity["password"])
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda _client, _mid, codes, _properties: self.granted.put_nowait(codes)

    async def on_message(self, _client, topic, payload, _qos, _properties):
        self.received.put_nowait((topic, payload))
        return 0

    async def open(self, plan):
        context = tls_context(plan, self.identity)
        await self.client.connect(
            plan["host"], plan["port"], ssl=context, keepalive=plan["keep_alive_s"], version=MQTTv311
        )
        self.client.subscribe(self.identity["filter"], qos=1)
        codes = await asyncio.wait_for(self.granted.get(), TIMEOUT_S)
        assert list(codes) == [1], f"SUBACK for {self.identity['filter']}: {codes}"

    async def expect(self, topic, payload):
        message = await asyncio.wait_for(self.received.get(), TIMEOUT_S)
        assert message == (topic, payload), message

    async def close(self):
        try:
            await self.client.disconnect()
        except ssl.SSLError as error:
            # A PUBACK that crosses the client's goodbye is an error to asyncio, and to nobody else.
            if error.reason != "APPLICATION_DATA_AFTER_CLOSE_NOTIFY":
                raise


async def main():
    plan = json.load(sys.stdin)
    device, registry = Peer(plan["device"]), Peer(plan["registry"])
    await device.open(plan)
    await registry.open(plan)
    device.client.publish(plan["device"]["topic"], b"21.5", qos=1)
    await registry.expect(plan["device"]["topic"], b"21.5")
    registry.client.publish(plan["registry"]["topic"], b"reboot", qos=1)
    await device.expect(plan["registry"]["topic"], b"reboot")
    await device.close()
    await registry.close()


asyncio.run(asyncio.wait_for(main(), 2 * TIMEOUT_S))
