"""Remedies for inputs that cannot be read, and the message of a library as one line."""

FETCH_AGAIN = "the file is damaged or incomplete: fetch or export it again"
MOVE_OUT = "move it out of SOURCE"
MAX_LINE = 160  # characters


def one_line(message: object) -> str:
    """The message of a library as one short printable line; the name of its type where it is empty."""
    return ascii(" ".join(str(message).split())[:MAX_LINE])[1:-1] or type(message).__name__
