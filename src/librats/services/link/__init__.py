"""The parts of a link, which is the driver of a session: its beginning, its paths, its verbs, its end."""
