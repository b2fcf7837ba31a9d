"""Plays the parts of Kubernetes that the manifests rely on, with real processes and without containers.

What it reads is what a cluster would get: the rendered StatefulSets, Secrets and probes. Each replica is a process in a
network namespace of its own, with the command, arguments, environment and volumes as written; it is found by the name of
its pod, probed, restarted, drained by its preStop hook, and told to end.

What it cannot show: images, users and security contexts, scheduling, network policies, and storage that moves between
machines.
"""

import base64
import ctypes
import http.server
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import yaml

from network import Network

NAMESPACE = "iot"

# From <sys/prctl.h>.
PR_SET_PDEATHSIG = 1


class Kubelet:
    """A cluster with one namespace."""

    def __init__(self, documents, binary, directory):
        self.binary, self.directory = binary, directory
        self.sets = {it["metadata"]["name"]: it for it in documents if it["kind"] == "StatefulSet"}
        self.pods = {}
        self.lock = threading.RLock()
        self.events = []
        self.network = Network()
        self.hosts = os.path.join(directory, "hosts")
        self._publish_names()
        for secret in (it for it in documents if it["kind"] == "Secret"):
            for key, value in secret["data"].items():
                write(self.secret(secret["metadata"]["name"], key), base64.b64decode(value))
        self.account, self.api_port = self._serve_api()

    def secret(self, name, key=""):
        return os.path.join(self.directory, "secrets", name, key)

    # The StatefulSet controller.

    def apply(self):
        """Starts what the sets say, all pods at once."""
        for name in self.sets:
            self.scale(name, self.sets[name]["spec"].get("replicas", 1))

    def scale(self, name, replicas):
        """Sets the number of replicas; pods that are too many end before this returns, new ones start."""
        self.sets[name]["spec"]["replicas"] = replicas
        wanted = {f"{name}-{ordinal}" for ordinal in range(replicas)}
        mine = {pod.name for pod in self.pods.values() if pod.set == name}
        ending = [threading.Thread(target=self._end, args=(pod,)) for pod in sorted(mine - wanted, reverse=True)]
        for thread in ending:
            thread.start()
        for pod in sorted(wanted - mine):
            self._start(name, pod)
        for thread in ending:
            thread.join()

    def restart(self, name):
        """A rolling restart: one pod after the other, the last first, each ready for a while before the next."""
        spec = self.sets[name]["spec"]
        for ordinal in reversed(range(spec["replicas"])):
            pod = f"{name}-{ordinal}"
            self._end(pod)
            self._start(name, pod)
            self.wait(lambda: self.pods[pod].is_ready, f"{pod} is ready")
            time.sleep(spec.get("minReadySeconds", 0))

    def lose(self, pod):
        """The machine of a pod is gone, and another one takes its volume."""
        name = self.pods[pod].set
        self.pods[pod].kill()
        self._forget(pod)
        self._start(name, pod)

    def _start(self, name, pod):
        with self.lock:
            self.pods[pod] = Pod(self, name, pod)
            self._publish_names()
        self.pods[pod].start()

    def _end(self, pod):
        self.pods[pod].end()
        self._forget(pod)

    def _forget(self, pod):
        with self.lock:
            self.network.give_back(self.pods.pop(pod).place)
            self._publish_names()

    def _publish_names(self):
        lines = ["127.0.0.1 localhost"]
        for pod in self.pods.values():
            service = self.sets[pod.set]["spec"]["serviceName"]
            lines.append(f"{pod.address} {pod.name}.{service}.{NAMESPACE}.svc.cluster.local")
        # In place: the pods have it mounted.
        with open(self.hosts, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")

    # What tests ask.

    def endpoints(self):
        """The addresses of ready pods: the service."""
        with self.lock:
            return [pod.address for pod in self.pods.values() if pod.is_ready]

    def wait(self, condition, what, seconds=120):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time: {what}\n" + "\n".join(self.events[-40:]))
            time.sleep(0.2)

    def status(self):
        """What `rookery cluster status` says in one of the ready pods; None if none is."""
        for pod in list(self.pods.values()):
            if pod.is_ready:
                done = pod.execute(["rookery", "cluster", "status", "--format", "json", "--retry", "1"], 20)
                if done.stdout:
                    return json.loads(done.stdout)
        return None

    def note(self, text):
        self.events.append(f"{time.strftime('%H:%M:%S')} {text}")

    def close(self):
        for pod in list(self.pods.values()):
            pod.kill()
        self.network.close()

    # The API that pods ask about their set.

    def _serve_api(self):
        account = os.path.join(self.directory, "account")
        os.makedirs(account)
        certificate, key = os.path.join(account, "ca.crt"), os.path.join(account, "api.key")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=kubernetes", "-addext", f"subjectAltName=IP:{self.network.host}",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        write(os.path.join(account, "token"), b"the-token-of-the-account\n")
        kubelet = self

        class Api(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                found = re.fullmatch(f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/([a-z0-9-]+)", self.path)
                if self.headers["authorization"] != "Bearer the-token-of-the-account":
                    status, body = 401, {}
                elif found and found[1] in kubelet.sets:
                    status, body = 200, kubelet.sets[found[1]]
                else:
                    status, body = 404, {"kind": "Status"}
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer((self.network.host, 0), Api)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return account, server.server_port


class Pod:
    """One replica: a process that is kept running."""

    def __init__(self, kubelet, name_of_set, name):
        self.kubelet, self.set, self.name = kubelet, name_of_set, name
        self.place = kubelet.network.take()
        self.address = kubelet.network.addresses[self.place]
        self.spec = kubelet.sets[name_of_set]["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        self.mounts = {it["mountPath"]: self._volume(it["name"]) for it in self.container["volumeMounts"]}
        self.environment = self._environment()
        self.is_ready, self.ends, self.process = False, False, None

    def _volume(self, name):
        for volume in self.spec.get("volumes", []):
            if volume["name"] == name and "secret" in volume:
                return self.kubelet.secret(volume["secret"]["secretName"]).rstrip("/")
        claim = os.path.join(self.kubelet.directory, "volumes", f"{name}-{self.name}")
        os.makedirs(claim, exist_ok=True)
        return claim

    def _environment(self):
        fields = {"metadata.name": self.name, "metadata.namespace": NAMESPACE, "status.podIP": self.address}
        environment = {}
        for entry in self.container.get("env", []):
            value = entry.get("value")
            if value is None:
                value = fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            environment[entry["name"]] = self._here(value)
        environment["KUBERNETES_SERVICE_HOST"] = self.kubelet.network.host
        environment["KUBERNETES_SERVICE_PORT"] = str(self.kubelet.api_port)
        environment["ROOKERY_KUBERNETES_ACCOUNT"] = self.kubelet.account
        environment["PATH"] = os.environ["PATH"]
        return environment

    def _here(self, text):
        """Paths in the container are directories of this machine."""
        for path in sorted(self.mounts, key=len, reverse=True):
            text = text.replace(path, self.mounts[path])
        return text

    def _command(self, words):
        expanded = [re.sub(r"\$\((\w+)\)", lambda it: self.environment[it[1]], self._here(it)) for it in words]
        program = self.kubelet.binary if expanded[0] == "rookery" else expanded[0]
        mount = f'mount --bind {self.kubelet.hosts} /etc/hosts && exec "$@"'
        within = ["nsenter", f"--net=/run/netns/{self.kubelet.network.name(self.place)}", "unshare", "--mount"]
        return [*within, "sh", "-c", mount, "sh", program, *expanded[1:]]

    def start(self):
        self._spawn()
        threading.Thread(target=self._keep, daemon=True).start()

    def _spawn(self):
        log = open(os.path.join(self.kubelet.directory, f"{self.name}.log"), "ab")
        words = [*self.container["command"], *self.container["args"]]
        self.process = subprocess.Popen(
            self._command(words), env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=die_with_parent)
        log.close()
        self.kubelet.note(f"{self.name} started at {self.address}")

    def execute(self, words, seconds):
        """Runs a command in the pod."""
        return subprocess.run(
            self._command(words), env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=seconds, check=False)

    def _keep(self):
        """Probes and restarts the process until the pod ends."""
        startup = Probe(self, "startupProbe")
        liveness, readiness = Probe(self, "livenessProbe"), Probe(self, "readinessProbe")
        has_started = False
        while not self.ends:
            time.sleep(0.1)
            if self.process.poll() is not None and not self.ends:
                self.kubelet.note(f"{self.name} ended by itself ({self.process.returncode})")
                has_started, self.is_ready = False, False
                startup.reset()
                time.sleep(1)
                if not self.ends:
                    self._spawn()
                continue
            if not has_started:
                startup.look()
                has_started = startup.succeeds
                if startup.fails:
                    self._restart("did not start in time", startup)
                continue
            liveness.look()
            readiness.look()
            if liveness.fails:
                self._restart("is not alive", liveness)
            if self.is_ready != readiness.succeeds and not self.ends:
                self.is_ready = readiness.succeeds
                self.kubelet.note(f"{self.name} is {'ready' if self.is_ready else 'not ready: ' + readiness.answer}")
        self.is_ready = False

    def _restart(self, why, probe):
        self.kubelet.note(f"{self.name} {why}: {probe.answer}")
        probe.reset()
        self.process.kill()

    def end(self):
        """preStop, SIGTERM, and SIGKILL after the grace period."""
        deadline = time.monotonic() + self.spec["terminationGracePeriodSeconds"]
        # A pod that ends is no endpoint of its service any more.
        self.ends, self.is_ready = True, False
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if hook and self.process.poll() is None:
            done = self.execute(hook, deadline - time.monotonic())
            self.kubelet.note(f"{self.name} preStop ({done.returncode}): {done.stdout} {done.stderr}".rstrip())
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
            self.kubelet.note(f"{self.name} ended ({self.process.returncode})")
        except subprocess.TimeoutExpired:
            self.kubelet.note(f"{self.name} was KILLED after its grace period")
            self.process.kill()
            self.process.wait()

    def kill(self):
        self.ends, self.is_ready = True, False
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Probe:
    """An HTTP probe with the numbers of its manifest."""

    def __init__(self, pod, name):
        self.pod, self.probe = pod, pod.container[name]
        ports = {it["name"]: it["containerPort"] for it in pod.container["ports"]}
        get = self.probe["httpGet"]
        self.url = f"http://{pod.address}:{ports.get(get['port'], get['port'])}{get['path']}"
        self.reset()

    def reset(self):
        self.next, self.failures, self.succeeds, self.answer = time.monotonic(), 0, False, ""

    def look(self):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + self.probe.get("periodSeconds", 10)
        try:
            with urllib.request.urlopen(self.url, timeout=self.probe.get("timeoutSeconds", 1)):
                self.failures, self.succeeds, self.answer = 0, True, ""
        except urllib.error.HTTPError as error:
            self._failed(error.read().decode(errors="replace").replace("\n", "; "))
        except OSError as error:
            self._failed(str(error))

    def _failed(self, answer):
        self.failures, self.answer = self.failures + 1, answer
        if self.fails:
            self.succeeds = False

    @property
    def fails(self):
        return self.failures >= self.probe.get("failureThreshold", 3)


def die_with_parent():
    """However this program ends, it leaves no node running."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)


def render(chart, namespace, values):
    """The documents that Helm makes of the chart."""
    sets = [word for value in values for word in ("--set", value)]
    helm = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "helm")
    done = subprocess.run(
        [helm, "template", "rookery", chart, "--namespace", namespace, *sets], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return [it for it in yaml.safe_load_all(done.stdout) if it]
