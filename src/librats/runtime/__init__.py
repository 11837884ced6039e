"""The machine under librats: sockets, threads, random values and network interfaces."""
