"""Restarts three nodes one after the other while many clients publish with QoS 1, and counts what was lost.

    python rolling.py BINARY DIRECTORY [CLIENTS] [RATE]

Needs nothing but Python. Every client publishes a number every few seconds and connects anew, to any node that is ready,
when it is disconnected. One watcher per node receives everything. A message is lost if its publisher got the PUBACK
and none of the watchers has it: at any time at least two of them are connected.
"""

import asyncio
import collections
import datetime
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
import urllib.request

PASSWORD = "Correct-Horse-Battery-9"
NODES = 3
PUBLISH_EVERY = 5
PATIENCE = 20
KEEP_ALIVE = 60
# Below those that systems take for outgoing connections.
PORTS = {"mqtts": 21100, "mqtt": 21200, "api": 21300, "ops": 21400, "peer": 21500}


class Node:
    def __init__(self, binary, directory, number, rate):
        self.binary, self.directory, self.number, self.rate = binary, directory, number, rate
        self.process = None

    def address(self, listener):
        return f"127.0.0.1:{PORTS[listener] + self.number}"

    @property
    def data(self):
        return os.path.join(self.directory, f"n{self.number}")

    def start(self, others):
        words = [self.binary, "serve", "--node-name", f"n{self.number}", "--data-dir", self.data]
        for listener in PORTS:
            words += [f"--{listener}", self.address(listener)]
        words += ["--join", ",".join(node.address("peer") for node in others), "--expect-voters", str(NODES)]
        words += ["--join-secret-file", os.path.join(self.directory, "join.secret")]
        settings = {"DRAIN_RATE": self.rate, "GRACE_PERIOD_S": 60}
        environment = os.environ | {f"ROOKERY_NODE__{name}": str(value) for name, value in settings.items()}
        log = open(os.path.join(self.directory, f"n{self.number}.log"), "ab")
        self.process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address('ops')}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False


def text(value):
    encoded = value.encode()
    return struct.pack("!H", len(encoded)) + encoded


def packet(kind, body):
    length, size = b"", len(body)
    while True:
        byte, size = size % 128, size // 128
        length += bytes([byte | 128 if size else byte])
        if not size:
            return bytes([kind]) + length + body


async def receive(reader):
    kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return kind, await reader.readexactly(length)


async def connect(port, client, login):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = text("MQTT") + bytes([4, 0xC2]) + struct.pack("!H", KEEP_ALIVE) + text(client) + text(login) + text(PASSWORD)
    writer.write(packet(0x10, body))
    kind, answer = await asyncio.wait_for(receive(reader), PATIENCE)
    if kind != 0x20 or answer[1] != 0:
        writer.close()
        raise ConnectionError(f"CONNACK {answer[1]}")
    return reader, writer


class Fleet:
    def __init__(self, registry, device, nodes):
        self.registry, self.device, self.nodes = registry, device, nodes
        self.open, self.stops = set(), False
        self.attempts = collections.Counter()
        self.watching = set()
        self.acknowledged, self.received = set(), [set() for _ in nodes]
        self.refused, self.disconnects = 0, 0
        self.longest_away = 0.0

    def endpoints(self):
        """What a load balancer offers: the nodes that are ready."""
        return [PORTS["mqtt"] + node.number for node in self.nodes if node.number in self.ready]

    async def probe(self):
        while not self.stops:
            ready = await asyncio.gather(*(asyncio.to_thread(node.is_ready) for node in self.nodes))
            self.ready = {node.number for node, is_ready in zip(self.nodes, ready) if is_ready}
            await asyncio.sleep(0.5)

    async def publisher(self, number, first_wait):
        await asyncio.sleep(first_wait)
        sequence, away_since = 0, None
        while not self.stops:
            try:
                if away_since is not None:
                    await asyncio.sleep(random.uniform(0, 1))
                port = random.choice(self.endpoints())
                if away_since is not None:
                    self.attempts[int(time.monotonic())] += 1
                reader, writer = await connect(port, f"p{number}", self.registry)
            except (OSError, IndexError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                self.refused += 1
                await asyncio.sleep(random.uniform(0.2, 1))
                continue
            if away_since is not None:
                self.longest_away = max(self.longest_away, time.monotonic() - away_since)
            self.open.add(number)
            try:
                while not self.stops:
                    sequence += 1
                    body = text(f"$registries/{self.registry}/commands/p{number}") + struct.pack("!H", sequence % 65535 + 1)
                    writer.write(packet(0x32, body + f"{number} {sequence}".encode()))
                    kind, _ = await asyncio.wait_for(receive(reader), PATIENCE)
                    assert kind == 0x40, kind
                    self.acknowledged.add((number, sequence))
                    # A connection that ends meanwhile is noticed at once, as by a client that reads.
                    try:
                        await asyncio.wait_for(reader.read(1), PUBLISH_EVERY * random.uniform(0.8, 1.2))
                        raise ConnectionError("closed")
                    except asyncio.TimeoutError:
                        pass
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                pass
            self.open.discard(number)
            self.disconnects += not self.stops
            away_since = time.monotonic()
            writer.close()

    async def watcher(self, node):
        while not self.stops:
            try:
                reader, writer = await connect(PORTS["mqtt"] + node.number, f"w{node.number}", self.device)
                writer.write(packet(0x82, struct.pack("!H", 1) + text(f"$registries/{self.registry}/commands/#") + b"\1"))
                while True:
                    kind, body = await asyncio.wait_for(receive(reader), PATIENCE * 10)
                    if kind == 0x90:
                        self.watching.add(node.number)
                    if kind & 0xF0 != 0x30:
                        continue
                    topic = struct.unpack("!H", body[:2])[0]
                    writer.write(packet(0x40, body[2 + topic : 4 + topic]))
                    number, sequence = body[4 + topic :].split()
                    self.received[node.number].add((int(number), int(sequence)))
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                await asyncio.sleep(0.2)


def in_a_second(nodes, event, begun):
    """The most connection events of a kind that all nodes together logged within one second, wherever it begins."""
    times = []
    for node in nodes:
        with open(os.path.join(node.directory, f"n{node.number}.log"), encoding="utf-8") as log:
            for line in log:
                when, _, rest = line.partition("Z ")
                if f"rookery::connections: {event}" in rest:
                    times.append(datetime.datetime.fromisoformat(when + "+00:00").timestamp())
    times = sorted(moment for moment in times if moment > begun)
    most = first = 0
    for last, moment in enumerate(times):
        while moment - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


async def until(holds, what, limit=300):
    end = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.1)


async def measure(binary, directory, clients, rate):
    nodes = [Node(binary, directory, number, rate) for number in range(NODES)]
    secret = os.path.join(directory, "join.secret")
    with open(secret, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write("the secret of this measurement")
    try:
        for node in nodes:
            node.start(nodes)
        fleet = Fleet("", "", nodes)
        probing = asyncio.create_task(fleet.probe())
        fleet.ready = set()
        await until(lambda: len(fleet.ready) == NODES, "three nodes")

        def rookery(*words):
            words = [binary, *words, "--endpoint", nodes[0].address("api"), "--format", "json"]
            words += ["--data-dir", nodes[0].data]
            return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)

        fleet.registry = rookery("registry", "create", "plant", "--password", PASSWORD)["id"]
        made = rookery("device", "create", "watcher", "--registry-id", fleet.registry, "--password", PASSWORD)
        fleet.device = made["id"]
        tasks = [asyncio.create_task(fleet.watcher(node)) for node in nodes]
        await until(lambda: len(fleet.watching) == NODES, "all watchers have their SUBACK")
        tasks += [asyncio.create_task(fleet.publisher(number, number / 1000)) for number in range(clients)]
        await until(lambda: len(fleet.open) == clients, "all clients are connected")
        await asyncio.sleep(PUBLISH_EVERY)
        begun = time.time()
        for node in nodes:
            began, before = time.monotonic(), fleet.disconnects
            node.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(node.process.wait)
            stopped = time.monotonic()
            node.start(nodes)
            fleet.ready.discard(node.number)
            await until(lambda: node.number in fleet.ready, "the node is back")
            await until(lambda: len(fleet.open) == clients, "all clients are back")
            print(
                f"n{node.number}: {fleet.disconnects - before} clients moved, stopped after {stopped - began:.1f} s, "
                f"all back after {time.monotonic() - began:.1f} s",
                flush=True,
            )
            await asyncio.sleep(PUBLISH_EVERY)
        due = set(fleet.acknowledged)
        received = lambda: set().union(*fleet.received)
        lost = due - received()
        end = time.monotonic() + 30
        while lost and time.monotonic() < end:
            await asyncio.sleep(1)
            lost = due - received()
        print(
            f"{len(due)} acknowledged, {len(lost)} lost; {fleet.disconnects} reconnects, {fleet.refused} attempts in vain; "
            f"in any second at most {in_a_second(nodes, 'disconnected', begun)} sessions ended and "
            f"{in_a_second(nodes, 'connected', begun)} accepted as the nodes logged it (drain rate {rate}), in calendar "
            f"seconds at most {max(fleet.attempts.values())} attempts as the clients saw it; nobody away for longer than {fleet.longest_away:.1f} s"
        )
        fleet.stops = True
        probing.cancel()
        for task in tasks:
            task.cancel()
        assert not lost, sorted(lost)[:10]
    finally:
        for node in nodes:
            if node.process:
                node.process.kill()
                node.process.wait()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    numbers = [int(word) for word in sys.argv[3:5]] + [10_000, 500][len(sys.argv[3:5]) :]
    asyncio.run(measure(sys.argv[1], sys.argv[2], *numbers))
