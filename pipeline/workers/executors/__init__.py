"""The places where tasks run: one file per executor, each with an `EXECUTOR` (see `pipeline.workers.executor`)."""
