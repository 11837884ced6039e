"""How one identity follows another."""
