"""Peer-to-peer networking for Python."""
