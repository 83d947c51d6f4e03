"""One metric a file, found by its name: `METRIC`, a `trainer.evaluation.metric.Metric`."""
