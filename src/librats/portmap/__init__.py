"""Port mapping: PCP (RFC 6887) and NAT-PMP (RFC 6886), without a socket."""
