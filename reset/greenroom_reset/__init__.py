"""The reset tool: for development only. It uses the bot's settings and the bot's Matrix client, nothing else.

A run is survey -> plan -> confirm -> act -> verify. `local` and `rooms` survey, `plan` is what they return, `run` holds
the order, `act` writes to the server, and `summary` says only what a second look confirmed.
"""
