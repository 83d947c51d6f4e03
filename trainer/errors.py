"""Errors of training and evaluation. The message is one line: what was given, what was expected, what to do."""


class TrainerError(Exception):
    """Training, evaluation or prediction is not possible as requested."""
