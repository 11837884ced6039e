"""ICE (RFC 8445): which way leads from one peer to another. Pure machines; the driver is ``librats.services.ice``."""
