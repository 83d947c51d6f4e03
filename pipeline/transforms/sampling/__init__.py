"""Sampling of clips: how a clip's frames become the `depth` frames of a sample, one file per method.

Each module defines `SAMPLING`, a `pipeline.transforms.frames.Sampling`. `--sampling` chooses one.
"""
