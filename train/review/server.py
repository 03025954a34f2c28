"""The review's pages over HTTP, on loopback only, behind a random token."""

import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.contract import UserError
from train.review.session import Session

HOST = "127.0.0.1"
_LONGEST_BODY = 1 << 12
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' data:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "connect-src 'self'",
    )
)


class ReviewServer(ThreadingHTTPServer):
    """Serves one session to any number of pages. Every path begins with the token; other hosts' pages are refused."""

    daemon_threads = True

    def __init__(self, session: Session, page: str, *, port: int = 0) -> None:
        """Binds to loopback; port 0 takes a free one."""
        self.session, self.page, self.token = session, page.encode(), secrets.token_urlsafe(24)
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    server_version, sys_version = "review", ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers the page, its state, changes, and pictures."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Takes a decision."""
        self._answer(self._post)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not worth a line each."""

    def _answer(self, answer: Callable[[str, dict[str, list[str]]], None]) -> None:
        split = urlsplit(self.path)
        prefix = f"/{self.server.token}/"
        if not self._is_ours() or not secrets.compare_digest(split.path[: len(prefix)].encode(), prefix.encode()):
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        try:
            answer(split.path[len(prefix) :], parse_qs(split.query))
        except (ValueError, KeyError, TypeError, RecursionError, UserError) as error:
            self._send(HTTPStatus.BAD_REQUEST, str(error).encode(), "text/plain; charset=utf-8")
        except OSError as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode(), "text/plain; charset=utf-8")

    def _is_ours(self) -> bool:
        """Whether the request names this server: a page of another host that resolves here does not."""
        names = {f"{host}:{self.server.server_port}" for host in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        return self.headers.get("Host") in names and (origin is None or origin.removeprefix("http://") in names)

    def _get(self, path: str, query: dict[str, list[str]]) -> None:
        session = self.server.session
        match path.split("/"):
            case [""]:
                self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
            case ["state"]:
                self._send_json(session.state())
            case ["changes"]:
                self._send_json(session.changes(int(query["since"][0])))
            case ["picture", position] if (jpeg := session.picture(int(position))) is not None:
                self._send(HTTPStatus.OK, jpeg, "image/jpeg", cached=True)
            case _:
                self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    def _post(self, path: str, query: dict[str, list[str]]) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if path != "decide" or not 0 < length <= _LONGEST_BODY:
            self.close_connection = True
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        body = json.loads(self.rfile.read(length))
        self._send_json(self.server.session.decide(int(body["number"]), str(body["decision"])))

    def _send_json(self, value: Any) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str, *, cached: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "private, max-age=3600" if cached else "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)
