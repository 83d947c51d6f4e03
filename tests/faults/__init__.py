"""The fault campaign: each module or package with a METHOD injects one kind of fault and counts the survived trials.

`python -m tests.faults` runs them; `docs/reliability.md` has the table and says how to add a method.
"""
