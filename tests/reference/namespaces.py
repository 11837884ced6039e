"""A network namespace with several addresses, and a link on which nobody answers.

Datagrams to a neighbour that does not answer wait for its link address in the kernel, and fill the send buffer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

__all__ = ["in_namespace", "why_no_namespace"]

SETUP = """
ip link set lo up
ip address add 10.99.0.7/32 dev lo
ip address add fd00::1/128 dev lo
ip address add fd00::2/128 dev lo
ip link add left type veth peer name right
ip address add 10.99.0.1/24 dev left
ip address add fd01::1/64 dev left nodad
ip link set left mtu 1500 up
ip link set right up
exec "$0" "$@"
"""


def in_namespace(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-ec", SETUP, *command],  # noqa: S607 - wherever it is
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def why_no_namespace() -> str:
    """Return why none can be had; empty where one can."""
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("ip")):
        return "needs Linux, unshare and ip"
    return "network namespaces are not allowed here" if in_namespace("true").returncode else ""
