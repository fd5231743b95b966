"""How a script becomes the text of a test."""
