"""A worker process: takes one task at a time from the process that started it, and ends with it.

`python -m pipeline.workers.child DESCRIPTOR PARENT`. Loads nothing but what its tasks need.
"""

import pickle
import signal
import sys
from multiprocessing.connection import Connection

from pipeline.ancestors import die_with_parent
from pipeline.contract import UserError

EARLY_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""What the libraries that everything here loads find in the environment when they are loaded."""

ENVIRONMENT = EARLY_ENVIRONMENT | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""One thread a process, so that cores are not oversubscribed; a decoder's complaints become our own messages."""


def main() -> None:
    """Works for the process that started this one."""
    descriptor, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    die_with_parent(parent)
    work(Connection(descriptor))


def work(connection: "Connection[bytes, bytes]") -> None:
    """Works until the other end of the connection is closed."""
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(call))


def _answer(call: bytes) -> bytes:
    """Runs a pickled (function, arguments, keywords); returns a pickled (whether it went well, result or error)."""
    try:
        function, arguments, keywords = pickle.loads(call)
        return pickle.dumps((True, function(*arguments, **keywords)))
    except Exception as error:
        return pickle.dumps((False, _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """Errors of the system as they are, others as text: not every library's can be unpickled, or says its type."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return UserError(told(error))


def told(error: BaseException) -> str:
    """An error in one line, with its type if it is not one of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")


if __name__ == "__main__":
    main()
