"""What network a host is on, and what that means: what was seen, the findings, the picture. Pure."""
