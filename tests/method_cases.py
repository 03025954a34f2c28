"""Random batches for every method, and how far a method is from its reference on them. Used by tests and benchmarks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pipeline.method_params import NETWORKS_OF
from pipeline.params import check_params, load_params
from pipeline.train_params import TrainParams
from tests.method_references import REFERENCES, Known, lesson
from train.methods import METHODS, Given, Method, Setting, build_method
from train.outputs import Outputs

COMMITTED = load_params(Path(__file__).parent.parent / "params.yaml").model_dump()
CLASSES, WIDTH, SIDE = 7, 16, 3
KEYS = [f"video-{number % 5}_{number:06d}" for number in range(40)]
SETTING = Setting(keys=pd.Series(KEYS), classes=CLASSES, features=WIDTH, attention=True)
EPOCHS = (0, 4, 12)
NETWORKS = {name: [NETWORKS_OF[name]] if name in NETWORKS_OF and name != "eac" else [1, 2, 3, 4] for name in METHODS}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A method, built, and a batch for it."""

    params: TrainParams
    method: Method
    outputs: Outputs
    given: Given
    others_ab: np.ndarray

    def moved(self, dtype: torch.dtype) -> "Case":
        """The same numbers in another precision."""
        outputs = Outputs(*(None if tensor is None else tensor.to(dtype) for tensor in self.outputs))
        return Case(params=self.params, method=self.method, outputs=outputs, given=self.given, others_ab=self.others_ab)

    def reference(self) -> float:
        """The loss by the independent formula, of exactly the stored numbers."""
        weights = self.given.class_weights_c
        known = Known(
            params=self.params,
            logits_kbc=_array(self.outputs.logits_kbc),
            features_kbd=_array(self.outputs.features_kbd),
            maps_kbchw=_array(self.outputs.attention_kbchw),
            labels=self.given.labels_b.tolist(),
            keys=[KEYS[position] for position in self.given.positions_b.tolist()],
            epoch=self.given.epoch,
            class_weights=[1.0] * CLASSES if weights is None else weights.tolist(),
            own={name.removeprefix("method."): _array(value) for name, value in self.method.named_parameters()},
            others_ab=self.others_ab,
            student_bc=None if self.outputs.student_sbc is None else _array(self.outputs.student_sbc)[0],
        )
        taught = 0.0 if known.student_bc is None else lesson(known)
        return REFERENCES[self.params.method](known) + taught

    def deviation(self) -> float:
        """Relative distance of the method's loss from the reference; absolute where the reference is below 1e-9."""
        expected, found = self.reference(), float(self.method.losses(self.outputs, self.given).total.detach())
        return abs(found - expected) / (abs(expected) if abs(expected) > 1e-9 else 1)


def params(**changes: object) -> TrainParams:
    """The committed parameters, 20 epochs, 30 % forgotten, with changes; checked."""
    defaults = {"networks": None, "epochs": 20, "forget_rate": 0.3, "rampup": None}
    return check_params(COMMITTED | defaults | changes)


def build(method: str, **changes: object) -> Method:
    """A method by its name."""
    return METHODS[method].build(params(method=method, **changes), SETTING)


def batch(networks: int, samples: int, *, seed: int, views: int = 1) -> tuple[Outputs, Tensor, Tensor]:
    """Random outputs, labels and positions, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 2 * torch.randn(networks, views * samples, *shape, generator=generator, dtype=torch.float64)

    outputs = Outputs(random(CLASSES), random(WIDTH), random(CLASSES, SIDE, SIDE))
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    return outputs, labels, torch.randperm(len(KEYS), generator=generator)[:samples]


def case(
    method: str,
    *,
    networks: int,
    samples: int = 20,
    epoch: int = 12,
    weighted: bool = False,
    seed: int = 0,
    student: bool = False,
) -> Case:
    """A method with a random batch; LTNet gets two more annotators, with gaps, from a file."""
    views = 1 + (method == "eac")
    outputs, labels, positions = batch(networks, samples, seed=seed, views=views)
    if student:
        outputs = outputs._replace(student_sbc=batch(1, samples, seed=seed + 1000, views=views)[0].logits_kbc)
    generator = np.random.default_rng(seed)
    others = generator.integers(-1, CLASSES, (2 if method == "ltnet" else 0, len(KEYS)))
    with TemporaryDirectory() as folder:
        changes: dict[str, object] = {"networks": networks, "warmup": 2, "distill": "on" if student else "off"}
        if len(others):
            path = Path(folder) / "labels.csv"
            table = pd.DataFrame({"key": KEYS, "one": others[0], "two": others[1]})
            table.sample(frac=1, random_state=seed).to_csv(path, index=False)
            changes["ltnet"] = {"labels": str(path), "diagonal": 0.9}
        asked = params(method=method, **changes)
        built = build_method(asked, SETTING)
    for parameter in built.parameters():
        noise = torch.from_numpy(generator.normal(0, 0.3, tuple(parameter.shape)))
        parameter.data = (parameter.data.double() + noise).to(parameter.dtype)
    given = Given(
        labels_b=labels,
        positions_b=positions,
        epoch=epoch,
        class_weights_c=torch.linspace(0.5, 2, CLASSES, dtype=torch.float64) if weighted else None,
    )
    return Case(params=asked, method=built, outputs=outputs, given=given, others_ab=others[:, positions.numpy()])


def cases(method: str, *, student: bool = False) -> Iterator[Case]:
    """Cases of every number of networks, several epochs, batch sizes and both kinds of weights."""
    for networks in NETWORKS[method]:
        for seed, epoch in enumerate(EPOCHS):
            for samples in (1, 2, 7, 20):
                for weighted in (False, True):
                    yield case(
                        method,
                        networks=networks,
                        samples=samples,
                        epoch=epoch,
                        weighted=weighted,
                        seed=seed,
                        student=student,
                    )


def _array(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().double().numpy()
