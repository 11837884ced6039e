"""The links of one peer: which are one session, which of them is in use, and when it goes over to another."""
