"""Errors of training and evaluation. The message is one line: the problem, the expected input, and a remedy."""


class TrainerError(Exception):
    """Training, evaluation or prediction is not possible as requested."""
