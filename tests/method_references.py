"""Every method's loss again, in numpy and float64, from the formulas, sample by sample; no code shared with train."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.train_params import TrainParams

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a reference computes from: plain arrays in float64."""

    params: TrainParams
    logits_kbc: Floats
    features_kbd: Floats
    maps_kbchw: Floats
    labels: list[int]
    keys: list[str]
    epoch: int
    class_weights: list[float]
    own: dict[str, Floats] = field(default_factory=dict)
    others_ab: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    student_bc: Floats | None = None

    @property
    def weights(self) -> list[float]:
        return [self.class_weights[label] for label in self.labels]


def softmax(z: Floats) -> Floats:
    e = np.exp(z - z.max())
    return e / e.sum()


def log_softmax(z: Floats) -> Floats:
    shifted = z - z.max()
    return shifted - math.log(np.exp(shifted).sum())


def ce(z: Floats, label: int) -> float:
    return -float(log_softmax(z)[label])


def kl(z_p: Floats, z_q: Floats) -> float:
    return float(sum(p * (lp - lq) for p, lp, lq in zip(softmax(z_p), log_softmax(z_p), log_softmax(z_q), strict=True)))


def mean(values: list[float], weights: list[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights) if sum(weights) else 0.0


def plain(known: Known) -> float:
    return sum(mean(list(map(ce, z, known.labels)), known.weights) for z in known.logits_kbc)


def cct(known: Known) -> float:
    p = known.params
    ramp = min(known.epoch / (p.rampup or 0.9 * p.epochs), 1)
    weight = p.lambda_max * math.exp(-p.beta * (1 - ramp) ** 2)
    z = known.logits_kbc
    pairs = [(j, k) for j in range(len(z)) for k in range(len(z)) if j != k]
    consistent = sum(float(np.mean([kl(a, b) for a, b in zip(z[k], z[j], strict=True)])) for j, k in pairs)
    return (1 - weight) * plain(known) + weight * consistent


def disagreement(known: Known) -> list[int]:
    one, two = known.logits_kbc.argmax(-1)
    return [b for b in range(len(one)) if one[b] != two[b]]


def decoupling(known: Known) -> float:
    everything = list(range(len(known.labels)))
    used = everything if known.epoch < known.params.warmup else disagreement(known)
    w = known.weights
    weight = max(0.1 * sum(w), sum(w[b] for b in used))
    return sum(w[b] * ce(z[b], known.labels[b]) for z in known.logits_kbc for b in used) / weight


def forgotten(known: Known) -> float:
    p = known.params
    tau = p.noise_rate if p.forget_rate is None else p.forget_rate
    return tau * min(known.epoch / p.forget_epochs, 1)


def kept(values: dict[int, float], rate: float) -> list[int]:
    count = math.floor(round((1 - rate) * len(values), 9))
    return sorted(values, key=lambda b: (values[b], b))[:count]


def crossed(known: Known, among: list[int]) -> float:
    losses = [{b: ce(z[b], known.labels[b]) for b in among} for z in known.logits_kbc]
    easy = [kept(each, forgotten(known)) for each in losses]
    return sum(
        mean([own[b] for b in chosen], [known.weights[b] for b in chosen])
        for own, chosen in zip(losses, easy[::-1], strict=True)
    )


def coteaching(known: Known) -> float:
    return crossed(known, list(range(len(known.labels))))


def coteaching_plus(known: Known) -> float:
    return coteaching(known) if known.epoch < known.params.warmup else crossed(known, disagreement(known))


def jocor(known: Known) -> float:
    weight, (one, two) = known.params.jocor.weight, known.logits_kbc
    supervised = [ce(a, y) + ce(b, y) for a, b, y in zip(one, two, known.labels, strict=True)]
    consistent = [kl(a, b) + kl(b, a) for a, b in zip(one, two, strict=True)]
    parts = zip(supervised, consistent, known.weights, strict=True)
    joint = {b: (1 - weight) * w * s + weight * c for b, (s, c, w) in enumerate(parts)}
    chosen = kept(joint, forgotten(known))
    s = mean([supervised[b] for b in chosen], [known.weights[b] for b in chosen])
    c = mean([consistent[b] for b in chosen], [1.0] * len(chosen))
    return (1 - weight) * s + weight * c


def splitmix(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)


def draw(key: str, salts: list[int], number: int) -> float:
    """The number-th uniform draw for a sample, in whole numbers of any size."""
    word = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    for salt in salts:
        word = splitmix(word ^ salt)
    return (splitmix((word + number * 0x9E3779B97F4A7C15) % 2**64) >> 11) / 2**53


def nct(known: Known) -> float:
    s, e, (one, two) = known.params.nct, known.epoch, known.logits_kbc
    alpha = s.alpha_max * math.exp(-s.beta * (1 - min(e, s.rampup) / s.rampup) ** 2)
    rho = s.variability
    if e > s.variability_after:
        grown = math.log(e - s.variability_after) / math.log(known.params.epochs - s.variability_after)
        rho = min(rho + (s.variability_max - rho) * grown, s.variability_max)
    total = 0.0
    for network, (own, other) in enumerate(((one, two), (two, one))):
        losses = []
        for z, y, key in zip(own, known.labels, known.keys, strict=True):
            salts, classes = [known.params.seed, e, network], len(z)
            varied = draw(key, salts, 1) < rho
            losses.append(ce(z, (y + int(draw(key, salts, 2) * classes)) % classes if varied else y))
        t = s.temperature
        mimicry = float(np.mean([t * t * kl(o / t, z / t) for z, o in zip(own, other, strict=True)]))
        total += (1 - alpha) * mean(losses, known.weights) + alpha * mimicry
    return total


def scn(known: Known) -> float:
    s, w, bias = known.params.scn, known.own["attention.weight"][0], known.own["attention.bias"][0]
    a = [1 / (1 + math.exp(-(float(f @ w) + bias))) for f in known.features_kbd[0]]
    supervised = [ce(x * z, y) for x, z, y in zip(a, known.logits_kbc[0], known.labels, strict=True)]
    top = math.floor(round(s.top_share * len(a), 9))
    ranked = sorted(a, reverse=True)
    gap = np.mean(ranked[:top]) - np.mean(ranked[top:]) if 0 < top < len(a) else math.inf
    return mean(supervised, known.weights) + max(0.0, s.margin - float(gap))


def ltnet(known: Known) -> float:
    total = 0.0
    for raw, labels in zip(known.own["matrices_acc"], [np.array(known.labels), *known.others_ab], strict=True):
        matrix = np.stack([softmax(row) for row in raw])
        present = [b for b, label in enumerate(labels) if label >= 0]
        nll = [-math.log(float(softmax(known.logits_kbc[0][b]) @ matrix[:, labels[b]])) for b in present]
        total += mean(nll, [known.weights[b] for b in present])
    return total


def rayleigh(known: Known) -> float:
    centres, features = known.own["centres_cd"], known.features_kbd[0]
    squares = [[float(((x - c) ** 2).sum()) for c in centres] for x in features]
    within = [row[y] for row, y in zip(squares, known.labels, strict=True)]
    between = [sum(row) - row[y] for row, y in zip(squares, known.labels, strict=True)]
    sure = [math.exp(-d / np.mean(within)) for d in within]
    losses = [ce(z, y) for z, y in zip(known.logits_kbc[0], known.labels, strict=True)]
    weights = [a * b for a, b in zip(sure, known.weights, strict=True)]
    return mean(losses, weights) + known.params.rayleigh.weight * sum(within) / (sum(between) + 1e-6)


def eac(known: Known) -> float:
    count = len(known.labels)
    total = 0.0
    for z, maps in zip(known.logits_kbc, known.maps_kbchw, strict=True):
        total += mean([ce(row, y) for row, y in zip(z[:count], known.labels, strict=True)], known.weights)
        gaps = maps[:count] - maps[count:, :, :, ::-1]
        total += known.params.eac.weight * float((gaps**2).mean())
    return total


def lesson(known: Known) -> float:
    """What a student adds to any method's loss; only the first view of each sample is taught."""
    assert known.student_bc is not None
    labelled = [ce(z, y) for z, y in zip(known.student_bc, known.labels, strict=False)]
    total = 0.0
    for teacher in known.logits_kbc:
        imitated = [
            -float(softmax(z / 2) @ log_softmax(own / 2))
            for z, own in zip(teacher[: len(labelled)], known.student_bc, strict=False)
        ]
        total += 0.5 * mean(labelled, known.weights) + 0.5 * sum(imitated) / len(imitated)
    return total


REFERENCES: dict[str, Callable[[Known], float]] = {
    "cct": cct,
    "ce": plain,
    "coteaching": coteaching,
    "coteaching_plus": coteaching_plus,
    "decoupling": decoupling,
    "eac": eac,
    "jocor": jocor,
    "ltnet": ltnet,
    "nct": nct,
    "rayleigh": rayleigh,
    "scn": scn,
}
