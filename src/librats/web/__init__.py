"""What passes where only the web does: WebSockets, and tunnels through HTTP proxies. Pure."""
