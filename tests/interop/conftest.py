"""Tests with programs of others are left out where these are not installed; `.ci/run` installs them."""

from __future__ import annotations

import importlib.util
import shutil

from tests.interop.coturn import TURNSERVER
from tests.interop.nice_peer import LIBNICE
from tests.interop.opentracker import OPENTRACKER
from tests.interop.redis_server import REDIS

NEEDED = {
    "test_coturn.py": TURNSERVER,
    "test_relay_fleet.py": REDIS,
    "test_relay_uclient.py": shutil.which("turnutils_uclient"),
    "test_relay_aioice.py": importlib.util.find_spec("aioice"),
    "test_ice_aioice.py": importlib.util.find_spec("aioice"),
    "test_ice_libnice.py": LIBNICE,
    "test_ice_race.py": importlib.util.find_spec("aioice"),
    "test_dht_libtorrent.py": importlib.util.find_spec("libtorrent"),
    "test_dht_addresses_libtorrent.py": importlib.util.find_spec("libtorrent"),
    "test_torrent_opentracker.py": OPENTRACKER,
    "test_utp_libtorrent.py": importlib.util.find_spec("libtorrent"),
    "test_relay_aiortc.py": importlib.util.find_spec("aiortc"),
}

collect_ignore = [name for name, found in NEEDED.items() if not found]
