"""Git and DVC as this folder has them: configuration, who works here, and what a kill may have cut off."""

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.contract import UserError
from pipeline.findings import Finding, fail, ok, warn
from pipeline.stage import LOCKS

DVC, RWLOCK, LOCK = Path(".dvc"), Path(".dvc/tmp/rwlock"), Path("dvc.lock")
_PATIENCE_S = 8

Config = Mapping[str, str]
"""DVC's configuration of all levels: `section.key`, lower case, to its value."""


def git() -> list[Finding]:
    """Whether git is there, and this folder a repository of it."""
    if shutil.which("git") is None:
        return [fail("git", "git is not installed; DVC needs it", "apt-get install git")]
    if not any((folder / ".git").exists() for folder in (Path.cwd(), *Path.cwd().parents)):
        mend = "git init && git add --all && git commit -m Start"
        return [fail("git", "this folder is in no git repository; DVC works in none", mend)]
    return [ok("git", "in a git repository")]


def config() -> Config:
    """Asks DVC itself; raises `UserError` if it cannot read its configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list"],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise UserError(f"{' '.join(lines).removeprefix('ERROR: ')}; restore it: git checkout .dvc/config")
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def cache_folder(found: Config) -> Path:
    """DVC's cache; a relative one is meant from `.dvc`."""
    return DVC / found.get("cache.dir", "cache")


def link_types(found: Config) -> list[str]:
    """The ways of linking from the cache, in order of preference; DVC's own default if none is named."""
    return [way.strip() for way in found.get("cache.type", "reflink,copy").strip("[]").replace("'", "").split(",")]


def interrupted() -> list[Finding]:
    """The two files that DVC writes in place, which a kill can leave cut off (docs/safety.md)."""
    findings = []
    if (problem := _rwlock_problem()) is not None:
        findings.append(fail("dvc locks", f"{RWLOCK} {problem}; DVC refuses to start", f"rm {RWLOCK}"))
    if (problem := _lock_problem()) is not None:
        mend = f"git checkout {LOCK}, or rm {LOCK}: nothing that is finished is redone"
        findings.append(fail("dvc.lock", f"{LOCK} {problem}; DVC refuses to start", mend))
    return findings or [ok("dvc files", f"{LOCK} and DVC's own locks are whole")]


def at_work() -> list[Finding]:
    """Stages that run here now, and readers and writers that DVC notes."""
    stages = sorted(path.stem for path in LOCKS.glob("*.lock") if "-" not in path.stem and _is_held(path))
    if stages:
        return [
            warn("running", f"stage {', '.join(stages)} is at work in this folder", "wait for it before `dvc repro`")
        ]
    writers = [(pid, command) for pid, command in _noted() if not Path(f"/proc/{pid}").exists()]
    if writers:
        told = f"{RWLOCK} notes process {writers[0][0]} ({writers[0][1]}), which is gone; DVC drops the note by itself"
        return [ok("running", told)]
    return [ok("running", "nothing is at work in this folder")]


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _rwlock_problem() -> str | None:
    try:
        noted = json.loads(RWLOCK.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError:
        return "is empty" if not RWLOCK.stat().st_size else "is cut off or no JSON"
    return None if isinstance(noted, dict) else "is not what DVC writes"


def _noted() -> list[tuple[int, str]]:
    try:
        noted = json.loads(RWLOCK.read_bytes())
        entries = [entry for each in noted.get("read", {}).values() for entry in each]
        entries += noted.get("write", {}).values()
        return [(int(entry["pid"]), str(entry["cmd"])) for entry in entries]
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return []


def _lock_problem() -> str | None:
    try:
        content = YAML(typ="safe", pure=True).load(LOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (YAMLError, ValueError):
        return "is cut off or no YAML"
    if content is None:
        return "is empty"
    from pipeline.team.lockfile import problem  # loads DVC, for half a second

    return problem(content)
