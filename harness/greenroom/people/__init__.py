"""People who act on a homeserver: accounts, clients, and what they have seen."""
