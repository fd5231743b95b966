"""`run`: any program with a throwaway homeserver."""
