"""What can go wrong in training; the message is one line: what was given, what was expected, what to do."""


class TrainerError(Exception):
    """Training, evaluation or prediction cannot do what was asked."""
