class Alone:
    """A `with` block in which all loops of the process stay on one thread, for processes that share the processors
    themselves.

    Otherwise they take as many as BLAS would, at most 16: OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, else the processors
    at hand.
    """

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
