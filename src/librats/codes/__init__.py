"""Codes: a number under which two meet, and two words that prove to each other who was meant.

Nothing here touches the network, a clock or randomness.
"""
