"""The BitTorrent DHT (BEP 5), its rules: ids bound to addresses, tokens, and items that are kept for others.

What runs for every packet is compiled: ``librats._core.krpc`` reads messages, ``librats._core.routing`` knows nodes.
"""
