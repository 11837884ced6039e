"""Drivers: what moves bytes and events between the protocols and the network."""
