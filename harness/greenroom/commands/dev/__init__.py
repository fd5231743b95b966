"""`dev`: one homeserver, seeded people and rooms, and one bot per checkout, kept in `.greenroom/`."""
