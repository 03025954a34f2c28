"""DVC's remotes: is one the default, and does something answer there. Nothing is sent or fetched."""

import importlib.util
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.doctor.repository import DVC, Config
from pipeline.findings import Finding, fail, ok, warn

_PORTS = {"ssh": 22, "http": 80, "https": 443, "webdav": 80, "webdavs": 443, "hdfs": 8020}
_PLUGINS = {
    "s3": "dvc_s3",
    "gs": "dvc_gs",
    "azure": "dvc_azure",
    "ssh": "dvc_ssh",
    "gdrive": "dvc_gdrive",
    "oss": "dvc_oss",
    "hdfs": "dvc_hdfs",
    "webdav": "dvc_webdav",
    "webdavs": "dvc_webdav",
}
_PATIENCE_S = 2.0


def remotes(config: Config) -> list[Finding]:
    """One finding a remote, and one where none, or no default, is set."""
    names = {
        key.split(".")[1]: url for key, url in config.items() if key.startswith("remote.") and key.endswith(".url")
    }
    default = config.get("core.remote")
    add = "dvc remote add --default team ssh://server/path    # or s3://..., a folder"
    if not names:
        return [warn("remotes", "no remote: nothing can be shared with a team, and nothing is backed up", add)]
    findings = []
    if default is None:
        first = next(iter(names))
        findings.append(
            warn("remotes", "none is the default: `dvc push` asks for --remote", f"dvc remote default {first}")
        )
    elif default not in names:
        mend = f"dvc remote default {next(iter(names))}"
        findings.append(fail("remotes", f"the default is {default!r}, which is no remote", mend))
    for name, url in names.items():
        findings.append(_remote(f"remote {name}", name, url, config.get(f"remote.{name}.endpointurl")))
    return findings


def tried_out(config: Config) -> list[Finding]:
    """What `cct team check` finds, which writes to the default remote and reads it back; nothing if there is none.

    But for the cache's links, about which the doctor has its own line, by the same trial.
    """
    if "core.remote" not in config:
        return []
    from pipeline.team.checks import findings  # loads DVC, for half a second

    return [each for each in findings(None) if each.name != "cache links"]


def _remote(title: str, name: str, url: str, endpoint: str | None) -> Finding:
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme in ("", "file"):
        return _folder(title, name, Path(url.removeprefix("file://")))
    if scheme == "remote":
        return ok(title, f"{url}: below another remote")
    plugin = _PLUGINS.get(scheme)
    if plugin is not None and importlib.util.find_spec(plugin) is None:
        package = plugin.replace("_", "-")
        return fail(title, f"{url} needs the package {package}, which is not installed", f"uv pip install {package}")
    address = urlsplit(endpoint or url)
    if address.scheme not in _PORTS or not address.hostname:
        return ok(title, f"{url}; whether it answers shows `dvc status --cloud`")
    port = address.port or _PORTS[address.scheme]
    try:
        socket.create_connection((address.hostname, port), timeout=_PATIENCE_S).close()
    except OSError as error:
        mend = f"see to the network, or correct it: dvc remote modify {name} url ..."
        return fail(title, f"{url}: {address.hostname} port {port} does not answer ({error.strerror or error})", mend)
    return ok(title, f"{url}: {address.hostname} answers")


def _folder(title: str, name: str, path: Path) -> Finding:
    folder = (DVC / path.expanduser()).absolute()
    told = Path(os.path.normpath(folder))
    if not folder.is_dir():
        mend = f"mkdir -p {told}, mount its disk, or: dvc remote modify {name} url ..."
        return fail(title, f"{told}: no such folder", mend)
    if not os.access(folder, os.W_OK | os.X_OK):
        return warn(title, f"{told}: may be read, not written: `dvc pull` works, `dvc push` does not", f"ls -ld {told}")
    return ok(title, f"{told}: may be read and written")
