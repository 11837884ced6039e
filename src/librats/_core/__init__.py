"""Compiled hot paths: authenticated encryption, session framing, STUN messages."""

try:
    from librats._core import aead, framing, messages, stun, symmetric, unframing
except ImportError as error:
    raise ImportError(
        "librats is not compiled. Its hot paths are Cython modules: install a wheel (`pip install librats`), or build "
        "this checkout with `pip install .`. If you are running Python inside the `src` folder of a checkout, leave "
        f"it: the uncompiled sources there shadow the installed package. ({error})"
    ) from error

__all__ = ["aead", "framing", "messages", "stun", "symmetric", "unframing"]
