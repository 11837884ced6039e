"""Finding peers: on the local network, by topic, by their id, and by ticket; and being found."""
