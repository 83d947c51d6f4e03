"""One command a file; each defines `COMMAND`, and is found by its file name."""
