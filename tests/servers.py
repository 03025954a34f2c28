"""Real servers on loopback for tests of remotes: OpenSSH, S3 (moto), WebDAV (WsgiDAV behind cheroot).

Each is a context manager that yields what a client needs. They listen on ports that the system chooses, need no
privileges, and are gone at the end. `ssh_server` skips the test where OpenSSH's server is not installed.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import s3_process

ROOT = Path(__file__).parent.parent
HOST = "127.0.0.1"
_STARTING_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a remote is, and what DVC must be told to use it."""

    url: str
    """For `dvc remote add`."""
    options: dict[str, str]
    """For `dvc remote modify`, such as the address of the server."""
    secrets: dict[str, str]
    """For `dvc remote modify --local`: what must not be committed."""
    folder: Path | None = None
    """The same place as a folder of this machine, where the server keeps files."""


class S3Server:
    """Moto's S3 on one port, in a process of its own. What was stored outlasts `stop`, as a real server's disk does."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", s3_process.__name__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        """The address for `endpointurl`."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Listens, on the same port as before."""
        self.port = int(self._tell(f"start {self.port}"))

    def stop(self) -> None:
        """Refuses connections from now on."""
        assert self._tell("stop") == "stopped"

    def end(self) -> None:
        """Ends the process, and with it what was stored."""
        with self._process:
            self._process.kill()

    def _tell(self, order: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def client(self) -> Any:
        """A boto3 client, to look at what is stored, or to damage it."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def remote(self, bucket: str) -> Server:
        """A new bucket as a remote."""
        self.client().create_bucket(Bucket=bucket)
        return Server(
            url=f"s3://{bucket}/cct",
            options={"endpointurl": self.endpoint, "region": "us-east-1"},
            secrets={"access_key_id": "test", "secret_access_key": "test"},
        )


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """A running S3 server, empty."""
    server = S3Server()
    try:
        yield server
    finally:
        server.end()


@contextlib.contextmanager
def webdav_server(folder: Path) -> Iterator[Server]:
    """WebDAV over a new folder, for one user with a password; the remote's own folder is there, as DVC demands."""
    from cheroot.wsgi import Server as WsgiServer
    from wsgidav.wsgidav_app import WsgiDAVApp

    (folder / "cct").mkdir(parents=True)
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(folder)},
            "simple_dc": {"user_mapping": {"*": {"mate": {"password": "secret"}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "lock_storage": True,
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    server = WsgiServer((HOST, 0), app)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield Server(
            url=f"webdav://{HOST}:{server.bind_addr[1]}/cct",
            options={"user": "mate"},
            secrets={"password": "secret"},
            folder=folder / "cct",
        )
    finally:
        server.stop()
        thread.join()


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[Server]:
    """OpenSSH's own server, run by this user, for one generated key; `folder` is new and holds all that it needs."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("OpenSSH's server is not installed (Debian: openssh-server)")
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
    port = free_port()
    (folder / "config").write_text(_sshd_config(folder, port))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's server wants to shut its unprivileged part in
    log = (folder / "log").open("w")
    server = subprocess.Popen([program, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        _await_port(port, server)
        yield Server(
            url=f"ssh://{HOST}{folder / 'remote'}",
            options={"port": str(port), "keyfile": str(folder / "user_key"), "allow_agent": "false"},
            secrets={},
            folder=folder / "remote",
        )
    finally:
        server.terminate()
        server.wait()
        log.close()


def _sshd_config(folder: Path, port: int) -> str:
    return f"""\
Port {port}
ListenAddress {HOST}
HostKey {folder / "host_key"}
PidFile none
AuthorizedKeysFile {folder / "authorized_keys"}
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, server: "subprocess.Popen[bytes]") -> None:
    give_up_s = time.monotonic() + _STARTING_S
    while time.monotonic() < give_up_s and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(_POLL_S)
    raise AssertionError("sshd did not start")
