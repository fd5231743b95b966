"""The reset tool: for development only. Imports of the bot just its settings and its Matrix client.

A run is survey -> plan -> confirm -> act -> verify: :mod:`reset.local` and :mod:`reset.rooms` survey, :mod:`reset.plan`
is what they return, :mod:`reset.run` holds the order, :mod:`reset.act` writes to the server, and
:mod:`reset.summary` says only what a second look confirmed.
"""
