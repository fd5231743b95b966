"""Building our own images, also where no registry answers: the homeserver's, the bot's, and PostgreSQL's."""
