"""One file per metric, found by its file name; each defines `METRIC`, a `trainer.evaluation.metric.Metric`."""
