"""The jobs on a cache: preprocess, relabel, repair, remove. `prepare` plans and writes nothing; `run` acts."""
