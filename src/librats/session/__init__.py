"""The session between two peers, as pure machines: handshake, frames, streams, requests and flow control."""
