"""See the bot: what runs, its log, the wire, its drift."""
