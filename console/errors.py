"""An exception → the line that the user sees."""

from console.output import printable

MAX_MESSAGE = 2000  # characters


def one_line(error: Exception) -> str:
    """The message of `error`, printable and not too long; an unexpected error asks the user to report it."""
    from cache.errors import CacheError
    from cache.oserrors import remedy
    from cache.text import cut
    from pipeline.errors import PipelineError
    from trainer.errors import TrainerError

    text = printable(cut(error, MAX_MESSAGE))
    if isinstance(error, CacheError | PipelineError | TrainerError):
        return text
    if isinstance(error, OSError) and error.strerror:
        where = f"{cut(error.filename)}: " if error.filename else "cannot continue: "
        advice = remedy(error, "check the path, its permissions and the space left")
        return printable(f"{where}{error.strerror}; {advice}")
    return f"{type(error).__name__}: {text}; this is a bug: please report it with the command that you ran"
