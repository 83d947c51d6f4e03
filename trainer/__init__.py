"""From a cache to a trained model and its report: batches, model, training, metrics. Knows no format but the cache."""
