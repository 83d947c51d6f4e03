"""Checks of samples: `limits` has the limits as one table, `measure` the figures, `ct` and `video` compare them.

`findings` collects the flags and notes of all samples of a cache.
"""
