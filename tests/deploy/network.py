"""A network for pods: each in a network namespace of its own, all on one bridge that this process is on, too."""

import ipaddress
import os
import subprocess

PLACES = 14


class Network:
    """Namespaces with their bridge; `close` deletes them."""

    def __init__(self):
        # 198.18.0.0/15 is reserved for tests of networks. The other suites use it too, but not at the same time.
        base = ipaddress.ip_address("198.19.0.0") + (os.getpid() * 37 % 2048) * 32
        self.addresses = [str(base + 1 + place) for place in range(PLACES)]
        self.host = str(base + 30)
        self.bridge = f"rkd{os.getpid()}"
        self.free = list(range(PLACES))
        delete_leftovers()
        ip(f"link add {self.bridge} type bridge")
        ip(f"addr add {self.host}/27 dev {self.bridge}")
        ip(f"link set {self.bridge} up")
        for place in range(PLACES):
            port = f"rke{os.getpid()}-{place}"
            ip(f"netns add {self.name(place)}")
            ip(f"link add {port} type veth peer name eth0 netns {self.name(place)}")
            ip(f"link set {port} master {self.bridge} up")
            ip(f"-n {self.name(place)} addr add {self.addresses[place]}/27 dev eth0")
            ip(f"-n {self.name(place)} link set eth0 up")
            ip(f"-n {self.name(place)} link set lo up")

    def take(self):
        """A place that has been free for longest: a pod that comes back has another address."""
        return self.free.pop(0)

    def give_back(self, place):
        self.free.append(place)

    @staticmethod
    def name(place):
        return f"rookery-{os.getpid()}-d-{place}"

    def close(self):
        for place in range(PLACES):
            ip(f"netns delete {self.name(place)}", check=False)
        ip(f"link delete {self.bridge}", check=False)


def delete_leftovers():
    """What runs have left that were killed."""
    listed = ip("netns list").split("\n")
    for name in [line.split(" ")[0] for line in listed if line.startswith("rookery-")]:
        parts = name.split("-")
        if len(parts) == 4 and parts[2] == "d" and not os.path.exists(f"/proc/{parts[1]}"):
            ip(f"netns delete {name}", check=False)
            ip(f"link delete rkd{parts[1]}", check=False)


def ip(arguments, check=True):
    done = subprocess.run(["ip", *arguments.split(" ")], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise OSError(f"ip {arguments}: {done.stderr.strip()}")
    return done.stdout


def is_possible():
    """Whether this machine lets us make namespaces; the reason why not otherwise."""
    try:
        ip("netns add rookery-probe-d")
        ip("netns delete rookery-probe-d")
        return None
    except OSError as error:
        return str(error)
