"""One file per command; each defines `COMMAND` and is found by its file name."""
