"""The server's half of TURN (RFC 8656), without sockets: requests in, answers and changes of tables out."""
