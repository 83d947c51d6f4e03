"""The jobs on a cache: preprocess, relabel, repair, remove. Each decides in `prepare`, without writing, then acts."""
