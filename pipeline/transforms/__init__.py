"""From raw slices or frames to a sample: one file per transform. `ct` and `video` combine them.

CT: `window`, then `zoom` (with a method of `depth` along the body) and `orientation`; `original` is the authors' code.
Clips: a method of `sampling` chooses `frames`, which are made gray and resized.
"""
