"""Break it: the buttons and switches, and the test that repeats what was done."""
