"""``librats relay``: a STUN and TURN server."""
