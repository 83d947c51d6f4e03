"""Splits into training, validation and test samples.

`split.py` is the document split.json, `stratify.py` draws a split, `groups.py` finds samples that belong together,
`check.py` rejects a split that leaks, `choose.py` chooses the split of a run.
"""
