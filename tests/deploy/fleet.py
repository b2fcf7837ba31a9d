"""Devices that store a number which they count up, and remember which ones were acknowledged."""

import random
import threading
import time

import paho.mqtt.client as paho

ANSWER_MAX = 10


class Device(threading.Thread):
    """Publishes to its `state` topic until told to stop. It connects to whichever pod the service offers."""

    def __init__(self, identifier, password, kubelet, authority, pause):
        super().__init__(daemon=True)
        self.identifier, self.password, self.kubelet = identifier, password, kubelet
        self.authority, self.pause = authority, pause
        self.number, self.acknowledged, self.connects = 0, 0, 0
        self.stops = False

    def run(self):
        while not self.stops:
            try:
                self._session()
            except (OSError, ValueError, RuntimeError):
                pass
            time.sleep(random.uniform(0.1, 0.5))

    def _session(self):
        endpoints = self.kubelet.endpoints()
        if not endpoints:
            return
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=self.identifier)
        client.username_pw_set(self.identifier, self.password)
        client.tls_set(ca_certs=self.authority)
        # The certificate has the names of the services, not the addresses of pods.
        client.tls_insecure_set(True)
        up = threading.Event()
        client.on_connect = lambda _client, _data, _flags, reason, _properties: reason == 0 and up.set()
        client.on_disconnect = lambda *_: up.clear()
        client.connect(random.choice(endpoints), 8883, keepalive=20)
        client.loop_start()
        try:
            if not up.wait(ANSWER_MAX):
                return
            self.connects += 1
            while up.is_set() and not self.stops:
                self.number += 1
                sent = client.publish(f"$devices/{self.identifier}/state", str(self.number), qos=1)
                deadline = time.monotonic() + ANSWER_MAX
                while not sent.is_published() and up.is_set() and time.monotonic() < deadline:
                    time.sleep(0.005)
                if not sent.is_published():
                    return
                self.acknowledged = self.number
                time.sleep(self.pause)
        finally:
            client.disconnect()
            client.loop_stop()


def stored(registry, password, devices, address, authority):
    """What each device's topic has, as a backend sees it that comes anew."""
    seen = {}
    complete = threading.Event()

    def received(_client, _data, message):
        seen[message.topic.split("/")[1]] = int(message.payload)
        if len(seen) == len(devices):
            complete.set()

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="")
    client.username_pw_set(registry, password)
    client.tls_set(ca_certs=authority)
    client.tls_insecure_set(True)
    client.on_message = received
    client.on_connect = lambda client, *_: client.subscribe([(f"$devices/{it.identifier}/state", 1) for it in devices])
    client.connect(address, 8883)
    client.loop_start()
    complete.wait(30)
    client.disconnect()
    client.loop_stop()
    return seen
