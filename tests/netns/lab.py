"""A laboratory of NATs: network namespaces joined by veth pairs, with the kernel's own NAT in between. Linux, root.

    host -- r1 [-- r2] -- inet -- server   203.0.113.10 + 198.51.100.10 + 2001:db8:10::10
    host2 -- 2r1 [-- 2r2] --'

Nothing leaves the namespaces: none of them has a way out. The last router's public address is 203.0.113.101; "open" and
"firewall" give the host 198.51.100.101 itself, "v6_only" gives it 2001:db8:1::11 and no IPv4. Further hosts behind
routers of their own have the addresses that follow, but for those of IPv6.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.netns.nat_rules import Nat, chain_of, filter_rules, nat_rules

SERVER = ("203.0.113.10", "198.51.100.10")
SERVER6 = "2001:db8:10::10"
PUBLIC = "203.0.113.101"
FIRST_PUBLIC = 101
HOST6 = "2001:db8:1::11"
GATEWAY = "203.0.113.1"

CLONE_NEWNET = 0x40000000
NAMESPACES = Path("/run/netns")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def missing() -> str:
    """Return why there can be no laboratory here; empty where there can."""
    if sys.platform != "linux":
        return "not Linux"
    for tool in ("ip", "nft"):
        if shutil.which(tool, path=PATH) is None:
            return f"there is no {tool}(8)"
    if os.geteuid() != 0:
        return "not root"
    name = f"ratsprobe{os.getpid()}"
    done = subprocess.run([tool_path("ip"), "netns", "add", name], capture_output=True, check=False)
    if done.returncode:
        return "no permission to make network namespaces"
    rules = "table ip probe {\n chain c {\n type nat hook postrouting priority srcnat\n masquerade\n }\n}\n"
    try:
        with inside(name):
            done = subprocess.run([tool_path("nft"), "-f", "-"], input=rules.encode(), capture_output=True, check=False)
    finally:
        subprocess.run([tool_path("ip"), "netns", "del", name], check=True)
    return "this kernel has no NAT for namespaces" if done.returncode else ""


def end(process: subprocess.Popen[bytes]) -> None:
    """Let a program end as it does when its machine goes down, and end it where it does not."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tool_path(name: str) -> str:
    return shutil.which(name, path=PATH) or name


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let the calling thread be in a namespace: sockets and processes that it makes stay there."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class _Box:
    """One namespace, and what is to be done in it."""

    def __init__(self) -> None:
        self.switches = ["net/ipv6/conf/default/accept_dad=0", "net/ipv6/conf/default/dad_transmits=0"]
        self.up: list[str] = ["link set dev lo up"]
        self.addresses: list[str] = []
        self.routes: list[str] = []
        self.rules = ""


class Lab:
    """Hosts, each behind routers of one type, and a server with two addresses.

    Args:
        nats: Name of the type for each host.
        lifetime: Seconds that the routers keep a mapping.
    """

    def __init__(self, *nats: str, lifetime: int = 120) -> None:
        self._chains = [chain_of(nat) for nat in nats]
        self._lifetime = lifetime
        self._name = f"rats{os.getpid()}n{next(_numbers)}"
        self._boxes: dict[str, _Box] = {}
        self._links: list[str] = []

    @staticmethod
    def host(number: int) -> str:
        """Return the name of a host's box, counted from 0."""
        return "host" if number == 0 else f"host{number + 1}"

    def namespace(self, box: str) -> str:
        return f"{self._name}-{box}"

    def enter(self, box: str) -> contextlib.AbstractContextManager[None]:
        """Let the calling thread be in a box."""
        return inside(self.namespace(box))

    def socket(self, box: str, host: str, port: int = 0) -> socket.socket:
        """Make a UDP socket of this process in a box."""
        with self.enter(box):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((host, port))
        return sock

    def add_rules(self, box: str, rules: str) -> None:
        """Give the firewall of a box more rules, in the words of nft(8)."""
        with self.enter(box):
            _run("nft", rules)

    def readdress(self, box: str, old: str, new: str, gateway: str) -> None:
        """Give a host behind a NAT another address in its network: what it had open has to go on from there."""
        lines = f"addr del {old}/24 dev eth0\naddr add {new}/24 dev eth0\nroute replace default via {gateway}"
        with self.enter(box):
            _run("ip", lines)

    def __enter__(self) -> Lab:
        try:
            self._plan()
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._remove()

    def _box(self, name: str, *, router: bool = False) -> _Box:
        box = self._boxes[name] = _Box()
        if router:
            box.switches += ["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"]
        return box

    def _link(self, a: str, a_end: str, b: str, b_end: str) -> None:
        ends = f"{a_end} netns {self.namespace(a)} type veth peer name {b_end} netns {self.namespace(b)}"
        self._links.append(f"link add {ends}")
        self._boxes[a].up.append(f"link set dev {a_end} up")
        self._boxes[b].up.append(f"link set dev {b_end} up")

    def _plan(self) -> None:
        inet, server = self._box("inet", router=True), self._box("server")
        inet.rules = (
            "table ip guard {\n chain through {\n  type filter hook forward priority 0\n"
            "  ip saddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 } drop\n }\n}\n"
        )
        inet.addresses += [f"{GATEWAY}/32 dev lo", "2001:db8:10::1/64 dev srv nodad"]
        self._link("server", "eth0", "inet", "srv")
        server.addresses += [*(f"{address}/32 dev eth0" for address in SERVER), f"{SERVER6}/64 dev eth0 nodad"]
        server.routes += [
            f"{GATEWAY} dev eth0 src {SERVER[0]}",
            f"default via {GATEWAY} dev eth0 src {SERVER[0]}",
            "default via 2001:db8:10::1 dev eth0",
        ]
        inet.routes += [f"{address}/32 dev srv" for address in SERVER]
        for number in range(len(self._chains)):
            self._plan_side(number)

    def _plan_side(self, side: int) -> None:
        inet, host, chain = self._boxes["inet"], self._box(self.host(side)), self._chains[side]
        public, public_host = f"203.0.113.{FIRST_PUBLIC + side}", f"198.51.100.{FIRST_PUBLIC + side}"
        out = f"out{side}"
        inner, inner_end = self.host(side), "eth0"
        for number, nat in enumerate(chain, start=1):
            name, is_last = f"{side + 1 if side else ''}r{number}", number == len(chain)
            router = self._box(name, router=True)
            self._link(inner, inner_end, name, "lan")
            wan, gateway = (public, GATEWAY) if is_last else (f"100.64.{number}.2", f"100.64.{number}.1")
            if is_last:
                self._link(name, "wan", "inet", out)
            if nat.kind == "no_ipv4":
                self._plan_ipv6(router, inet, host, out)
            else:
                router.addresses.append(f"{wan}/{32 if is_last else 24} dev wan")
                router.routes += [f"{gateway} dev wan src {wan}"] if is_last else []
                router.routes.append(f"default via {gateway} dev wan")
                inet.routes += [f"{wan}/32 dev {out}"] if is_last else []
            if nat.kind in ("route", "firewall"):
                router.routes.append(f"{public_host}/32 dev lan")
                inet.routes.append(f"{public_host}/32 via {wan} dev {out} onlink")
                host.addresses.append(f"{public_host}/32 dev eth0")
                host.routes += [f"{wan} dev eth0 src {public_host}", f"default via {wan} dev eth0 src {public_host}"]
            elif nat.kind == "nat":
                self._plan_nat(router, host, nat, wan, number)
            router.rules += filter_rules(nat)
            inner, inner_end = name, "wan"

    def _plan_nat(self, router: _Box, host: _Box, nat: Nat, wan: str, number: int) -> None:
        lan = "192.168.1.1" if number == 1 else f"100.64.{number - 1}.1"
        router.addresses.append(f"{lan}/24 dev lan")
        router.rules += nat_rules(nat, wan, self._lifetime)
        router.switches += [
            f"net/netfilter/nf_conntrack_udp_timeout={self._lifetime}",
            f"net/netfilter/nf_conntrack_udp_timeout_stream={self._lifetime}",
        ]
        if number == 1:
            host.addresses.append("192.168.1.11/24 dev eth0")
            host.routes.append("default via 192.168.1.1")

    @staticmethod
    def _plan_ipv6(router: _Box, inet: _Box, host: _Box, out: str) -> None:
        router.addresses += ["2001:db8:ff::2/64 dev wan nodad", "2001:db8:1::1/64 dev lan nodad"]
        router.routes.append("default via 2001:db8:ff::1 dev wan")
        inet.addresses.append(f"2001:db8:ff::1/64 dev {out} nodad")
        inet.routes.append(f"2001:db8:1::/64 via 2001:db8:ff::2 dev {out}")
        host.addresses.append(f"{HOST6}/64 dev eth0 nodad")
        host.routes.append("default via 2001:db8:1::1 dev eth0")

    def _build(self) -> None:
        _run("ip", "\n".join(f"netns add {self.namespace(name)}" for name in self._boxes))
        for name, box in self._boxes.items():
            with self.enter(name):  # before there are interfaces, which copy the defaults
                for switch in box.switches:
                    path, _, value = switch.partition("=")
                    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                        Path("/proc/sys", path).write_text(value, encoding="ascii")
        _run("ip", "\n".join(self._links))
        for name, box in self._boxes.items():
            with self.enter(name):
                addresses = [f"addr add {line}" for line in box.addresses]
                routes = [f"route add {line}" for line in box.routes]
                _run("ip", "\n".join([*box.up, *addresses, *routes]))
                if box.rules:
                    _run("nft", box.rules)

    def _remove(self) -> None:
        there = [self.namespace(name) for name in self._boxes if (NAMESPACES / self.namespace(name)).exists()]
        if there:
            _run("ip", "\n".join(f"netns del {name}" for name in there))


def _run(tool: str, lines: str) -> None:
    arguments = ["-batch", "-"] if tool == "ip" else ["-f", "-"]
    done = subprocess.run(
        [tool_path(tool), *arguments], input=lines + "\n", text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{tool}: {done.stderr.strip()[:2000]}\n{lines[:2000]}")
