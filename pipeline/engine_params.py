"""How work is spread: the group `engine` of params.yaml. Never changes what comes out."""

from typing import Annotated, Literal

from annotated_types import Ge
from pydantic import StringConstraints

from pipeline.fields import Count, Group, Positive


class ClusterParams(Group):
    """Jobs that are asked of SLURM, each with one Dask worker."""

    jobs: Count
    cores: Count
    memory: Annotated[str, StringConstraints(pattern=r"^[0-9]+ ?(MB|GB|TB|MiB|GiB|TiB)$")]
    walltime: Annotated[str, StringConstraints(pattern=r"^([0-9]+-)?[0-9]{1,2}:[0-9]{2}:[0-9]{2}$")]
    queue: str | None
    account: str | None
    interface: str | None
    directives: list[str]
    prologue: list[str]


class EngineParams(Group):
    """How work is spread; never what comes out."""

    kind: Literal["local", "dask"]
    workers: Annotated[int, Ge(0)]
    max_failures: Annotated[int, Ge(0)]
    timeout_s: Positive | None
    memory_gb: Positive | None
    address: Annotated[str, StringConstraints(pattern=r"^[a-z]+://[^ ]+$")] | None
    cluster: ClusterParams | None
