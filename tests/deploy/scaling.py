"""Scales, restarts and loses nodes as an operator of the chart would, while devices publish.

    python scaling.py BINARY CHART DIRECTORY [--full]
"""

import json
import sys

from fleet import Device, stored
from kubelet import NAMESPACE, Kubelet, render
from network import is_possible

PASSWORD = "Correct-Horse-Battery-9"


def main(binary, chart, directory, full):
    reason = is_possible()
    if reason:
        print(f"not checked, because network namespaces cannot be made here: {reason}")
        return
    rounds, edge, count = (2, 4, 40) if full else (1, 2, 10)
    documents = render(chart, NAMESPACE, ["drain.sessionsPerSecond=100"])
    kubelet = Kubelet(documents, binary, directory)
    try:
        kubelet.apply()
        has_roles(kubelet, voters=3, learners=0)
        devices = make_devices(kubelet, count)
        for device in devices:
            device.start()
        kubelet.wait(lambda: all(it.acknowledged > 0 for it in devices), "all devices publish")
        for _ in range(rounds):
            step(kubelet, devices, "rookery", 5, voters=5, learners=0)
            step(kubelet, devices, "rookery", 3, voters=3, learners=0)
            step(kubelet, devices, "rookery-edge", edge, voters=3, learners=edge)
            step(kubelet, devices, "rookery-edge", 0, voters=3, learners=0)
        print("a machine is lost")
        kubelet.lose("rookery-1")
        has_roles(kubelet, voters=3, learners=0)
        goes_on(kubelet, devices)
        if full:
            print("rolling restart")
            kubelet.restart("rookery")
            has_roles(kubelet, voters=3, learners=0)
            goes_on(kubelet, devices)
        nothing_is_lost(kubelet, devices)
        killed = [event for event in kubelet.events if "KILLED" in event or "is not alive" in event]
        assert not killed, killed
        print(f"{sum(it.acknowledged for it in devices)} acknowledged, {sum(it.connects for it in devices)} connects")
    finally:
        print("\n".join(kubelet.events))
        kubelet.close()


def step(kubelet, devices, name, replicas, voters, learners):
    print(f"{name}: {replicas} replicas")
    kubelet.scale(name, replicas)
    has_roles(kubelet, voters, learners)
    goes_on(kubelet, devices)


def has_roles(kubelet, voters, learners):
    """All pods are ready, and the cluster has so many nodes of each kind and no other, all of which serve."""

    def has():
        if not all(pod.is_ready for pod in list(kubelet.pods.values())):
            return False
        status = kubelet.status()
        nodes = status["nodes"] if status else []
        roles = sorted(node["role"] for node in nodes)
        serve = all(node["state"] in ("leader", "follower", "learner") for node in nodes)
        return serve and roles == ["learner"] * learners + ["voter"] * voters

    kubelet.wait(has, f"{voters} voters and {learners} learners")


def goes_on(kubelet, devices):
    """Every device has something acknowledged from now on."""
    before = [device.acknowledged for device in devices]
    kubelet.wait(lambda: all(it.acknowledged > was for it, was in zip(devices, before)), "all devices publish")


def nothing_is_lost(kubelet, devices):
    for device in devices:
        device.stops = True
    for device in devices:
        device.join(30)
    registry, authority = devices[0].registry, devices[0].authority
    for pod in list(kubelet.pods.values()):
        seen = stored(registry, PASSWORD, devices, pod.address, authority)
        for device in devices:
            at_least = device.acknowledged
            assert seen.get(device.identifier, 0) >= at_least, (pod.name, device.identifier, seen, at_least)

    def equal():
        hashes = [json.dumps(node.get("state_hash")) for node in kubelet.status()["nodes"]]
        return len(set(hashes)) == 1 and hashes[0] != "null"

    kubelet.wait(equal, "equal states")


def make_devices(kubelet, count):
    pod = kubelet.pods["rookery-0"]

    def rookery(*words):
        done = pod.execute(["rookery", *words, "--format", "json"], 30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    registry = rookery("registry", "create", "plant", "--password", PASSWORD)["id"]
    authority = kubelet.secret("rookery-tls", "ca.crt")
    devices = []
    for number in range(count):
        made = rookery("device", "create", f"d{number}", "--registry-id", registry, "--password", PASSWORD)
        device = Device(made["id"], PASSWORD, kubelet, authority, pause=0.05)
        device.registry = registry
        devices.append(device)
    return devices


if __name__ == "__main__":
    main(*sys.argv[1:4], full="--full" in sys.argv)
