"""An exception → one line for the user."""

from console.output import printable

MAX_MESSAGE = 2000  # characters of a line that says why a command failed


def one_line(error: Exception) -> str:
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
        todo = remedy(error, "check the path, its permissions and the space left")
        return printable(f"{where}{error.strerror}; {todo}")
    return f"{type(error).__name__}: {text}; this is not expected, please report it with the command you ran"
