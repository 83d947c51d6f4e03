"""Where tasks run: one executor a file, each with an `EXECUTOR` (see `pipeline.workers.executor`)."""
