"""The parts of introductions: their ends and letters, meetings by number, and sessions that are carried."""
