"""Synapse in a tenth of the time: a parent that has imported it, and forks each homeserver from itself."""
