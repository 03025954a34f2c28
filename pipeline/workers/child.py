"""A worker process: takes one task at a time from the process that started it, and ends with it.

`python -m pipeline.workers.child DESCRIPTOR PARENT`. Loads nothing but what its tasks need.
"""

import pickle
import signal
import sys
from multiprocessing.connection import Connection

from pipeline.ancestors import die_with_parent
from pipeline.contract import UserError


def main() -> None:
    """Works until the other end of the connection is closed."""
    descriptor, parent = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    die_with_parent(parent)
    connection: Connection[bytes, bytes] = Connection(descriptor)
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
