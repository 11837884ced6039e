"""The parts of a client of BitTorrent: connections, trackers, files, and what is kept between runs."""
