"""Keep numerical libraries to one thread: one process per core is the parallelism."""

from functools import lru_cache


@lru_cache(maxsize=1)
def pin_threads() -> None:
    """Limit BLAS, OpenMP and the codec of this process to one thread each."""
    import numcodecs.blosc
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)
    numcodecs.blosc.use_threads = False
