"""Exit codes of all commands: 2 for wrong usage is click's own."""

DONE, FAILED, QUARANTINED, STOPPED, TERMINATED = 0, 1, 3, 130, 143
