"""What a room is: its identity on the server, its row in the database, and the rules that bring both together."""
