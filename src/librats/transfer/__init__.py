"""Transfer of files, its rules: names that stay below a folder, trees of hashes, and what an offer says.

Nothing here touches a disk, a clock or the network.
"""
