"""Hosts on one machine: network namespaces with an address each, for what a pulled cable does."""
import os
import shutil
import subprocess

from support import Untried

NET = "10.79.0"


class Hosts:
    """`count` hosts, which go away with the `with` block. Needs root and iproute2."""

    def __init__(self, count, scratch, log):
        if os.geteuid() != 0 or not shutil.which("ip"):
            raise Untried("links are cut by root alone, with iproute2")
        self.count, self.log = count, log
        self.prefix = f"lsf{os.getpid() % 100000}"
        self.agent = scratch / "agent.sh"
        # What mpirun starts its helper on another host with: agent ADDRESS COMMAND...
        self.agent.write_text(f'#!/bin/sh\nk=${{1##*.}}; shift\nexec ip netns exec "{self.prefix}-$k" sh -c "$*"\n')
        self.agent.chmod(0o755)

    def ip(self, *words):
        if subprocess.run(["ip", *map(str, words)], stdout=self.log, stderr=self.log).returncode != 0:
            raise Untried(f"ip {' '.join(map(str, words))} is refused")

    def name(self, k):
        return f"{self.prefix}-{k}"

    def __enter__(self):
        switch = self.name("s")
        try:
            self.ip("netns", "add", switch)
            self.ip("-n", switch, "link", "add", "name", "hub", "type", "bridge")
            self.ip("-n", switch, "link", "set", "dev", "hub", "up")
            for k in range(1, self.count + 1):
                self.ip("netns", "add", self.name(k))
                self.ip("-n", switch, "link", "add", "name", f"p{k}", "type", "veth", "peer", "name", f"h{k}")
                self.ip("-n", switch, "link", "set", f"h{k}", "netns", self.name(k), "name", "eth0")
                self.ip("-n", switch, "link", "set", "dev", f"p{k}", "master", "hub", "up")
                self.ip("-n", self.name(k), "addr", "add", f"{NET}.{k}/24", "dev", "eth0")
                for device in ("eth0", "lo"):
                    self.ip("-n", self.name(k), "link", "set", device, "up")
        except Untried:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for k in [*range(1, self.count + 1), "s"]:
            subprocess.run(["ip", "netns", "del", self.name(k)], stdout=self.log, stderr=self.log)

    def launcher(self):
        """The words before those of mpirun's program: a process on each host, TCP between them."""
        listed = ",".join(f"{NET}.{k}:1" for k in range(1, self.count + 1))
        return ["ip", "netns", "exec", self.name(1), "mpirun", "--host", listed, "--mca", "plm_rsh_agent",
                str(self.agent), "--mca", "btl", "tcp,self", "--mca", "oob_tcp_if_include", f"{NET}.0/24",
                "--mca", "btl_tcp_if_include", f"{NET}.0/24"]

    def link(self, rank, state):
        """Pulls the cable of a rank's host ("down"), or puts it in again ("up")."""
        self.ip("-n", self.name(rank + 1), "link", "set", "dev", "eth0", state)
