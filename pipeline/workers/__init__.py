"""Running tasks: executors, and how many workers fit into this machine."""
