"""Executes a page of docs/operations as it is written.

    python guide.py BINARY DIRECTORY HOST PAGE

HOST is the beginning of a loopback address, `127.A.B`: machine `nX` has HOST.X. A page's blocks of commands are
executed in its order, after those of install.md:

    ```sh                on n1
    ```sh on n2 n3       on each of these
    ```sh fails          must fail; what the next block ```text has, line by line, must be in the output
    ```text              must be in the output of the block before
    ```text file         is not executed: what a file holds
"""

import os
import pathlib
import re
import subprocess
import sys

STAND_INS = {
    # Starts and ends a node as rookery.service does. Words as those of systemd, as far as the pages use them.
    "systemctl": r"""
pid() { cat "$MACHINE/pid" 2> /dev/null && kill -0 "$(cat "$MACHINE/pid")" 2> /dev/null; }
start() {
    if pid > /dev/null; then return; fi
    mkdir -p "$MACHINE/var"
    setsid rookery serve --config "$MACHINE/etc/rookery.toml" >> "$MACHINE/log" 2>&1 < /dev/null &
    echo $! > "$MACHINE/pid"
}
end() {
    if ! pid > /dev/null; then return; fi
    kill -s "$1" "$(cat "$MACHINE/pid")"
    while pid > /dev/null; do sleep 0.1; done
}
case "$*" in
    "enable --now rookery" | "start rookery") start ;;
    "stop rookery") end TERM ;;
    "restart rookery") end TERM; start ;;
    "kill -s KILL rookery") end KILL ;;
    *) echo "systemctl $*: not understood" >&2; exit 1 ;;
esac
""",
    "journalctl": 'cat "$MACHINE/log"',
    "hostname": 'if [ "${1:-}" = -f ]; then echo "$ADDRESS"; else echo "$NODE"; fi',
    # To /etc/rookery of another machine.
    "scp": r"""
words=("$@"); last="${words[-1]}"; unset 'words[-1]'
target="${last%%:*}"; mkdir -p "$MACHINES/$target/etc"
cp "${words[@]}" "$MACHINES/$target/etc/"
# Paths name the machine here.
sed -i "s|$MACHINES/$NODE/|$MACHINES/$target/|g" "$MACHINES/$target/etc/"*.toml 2> /dev/null || true
""",
    "curl": r"""
import sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[-1], timeout=5) as answer:
        print(answer.read().decode())
except OSError:
    sys.exit(22)
""",
}


class Page:
    def __init__(self, path):
        self.path = path
        text = path.read_text()
        self.blocks = re.findall(r"^```(sh|text)([^\n]*)\n(.*?)^```$", text, re.M | re.S)
        assert self.blocks, f"{path} has no blocks"
        for (kind, words, content), (next_kind, next_words, _) in zip(self.blocks, self.blocks[1:] + [("", "", "")]):
            # A block may fail for another reason than the one that it is there for.
            assert words.strip() != "fails" or (next_kind, next_words) == ("text", ""), f"{path} does not say how it fails: {content}"
        assert text.count("\n```") == 2 * len(self.blocks), f"{path} has blocks that are neither sh nor text"


class Machines:
    def __init__(self, binary, directory, host):
        self.directory, self.host = pathlib.Path(directory), host
        self.programs = self.directory / "bin"
        self.programs.mkdir()
        (self.programs / "rookery").symlink_to(pathlib.Path(binary).resolve())
        for name, code in STAND_INS.items():
            shell = f"#!{sys.executable}" if name == "curl" else "#!/usr/bin/env bash\nset -euo pipefail"
            (self.programs / name).write_text(f"{shell}\n{code}\n")
            (self.programs / name).chmod(0o755)
        self.output = ""

    def run(self, page):
        for kind, words, content in page.blocks:
            words = words.split()
            if kind == "text":
                if words != ["file"]:
                    for line in content.splitlines():
                        assert line in self.output, f"{page.path}: the output has no {line!r}:\n{self.output}"
                continue
            nodes = words[1:] if words[:1] == ["on"] else ["n1"]
            for node in nodes:
                self.execute(page, node, content, fails=words == ["fails"])

    def execute(self, page, node, script, fails):
        machine, address = self.directory / node, f"{self.host}.{node[1:]}"
        (machine / "etc").mkdir(parents=True, exist_ok=True)
        written = script
        script = re.sub(r"\bn([1-9]):(?=\d)", rf"{self.host}.\1:", script)
        script = script.replace("/var/lib/rookery", f"{machine}/var").replace("/etc/rookery", f"{machine}/etc")
        script = script.replace("127.0.0.1:", f"{address}:")
        listeners = {"MQTTS": 8883, "API": 8443, "OPS": 8080, "PEER": 8550}
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "NODE": node,
            "ADDRESS": address,
            "MACHINE": str(machine),
            "MACHINES": str(self.directory),
            "ROOKERY_ENDPOINT": f"{address}:8443",
            "ROOKERY_MQTT_ADDRESS": f"{address}:8883",
            "ROOKERY_TOKEN_FILE": f"{machine}/etc/admin.token",
            "ROOKERY_CA_FILE": f"{machine}/etc/ca.crt",
            "ROOKERY_TLS_NAME": "mqtt.example.com",
        }
        environment |= {f"ROOKERY_LISTEN__{name}": f"{address}:{port}" for name, port in listeners.items()}
        shell = ["timeout", "-k", "5", "120", "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            shell, env=environment, cwd=machine, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.output = done.stdout
        told = f"{page.path}, on {node}:\n{written}\n-- ended with {done.returncode}:\n{done.stdout}"
        print(told)
        assert (done.returncode != 0) == fails and done.returncode not in (124, 137), told

    def end(self):
        for file in self.directory.glob("n*/pid"):
            environment = os.environ | {"MACHINE": str(file.parent)}
            subprocess.run([self.programs / "systemctl", "kill", "-s", "KILL", "rookery"], env=environment, check=False)
        for file in sorted(self.directory.glob("n*/log")):
            print(f"== {file}\n" + "\n".join(file.read_text().splitlines()[-40:]))


def main(binary, directory, host, name):
    pages = pathlib.Path(__file__).parents[2] / "docs/operations"
    machines = Machines(binary, directory, host)
    try:
        machines.run(Page(pages / "install.md"))
        if name != "install":
            machines.run(Page(pages / f"{name}.md"))
    finally:
        machines.end()


if __name__ == "__main__":
    main(*sys.argv[1:5])
