"""Depth selection of CT: how a scan's slices become the `depth` slices of a sample, one file per method.

Each module defines `DEPTH`, a function `(n_in, n_out, order, mode) -> weights`: float64 (n_out, n_in), the weight of
each slice of the scan (from Inferior to Superior) in each slice of the sample. `--depth-method` chooses one.
"""
