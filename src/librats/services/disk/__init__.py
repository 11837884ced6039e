"""Files on the disk: folders that are held open, what is read from them, and what is written until it is whole."""
