"""The ports that one gateway maps, by each protocol."""
