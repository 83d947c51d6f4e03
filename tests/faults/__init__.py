"""The fault campaign: each module with a METHOD injects one kind of fault and counts what survives it.

`python -m tests.faults` runs them; `docs/reliability.md` has the table and says how to add a method.
"""
