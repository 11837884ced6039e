"""A laboratory of NATs: network namespaces joined by veth pairs, with the kernel's own NAT in between. Linux, root.

    host -- r1 [-- r2] -- inet -- server   203.0.113.10 + 198.51.100.10 + 2001:db8:10::10
    host2 -- 2r1 [-- 2r2] --'

Nothing leaves the namespaces: none of them has a way out. The last router's public address is 203.0.113.101; "open"
and "firewall" give the host 198.51.100.101 itself, "v6_only" gives it 2001:db8:1::11 and no IPv4, "dual_stack" both.
Further hosts behind routers of their own have the addresses that follow.

With one router that all share, whose public address is 203.0.113.100, the others have their public side in its network,
100.64.0.0/24, and hosts of the type "none" stand there themselves.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.netns.nat_rules import TYPES, Nat, chain_of, filter_rules, nat_rules

SERVER = ("203.0.113.10", "198.51.100.10")
SERVER6 = "2001:db8:10::10"
PUBLIC = "203.0.113.101"
FIRST_PUBLIC = 101
SHARED_PUBLIC = "203.0.113.100"
SHARED_LAN = "100.64.0.1"
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
        self.neighbours: list[str] = []
        self.rules = ""


class Lab:
    """Hosts, each behind routers of one type, and a server with two addresses.

    Args:
        nats: Name of the type for each host.
        lifetime: Seconds that the routers keep a mapping.
        delay: Seconds that a datagram takes between "inet" and a host's last router; nothing delays the server.
        loss: How many of them get lost there, in each direction: 0 to 1.
        shared: Name of the type of one router between "inet" and those of all hosts; empty where there is none.
    """

    def __init__(
        self, *nats: str, lifetime: int = 120, delay: float = 0.0, loss: float = 0.0, shared: str = ""
    ) -> None:
        self._chains = [chain_of(nat) for nat in nats]
        self._lifetime = lifetime
        self._delay, self._loss = delay, loss
        self._shared = TYPES[shared] if shared else None
        self._macs: list[str] = []
        self._wired: list[str] = []
        self._wire: subprocess.Popen[bytes] | None = None
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
        if self._delay or self._loss:
            self._box("wire").switches += ["net/ipv6/conf/default/disable_ipv6=1"]
        if self._shared is not None:
            self._plan_shared(self._shared)
        for number in range(len(self._chains)):
            self._plan_side(number)

    def _plan_out(self, router: str, end: str, addresses: Sequence[tuple[str, str]]) -> None:
        """Link a router with "inet", by the wire where there is one. Nobody there has to ask for the other's MAC.

        Args:
            router: Its box.
            end: What the interface of "inet" is called.
            addresses: IP addresses of the router, and of "inet" as it knows that.
        """
        if "wire" in self._boxes:
            self._wired.append(end)
            self._link(router, "wan", "wire", f"{end}a")
            self._link("inet", end, "wire", f"{end}b")
        else:
            self._link(router, "wan", "inet", end)
        number = len(self._macs) + 1
        here, there = f"02:00:00:00:01:{number:02x}", f"02:00:00:00:02:{number:02x}"
        self._macs.append(here)
        self._boxes[router].up.insert(1, f"link set dev wan address {here}")
        self._boxes["inet"].up.insert(1, f"link set dev {end} address {there}")
        for own, others in addresses:
            self._boxes[router].neighbours.append(f"{others} lladdr {there} dev wan nud permanent")
            self._boxes["inet"].neighbours.append(f"{own} lladdr {here} dev {end} nud permanent")

    def _plan_shared(self, nat: Nat) -> None:
        router, inet = self._box("shared", router=True), self._boxes["inet"]
        self._plan_out("shared", "outshared", [(SHARED_PUBLIC, GATEWAY)])
        router.up += ["link add lan type bridge", "link set dev lan up"]
        router.addresses += [f"{SHARED_PUBLIC}/32 dev wan", f"{SHARED_LAN}/24 dev lan"]
        router.routes += [f"{GATEWAY} dev wan src {SHARED_PUBLIC}", f"default via {GATEWAY} dev wan"]
        inet.routes.append(f"{SHARED_PUBLIC}/32 dev outshared")
        # What is bridged is not the router's business.
        router.switches.append("net/bridge/bridge-nf-call-iptables=0")
        router.rules += nat_rules(nat, SHARED_PUBLIC, self._lifetime) + filter_rules(nat)

    def _plan_side(self, side: int) -> None:
        host, chain = self._box(self.host(side)), self._chains[side]
        if not chain:
            self._join_shared(self.host(side), "eth0", side)
            host.addresses.append(f"{self._in_shared(side)}/24 dev eth0")
            host.routes.append(f"default via {SHARED_LAN}")
        inner, inner_end = self.host(side), "eth0"
        for number, nat in enumerate(chain, start=1):
            name = f"{side + 1 if side else ''}r{number}"
            router = self._box(name, router=True)
            self._link(inner, inner_end, name, "lan")
            if number < len(chain):
                wan = f"100.64.{number}.2"
                router.addresses.append(f"{wan}/24 dev wan")
                router.routes.append(f"default via 100.64.{number}.1 dev wan")
            elif self._shared is not None:
                wan = self._in_shared(side)
                self._join_shared(name, "wan", side)
                router.addresses.append(f"{wan}/24 dev wan")
                router.routes.append(f"default via {SHARED_LAN} dev wan")
            else:
                wan = self._plan_last(name, host, nat, side)
            if nat.kind == "nat":
                self._plan_nat(router, host, nat, wan, number)
            router.rules += filter_rules(nat)
            inner, inner_end = name, "wan"

    @staticmethod
    def _in_shared(side: int) -> str:
        return f"100.64.0.{11 + side}"

    def _join_shared(self, box: str, end: str, side: int) -> None:
        self._link(box, end, "shared", f"side{side}")
        self._boxes["shared"].up.append(f"link set dev side{side} master lan")

    def _plan_last(self, name: str, host: _Box, nat: Nat, side: int) -> str:
        """Plan the public side of a host's last router, and return its address."""
        inet, router, out = self._boxes["inet"], self._boxes[name], f"out{side}"
        public, public_host = f"203.0.113.{FIRST_PUBLIC + side}", f"198.51.100.{FIRST_PUBLIC + side}"
        known = [] if nat.kind == "no_ipv4" else [(public, GATEWAY)]
        if nat.ipv6:
            known.append(self._plan_ipv6(router, inet, host, side))
        self._plan_out(name, out, known)
        if nat.kind != "no_ipv4":
            router.addresses.append(f"{public}/32 dev wan")
            router.routes += [f"{GATEWAY} dev wan src {public}", f"default via {GATEWAY} dev wan"]
            inet.routes.append(f"{public}/32 dev {out}")
        if nat.kind in ("route", "firewall"):
            router.routes.append(f"{public_host}/32 dev lan")
            inet.routes.append(f"{public_host}/32 via {public} dev {out} onlink")
            host.addresses.append(f"{public_host}/32 dev eth0")
            host.routes += [f"{public} dev eth0 src {public_host}", f"default via {public} dev eth0 src {public_host}"]
        return public

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
    def _plan_ipv6(router: _Box, inet: _Box, host: _Box, side: int) -> tuple[str, str]:
        """Give a host an IPv6 network, and return the addresses of its router and of "inet" between the two."""
        here, there, lan = f"2001:db8:ff:{side}::2", f"2001:db8:ff:{side}::1", f"2001:db8:{side + 1}::"
        router.addresses += [f"{here}/64 dev wan nodad", f"{lan}1/64 dev lan nodad"]
        router.routes.append(f"default via {there} dev wan")
        inet.addresses.append(f"{there}/64 dev out{side} nodad")
        inet.routes.append(f"{lan}/64 via {here} dev out{side}")
        host.addresses.append(f"{lan}11/64 dev eth0 nodad")
        host.routes.append(f"default via {lan}1")
        return here, there

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
                neighbours = [f"neigh replace {line}" for line in box.neighbours]
                _run("ip", "\n".join([*box.up, *addresses, *routes, *neighbours]))
                if box.rules:
                    _run("nft", box.rules)
        if self._wired:
            self._start_wire()

    def _start_wire(self) -> None:
        settings = {"pairs": [[f"{end}a", f"{end}b"] for end in self._wired], "delay": self._delay, "loss": self._loss}
        program = [sys.executable, "-I", "-S", str(Path(__file__).with_name("wire.py")), json.dumps(settings)]
        with self.enter("wire"):
            self._wire = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._wire.stdout is None or self._wire.stdout.readline() != b"ready\n":
            raise RuntimeError("the wire does not carry anything")

    def _remove(self) -> None:
        if self._wire is not None:
            self._wire.kill()
            self._wire.communicate()
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
