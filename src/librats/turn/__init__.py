"""TURN (RFC 8656): datagrams and connections relayed by a server, as pure machines."""
