"""The reset tool: for development only. It uses the bot's settings and the bot's Matrix client, nothing else.

A run is survey -> plan -> confirm -> act -> verify. `run` holds the order. `local` and `rooms` survey and return the
steps of `plan`. `act` writes to the server. `summary` puts the steps into words.
"""
