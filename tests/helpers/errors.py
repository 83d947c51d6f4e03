"""The message of an error that a call must raise."""

import pytest

from trainer.errors import TrainerError


def error_message(call, *arguments, **options):
    """The message of the TrainerError that `call` raises: one line."""
    with pytest.raises(TrainerError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
