"""From a cache to a trained model and its report: batches, model, training, metrics. Reads no format but the cache."""
