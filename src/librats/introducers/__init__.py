"""A client's sessions with introducers: dialled, kept, found through others, and announced in the DHT."""
