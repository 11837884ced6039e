"""Holes that clients punch: for peers that were introduced, at an agreed time, and among librats 2 nodes."""
