"""STUN (RFC 8489): numbers of the protocol, credentials; messages are read and written by ``librats._core.stun``."""
