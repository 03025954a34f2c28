"""Moto's S3 in a process of its own: what a test forks does not inherit its sockets, nor slow its answers.

Started as a program. Each line of its input is `start PORT` (0: the system chooses) or `stop`; each is answered with a
line, the port or `stopped`. What was stored outlasts `stop`, as a real server's disk does. It ends with its input.
"""

import logging
import sys


def main() -> None:
    """Serves until nobody speaks to it any more."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line a request
    running: ThreadedMotoServer | None = None
    for line in sys.stdin:
        order, *values = line.split()
        if running:
            running.stop()
            running._server.server_close()  # type: ignore[union-attr]
            running = None
        if order == "start":
            running = ThreadedMotoServer(ip_address="127.0.0.1", port=int(values[0]), verbose=False)
            running.start()
        print(running.get_host_and_port()[1] if running else "stopped", flush=True)


if __name__ == "__main__":
    main()
