"""`cct doctor`: what this machine and this folder have and lack."""

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.contract import RESULTS, UserError
from pipeline.doctor.apart import Apart
from pipeline.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from pipeline.params import Params

_ROOT = Path(__file__).parent.parent.parent
_PATIENCE_S = 4.5
"""How long what runs beside the rest may take, if --deep is not asked for."""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON: name, state, text, mend.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read the raw set and every byte of the shards, and try the remote out.")
    ] = False,
) -> None:
    """Says what this machine and this folder have and lack, each with the line that mends it; seconds, changes nothing.

    Exit code 0 if nothing is wrong (warnings are no errors), 1 if something will not work. Outside of a project's
    folder it looks at the machine alone.

    Examples: cct doctor; cct doctor --json; cct doctor --deep
    """
    findings = []
    for finding in _findings(deep=deep):
        findings.append(finding)
        if not as_json:
            print(_line(finding), flush=True)
    states = [finding.state for finding in findings]
    if as_json:
        print(json.dumps({"ok": "fail" not in states, "findings": [each.json() for each in findings]}, indent=2))
    else:
        print(f"doctor: {states.count('ok')} ok, {states.count('warn')} to think about, {states.count('fail')} wrong")
    sys.exit("fail" in states)


def _findings(*, deep: bool) -> Iterator[Finding]:
    """All findings. Torch and the raw set, which take longest, are looked at beside the rest."""
    from pipeline.params import PARAMS_FILE

    is_project = PARAMS_FILE.exists()
    gpu = Apart("gpu", "train.gpu")
    raw = Apart("raw set", "pipeline.doctor.data") if is_project else None
    params, told = _read_params() if is_project else (None, [])
    yield from _machine(params)
    yield from gpu.findings(patience_s=None if deep else 2 * _PATIENCE_S)
    yield from told
    if raw is None:
        yield warn("folder", f"no {PARAMS_FILE} here: only the machine was looked at", "cd to the project's folder")
        return
    yield from _folder(params, deep=deep)
    if params is not None:
        yield from raw.findings(patience_s=None if deep else _PATIENCE_S)
        yield from _data(params, deep=deep)
    else:
        raw.findings(patience_s=0)


def _read_params() -> "tuple[Params | None, list[Finding]]":
    from pipeline.params import PARAMS_FILE, load_params

    try:
        params = load_params()
    except UserError as error:
        mend = "correct it; params/ has complete ones"
        return None, [fail("parameters", line, mend) for line in str(error).splitlines()]
    return params, [ok("parameters", f"{PARAMS_FILE}: dataset {params.dataset}, layout {params.index.layout}")]


def _machine(params: "Params | None") -> Iterator[Finding]:
    from pipeline.doctor import machine
    from pipeline.doctor.limits import limits

    given = limits()
    asked = {} if params is None else {"engine.workers": params.engine.workers, "workers": params.workers}
    workers = asked.get("engine.workers") or len(os.sched_getaffinity(0))
    yield from _checked("python", machine.python)
    yield from _checked("packages", lambda: machine.packages(_ROOT / "requirements.lock"))
    yield from _checked("cores", lambda: machine.cores(given, asked))
    yield from _checked("memory", lambda: machine.memory(given, workers=workers))
    yield from _checked("decoder", _decoder)


def _decoder() -> list[Finding]:
    from pipeline.commands.faces import silence_decoder
    from pipeline.doctor.decoder import decoder

    silence_decoder()
    return decoder()


def _folder(params: "Params | None", *, deep: bool) -> Iterator[Finding]:
    from pipeline.doctor import links, repository, room
    from pipeline.doctor.remotes import remotes, tried_out
    from pipeline.store import work_store

    store, cache, copies = work_store().root, repository.DVC / "cache", False
    yield from _checked("git", repository.git)
    if repository.DVC.is_dir():
        yield from _checked("dvc files", repository.interrupted)
        yield from _checked("running", repository.at_work)
        config: dict[str, str] = {}
        problems = list(_checked("dvc", lambda: config.update(repository.config()) or []))
        yield from problems
        if not problems:
            cache = repository.cache_folder(config)
            linked = list(_checked("cache links", lambda: links.link_type(cache, repository.link_types(config))))
            copies = any(finding.state == "warn" for finding in linked)
            yield from linked
            yield from _checked("remotes", lambda: remotes(config))
            yield from _checked("team", lambda: tried_out(config)) if deep else ()
    else:
        yield fail("dvc", "this folder is no DVC repository: stages cannot run here", "git checkout .dvc, or: dvc init")
    folders = {"data": Path("data"), "work store": store, "cache": cache, "models": Path("models"), "results": RESULTS}
    folders["temporary files"] = Path(os.environ.get("TMPDIR") or "/tmp")
    yield from _checked("permissions", lambda: links.permissions(folders))
    if params is not None:
        yield from _checked("disk", lambda: room.disks(params, store=store, cache=cache, copies=copies))


def _data(params: "Params", *, deep: bool) -> Iterator[Finding]:
    from pipeline.doctor import data

    yield from _checked("labels", data.corrected_labels)
    yield from _checked("shards", lambda: data.verified(params) if deep else data.shard_set(params))


def _checked(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """What a check finds. One that breaks is a finding too: it must not keep the others from being told."""
    try:
        return check()
    except ImportError as error:
        return [fail(name, f"cannot be looked at: the package {error.name} does not load ({error})", "make setup")]
    except Exception as error:
        return [fail(name, f"cannot be looked at: {type(error).__name__}: {error}", "")]


def _line(finding: Finding) -> str:
    """A finding for people; its mend is never broken into lines, so that it can be copied."""
    lead = f"{finding.state:<6}{finding.name:<14}"
    lines = textwrap.wrap(finding.text, 100, initial_indent=lead, subsequent_indent=" " * 20, break_long_words=False)
    return "\n".join(lines + [f"{'':<20}mend: {finding.mend}"] * bool(finding.mend))
