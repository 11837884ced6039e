"""Finding peers: on the local network, by topic, by their id, by ticket and by code; and being found."""
