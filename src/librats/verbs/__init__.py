"""The client's verbs, a file for each kind."""
