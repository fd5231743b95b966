"""matrix-nio made reliable: client, sync, session, retries, encryption, and the errors of the wire."""
