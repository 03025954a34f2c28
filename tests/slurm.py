"""A SLURM of one node on this machine: real daemons (munged, slurmctld, slurmd) whose files are all in one folder.

Like an installed one to `sbatch`, `squeue` and `scancel` of any process that has `SLURM_CONF` in its environment.
Debian: slurmctld, slurmd, slurm-client and munge. Needs to be root, as slurmd does.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.servers import HOST, free_port

QUEUE = "long"
"""The only partition."""
_STARTING_S = 30.0

_CONF = """\
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthInfo=socket={folder}/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr={address} CPUs=4 RealMemory=8000
PartitionName={queue} Nodes={host} Default=YES MaxTime=INFINITE
"""


@contextmanager
def slurm_node() -> Iterator[Path]:
    """The path of its slurm.conf; jobs that are left are cancelled in the end. Skips where SLURM is not installed."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    daemons = {name: shutil.which(name, path=path) for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    if None in daemons.values() or os.geteuid() != 0:
        pytest.skip("needs SLURM (Debian: slurmctld slurmd slurm-client munge), and to be root")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder, conf = Path(name), Path(name) / "slurm.conf"
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o600)
        (folder / "state").mkdir()
        own = {"host": socket.gethostname().partition(".")[0], "address": HOST, "queue": QUEUE, "folder": folder}
        conf.write_text(_CONF.format(**own, controller=free_port(), node=free_port()))
        files = {"socket": "munge", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={folder / file}" for option, file in files.items()]
        # munged: --force, as its socket is below /tmp, where others may write
        stack.enter_context(_daemon([str(daemons["munged"]), "--foreground", "--force", *options], conf))
        _wait_for(lambda: (folder / "munge").exists(), "munged")
        stack.enter_context(_daemon([str(daemons["slurmctld"]), "-D"], conf))
        stack.enter_context(_daemon([str(daemons["slurmd"]), "-D"], conf))
        _wait_for(lambda: _is_idle(conf), "slurmd")
        try:
            yield conf
        finally:
            told(conf, "scancel", f"--partition={QUEUE}")
            _wait_for(lambda: not told(conf, "squeue", "--noheader"), "jobs to end")


def told(conf: Path, *command: str) -> str:
    """What a command of SLURM prints; raises `CalledProcessError` if it fails: nothing printed means nothing there."""
    environment = os.environ | {"SLURM_CONF": str(conf)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def _is_idle(conf: Path) -> bool:
    try:
        return told(conf, "sinfo", "--noheader", "--format=%t") == "idle"
    except subprocess.CalledProcessError:  # slurmctld does not listen yet
        return False


@contextmanager
def _daemon(command: list[str], conf: Path) -> Iterator[None]:
    environment = os.environ | {"SLURM_CONF": str(conf)}
    log = conf.with_name(f"{Path(command[0]).name}.log")
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _STARTING_S
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"SLURM: {what} took over {_STARTING_S:g} s")
        time.sleep(0.1)
