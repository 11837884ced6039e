"""Dialling a peer: which ways a strategy allows, the race between them, and the account of each attempt."""
