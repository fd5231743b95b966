"""What a bot is configured with: variables, and files in which they are filled in."""
