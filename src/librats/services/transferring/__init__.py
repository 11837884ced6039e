"""The transfer of files between peers: offers, both sides, and the FileChunk messages of librats 2."""
