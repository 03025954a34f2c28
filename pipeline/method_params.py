"""The parameters of single training methods, one group a method, and how many networks each is defined for."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from pipeline.fields import Group, Positive, Share

NETWORKS_OF = {
    "coteaching": 2,
    "coteaching_plus": 2,
    "decoupling": 2,
    "eac": 1,
    "jocor": 2,
    "ltnet": 1,
    "nct": 2,
    "rayleigh": 1,
    "scn": 1,
}
"""What `networks: null` means; all of these but eac are defined for that number alone."""

ANY_NETWORKS = 3
"""The paper's number, for the methods that take any."""


class JocorParams(Group):
    """JoCoR's own."""

    weight: Share


class NctParams(Group):
    """NCT's own: the ramp-up of its mimicry, and how much its targets vary."""

    alpha_max: Share
    beta: Annotated[float, Ge(0), Le(100)]
    rampup: Positive
    temperature: Positive
    variability: Share
    variability_max: Share
    variability_after: Annotated[int, Ge(0)]


class ScnParams(Group):
    """SCN's own: its margins and when it relabels."""

    margin: Share
    top_share: Share
    relabel_margin: Share
    relabel_from: Annotated[int, Ge(0)]


VOTES = "votes"
"""What `ltnet.labels` is when the set's own votes are meant instead of a file."""


class LtnetParams(Group):
    """LTNet's own: more annotators (a file, or `votes`), and how far they are trusted at first."""

    labels: str | None
    diagonal: Annotated[float, Gt(0), Lt(1)]


class RayleighParams(Group):
    """The Rayleigh loss's own."""

    weight: Annotated[float, Ge(0), Lt(float("inf"))]


class EacParams(Group):
    """EAC's own."""

    weight: Annotated[float, Ge(0), Lt(float("inf"))]
    erase: Share
