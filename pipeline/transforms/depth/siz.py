"""Spline-interpolated zoom along the body, as along the other axes (SIZ; ViPTT-Net §2.2)."""

from pipeline.transforms.spline import spline_weights

DEPTH = spline_weights
