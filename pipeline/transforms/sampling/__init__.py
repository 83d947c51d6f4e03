"""Sampling of clips: how a clip's frames become the `depth` frames of a sample, one method a file.

Each module defines `SAMPLING`, a `pipeline.transforms.frames.Sampling`. It is the choice of `--sampling`.
"""
