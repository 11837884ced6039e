"""The parts of the DHT's driver: its socket, its way in, and a node at each of several addresses."""
