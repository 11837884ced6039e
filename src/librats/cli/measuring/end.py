"""One end of a measurement, in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from librats import Identity, RatsClient, RatsConfig
from librats.config import SessionConfig
from librats.errors import UsageError

__all__ = ["LOOPBACK", "End", "client_of", "main", "run_on"]

LOOPBACK = "127.0.0.1"


class End:
    """What the function of an end is given.

    Args:
        options: What the measurement is about.
        port: The port of the other end, or None on the side that listens.
    """

    def __init__(self, options: dict[str, Any], port: int | None) -> None:
        self.options = options
        self._port = port
        self._began = (0.0, 0.0)
        self._has_told = False
        self.told: dict[str, Any] = {}
        """What is written at the end."""

    @property
    def port(self) -> int:
        """Where the other end listens."""
        if self._port is None:
            raise UsageError("this end was given no port")
        return self._port

    def number(self, name: str) -> int:
        """Return an option that is a number."""
        return int(self.options[name])

    @property
    def way(self) -> dict[str, Any]:
        """What :func:`client_of` is to be told of the way that sessions go.

        That is TCP, where the option ``transport`` names nothing else, and packets as long as the way carries, where
        the option ``packet`` names no length.
        """
        packet = self.options.get("packet")
        return {"transports": (self.options.get("transport", "tcp"),)} | ({"max_packet": packet} if packet else {})

    def announce(self, port: int) -> None:
        """Tell where this end listens."""
        print(json.dumps({"port": port}), flush=True)

    def tell(self) -> None:
        """Write what there is to tell, once."""
        if not self._has_told:
            self._has_told = True
            print(json.dumps(self.told), flush=True)

    async def dismissed(self) -> None:
        """Wait until whoever started this process ends it."""
        await asyncio.Event().wait()

    def start(self) -> None:
        """Start the measured part; what was allocated before is not looked at by the garbage collector in it."""
        gc.collect()
        gc.freeze()
        self._began = (time.perf_counter(), time.process_time())

    def finish(self) -> None:
        """End the measured part."""
        seconds, cpu = time.perf_counter(), time.process_time()
        self.told |= {"seconds": seconds - self._began[0], "cpu_seconds": cpu - self._began[1]}


def client_of(
    *,
    max_peers: int = 256,
    session: SessionConfig | None = None,
    transports: tuple[str, ...] = ("tcp",),
    **settings: Any,
) -> RatsClient:
    """Return a client as the measurements use it: on loopback, with keys that nobody keeps."""
    config = RatsConfig(
        listen_host=LOOPBACK,
        max_peers=max_peers,
        session=session or SessionConfig(),
        transports=transports,
        **settings,
    )
    return RatsClient(config=config, identity=Identity.generate())


def run_on(loop: str, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the event loop of that name: ``asyncio`` or ``uvloop``."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if loop != "asyncio":
        factory = importlib.import_module(loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


def main(function: str, options: str, port: str | None = None) -> None:
    """Run an end and write what it has to tell; the process ends with its standard input, whatever it is doing."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    module, _, name = function.partition(":")
    act = getattr(importlib.import_module(module), name)
    end = End(json.loads(options), None if port is None else int(port))
    if inspect.iscoroutinefunction(act):
        run_on(end.options.get("loop", "asyncio"), act(end))
    else:
        act(end)
    end.tell()


def _end_with_input() -> None:
    # Not through sys.stdin, whose lock a thread may not hold while the interpreter ends.
    while os.read(0, 1024):
        continue
    os._exit(0)
