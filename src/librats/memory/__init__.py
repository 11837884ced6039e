"""What a client knows beyond its own end: its data directory, the peer book, and lost peers dialled again."""
