"""The parts of introductions: their ends and letters, meetings by number and by code, and sessions that are carried."""
