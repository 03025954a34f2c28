"""Whether the way between a team's machines is sound: the remote, the secrets, the marks, and the cache.

`cct team check` prints what is found; other commands may use `findings` and the single checks.
"""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dvc.repo import Repo

from pipeline.contract import UserError
from pipeline.findings import Finding, fail, ok, warn
from pipeline.params import load_params
from pipeline.team import guard
from pipeline.team.cache_checks import cache_findings
from pipeline.team.project import Remote, find_remote, opened_project, speaking_with
from pipeline.team.wanted import Wanted, listing, needed_for_training, parts, recorded_sets

_CONFIG, _LOCAL_CONFIG = Path(".dvc/config"), Path(".dvc/config.local")
_SECRET_KEYS = {
    *("password", "passphrase", "token", "access_key_id", "secret_access_key", "session_token", "connection_string"),
    *("sas_token", "account_key", "gdrive_client_secret", "oss_key_id", "oss_key_secret", "custom_auth_header"),
}
"""Options of DVC's remotes that let whoever reads them in."""


def findings(remote_name: str | None) -> list[Finding]:
    """All checks, on the named remote or the default one; what prevents a check is a finding itself."""
    with opened_project() as repo:
        found = secret_findings(repo)
        try:
            remote = find_remote(repo, remote_name)
        except UserError as error:
            found.append(fail("remote", str(error), f"dvc remote add {remote_name or '--default team'} ADDRESS"))
        else:
            found += remote_findings(repo, remote)
        return [*found, *restricted_findings(repo), *cache_findings(repo.config["cache"], Path(repo.cache.local.path))]


def secret_findings(repo: Repo) -> list[Finding]:
    """Whether what must stay secret is in the configuration that git keeps, or can be read by others."""
    committed = repo.config.read("repo")
    given = [
        (f"remote {name}: {key}", f"dvc remote modify {name} {key} --unset; dvc remote modify --local {name} {key} ...")
        for name, options in committed.get("remote", {}).items()
        for key in _secrets_in(options)
    ]
    if given:
        mend = f"{given[0][1]}; then change it where it was issued: git remembers it"
        return [fail("secrets", f"{_CONFIG}, which git keeps, holds {', '.join(what for what, _ in given)}", mend)]
    holds_secrets = any(_secrets_in(options) for options in repo.config.read("local").get("remote", {}).values())
    if holds_secrets and _LOCAL_CONFIG.stat().st_mode & 0o077:
        return [warn("secrets", f"{_LOCAL_CONFIG} can be read by other users", f"chmod 600 {_LOCAL_CONFIG}")]
    return [ok("secrets", f"none in {_CONFIG}, which git keeps")]


def _secrets_in(options: Mapping[str, Any]) -> list[str]:
    found = [key for key in options if key in _SECRET_KEYS]
    account = str(options.get("url", "")).partition("://")[2].partition("/")[0].rpartition("@")[0]
    return found + ["url"] * (":" in account)


def remote_findings(repo: Repo, remote: Remote) -> list[Finding]:
    """Whether a remote answers, takes a file and gives it back; and whether DVC verifies what it fetches from there."""
    name, root = f"remote {remote.name}", Path(remote.objects.path).parents[1]  # DVC's objects are in its files/md5
    is_missing = remote.objects.fs.protocol == "local" and not root.exists()
    try:
        _try_out(remote)
    except UserError as error:
        mend = f"see docs/team.md on this kind of remote; what is set: dvc config --list | grep remote.{remote.name}"
        return [fail(name, str(error).partition("; `cct team check")[0], mend)]
    found = [ok(name, f"{remote.url}: a file was written, read back and removed")]
    if is_missing:
        text = f"{root} was not there, and is now, empty; if a disk belongs there, it is not mounted"
        found = [warn(name, text, f"rmdir --parents {remote.objects.path} and mount it; else cct team push")]
    if not remote.objects.verify:
        text = "plain `dvc pull` believes what it gets from here (`cct team pull` does not)"
        found.append(warn(name, text, f"dvc remote modify {remote.name} verify true"))
    return found


def _try_out(remote: Remote) -> None:
    """Writes a small file, reads it back, removes it."""
    fs, content = remote.objects.fs, secrets.token_bytes(64)
    path = fs.join(remote.objects.path, f"cct-check-{secrets.token_hex(4)}")
    with speaking_with(remote.name, remote.url):
        fs.makedirs(remote.objects.path, exist_ok=True)
        fs.pipe_file(path, content)
        try:
            if fs.cat_file(path) != content:
                raise UserError(f"remote {remote.name} ({remote.url}) gives back other bytes than were written")
        finally:
            fs.remove(path)


def restricted_findings(repo: Repo) -> list[Finding]:
    """Whether a restricted set could go, or has gone, to a remote that is not marked private.

    `dvc push` knows no such marks; so its default remote must be a private one.
    """
    cache = repo.cache.local
    try:
        needed = {each.path: each for each in needed_for_training(repo, load_params()) if each.is_shard_set}
        wanted = [each for each in (recorded_sets() | needed).values() if each is not None]
    except UserError as error:
        return [warn("restricted", f"cannot tell: {error}", "dvc repro shard")]
    here = [each for each in wanted if (listed := listing(each)) and cache.exists(listed.oid)]
    sets = [each for each in here if guard.is_restricted(cache, parts(cache, each))]
    if not sets:
        return [ok("restricted", "no set here is restricted" if here else "no shard set is in the cache here")]
    return list(_exposed(repo, sets)) or [ok("restricted", f"{sets[0].path} is; its remotes are marked private")]


def _exposed(repo: Repo, sets: list[Wanted]) -> Iterator[Finding]:
    default = repo.config["core"].get("remote")
    for name, options in repo.config["remote"].items():
        url = str(options["url"])
        if guard.is_private(url):
            continue
        mark = f"if nobody reads it who may not: cct team private {name}"
        if name == default:
            text = f"plain `dvc push` would send {sets[0].path}, restricted, to {name} ({url}), not marked private"
            yield fail("restricted", text, f"dvc remote default ANOTHER; or, {mark}")
        try:
            there = [each.path for each in sets if _is_on(find_remote(repo, name), each)]
        except UserError as error:
            text = f"cannot tell whether a restricted set is on {name}: {error}"
            yield warn("restricted", text, f"cct team check --remote {name}")
            continue
        for path in there:
            text = f"{path}, which is restricted, is on {name} ({url}), which is not marked private"
            yield fail("restricted", text, f"delete what is there; or, {mark}")


def _is_on(remote: Remote, wanted: Wanted) -> bool:
    listed = listing(wanted)
    with speaking_with(remote.name, remote.url):
        return listed is not None and bool(remote.objects.exists(listed.oid))
