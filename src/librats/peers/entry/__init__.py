"""Who may come in: lists, limits, handshakes under way, and who is waited for."""
