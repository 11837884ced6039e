"""Peers that are reached with the help of others: ICE, carried beginnings, and sessions that need another way."""
