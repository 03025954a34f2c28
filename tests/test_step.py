"""One step: cut into pieces or not, in float64 against the whole; what stops it; what it leaves alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from pipeline.contract import UserError
from tests.shard_sets import params
from train import loop, step
from train.compute import Compute
from train.methods import METHODS, Given, Method, Setting
from train.networks import Networks
from train.outputs import Needs, Outputs
from train.step import Learner, learn
from train.stream import Batch

torch.set_num_threads(1)

KEYS = pd.Series([f"video_{n:06d}" for n in range(12)])
CLASSES, FEATURES = 7, 6
CPU = torch.device("cpu")


class Whole(Compute):
    """Float64 throughout."""

    def inputs(self, pictures_bchw: Tensor) -> Tensor:
        return super().inputs(pictures_bchw).double()


class Plain(nn.Module):
    """K small networks without batch normalisation, which alone would see the pieces."""

    def __init__(self, networks: int, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.maps = nn.ParameterList(
            torch.randn(FEATURES, 3, 1, 1, generator=generator, dtype=torch.float64) for _ in range(networks)
        )
        self.heads = nn.ParameterList(
            torch.randn(CLASSES, FEATURES, generator=generator, dtype=torch.float64) for _ in range(networks)
        )
        self.dropout = dropout
        self.masks: list[Tensor] = []

    def forward(self, pictures_bchw: Tensor, needs: Needs) -> Outputs:
        maps_kbdhw = torch.stack([nn.functional.conv2d(pictures_bchw, weight).tanh() for weight in self.maps])
        features_kbd = maps_kbdhw.mean((-1, -2))
        if self.dropout:
            mask = nn.functional.dropout(torch.ones_like(features_kbd), self.dropout)
            self.masks.append(mask)
            features_kbd = features_kbd * mask
        logits = torch.stack([f @ head.T for f, head in zip(features_kbd, self.heads, strict=True)])
        attention = torch.stack(
            [torch.einsum("bdhw,cd->bchw", m, h) for m, h in zip(maps_kbdhw, self.heads, strict=True)]
        )
        return Outputs(logits, features_kbd if needs.features else None, attention if needs.attention else None)


def learner(networks: nn.Module, method: Method, **changes: Any) -> Learner:
    made = Learner(
        networks=networks,  # type: ignore[arg-type]
        method=method,
        optimizer=torch.optim.SGD([*networks.parameters(), *method.parameters()], lr=0.1),
        compute=Whole(devices=(CPU,)),
        name_samples=lambda positions: KEYS.iloc[positions.numpy()].tolist(),
    )
    return replace(made, **changes)


def built(name: str) -> Method:
    setting = Setting(keys=KEYS, classes=CLASSES, features=FEATURES, attention=True)
    asked = params(method=name, networks=METHODS[name].networks or 3, epochs=30, beta=0.65)
    return METHODS[name].build(asked, setting).double()


def batch(samples: int = 12, epoch: int = 12) -> tuple[Tensor, Given]:
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(256, (samples, 3, 4, 4), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    return pictures, Given(labels_b=labels, positions_b=torch.arange(samples), epoch=epoch)


def test_memories_are_updated_by_the_parameters_that_the_losses_met(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, method = Plain(1), built("scn")
    student, seen = learner(networks, method), []

    def parameters() -> list[Tensor]:
        return [p.detach().clone() for p in (*networks.parameters(), *method.parameters())]

    before = parameters()
    monkeypatch.setattr(method, "observe", lambda *_: seen.append(all(map(torch.equal, parameters(), before))))
    learn(student, *batch())
    assert seen == [True] and not all(map(torch.equal, parameters(), before))


@pytest.mark.parametrize("micro_batch", [1, 5, 12])
@pytest.mark.parametrize("name", METHODS)
def test_pieces_of_a_batch_teach_what_the_whole_teaches(name: str, micro_batch: int) -> None:
    ends = []
    for size in (None, micro_batch):
        method = built(name)
        networks = Plain(method.networks or 3)
        student = learner(networks, method, micro_batch=size)
        totals = [float(learn(student, *batch())[0].total) for _ in range(3)]
        ends.append((totals, [*networks.state_dict().values(), *method.state_dict().values()]))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-12)
    for one, other in zip(ends[0][1], ends[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_pieces_that_speak_twice_forget_the_same_neurons() -> None:
    networks = Plain(2, dropout=0.5)
    learn(learner(networks, built("cct"), micro_batch=5), *batch())
    first, second = networks.masks[:3], networks.masks[3:]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_the_same_holds_on_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test machine has two: what torch is asked for is what can be tested."""
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    states, restored = {first: torch.tensor([1]), second: torch.tensor([2])}, {}
    monkeypatch.setattr(torch.cuda, "get_rng_state", states.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, gpu: restored.update({gpu: state}))
    step.restore_random_states((first, second), step.random_states((first, second)))
    assert restored == states


class Overflowing(Plain):
    """Its first gradient is not finite, its loss is."""

    def __init__(self) -> None:
        super().__init__(1)
        self.passes = 0

    def forward(self, pictures_bchw: Tensor, needs: Needs) -> Outputs:
        outputs = super().forward(pictures_bchw, needs)
        self.passes += 1
        return outputs.changed(lambda said: said + (said[..., :1] * 0).sqrt()) if self.passes == 1 else outputs


def test_an_overflow_in_fp16_changes_nothing_but_the_scale() -> None:
    networks, method = Overflowing(), built("scn")
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = torch.optim.Adam([*networks.parameters(), *method.parameters()], lr=0.01, fused=True)
    student, seen = learner(networks, method, scaler=scaler, optimizer=optimizer), []

    def state() -> list[Tensor]:
        return [value.clone() for value in (*networks.state_dict().values(), *method.state_dict().values())]

    before = state()
    for _ in range(2):
        learn(student, *batch())
        seen.append((all(map(torch.equal, state(), before)), scaler.get_scale()))
    assert seen == [(True, 4.0), (False, 4.0)]


def test_batch_norm_counts_each_piece_once() -> None:
    networks = Networks("resnet18", networks=1, classes=CLASSES, seed=0)
    student = learner(networks, built("ce").float(), compute=Compute(devices=(CPU,)), micro_batch=4)
    pictures, given = batch()
    learn(student, nn.functional.interpolate(pictures, 64), given)
    assert networks.state_dict()["networks.0.bn1.num_batches_tracked"] == 3


def test_networks_on_devices_of_their_own_say_the_same() -> None:
    pictures, given = batch(4)
    pictures = nn.functional.interpolate(pictures, 64)
    said = []
    for devices in ((CPU,), (CPU, CPU)):
        compute = Compute(devices=devices)
        networks = compute.place(Networks("resnet18", networks=3, classes=CLASSES, seed=0))
        said.append(learn(learner(networks, built("cct").float(), compute=compute), pictures, given)[1].logits_kbc)
    assert torch.equal(said[0], said[1])


def test_a_network_is_sent_to_its_own_device() -> None:
    compute = Compute(devices=(CPU, torch.device("meta")))
    networks = compute.place(Networks("resnet18", networks=3, classes=CLASSES, seed=0))
    devices = [next(network.parameters()).device.type for network in networks.networks]
    assert devices == ["cpu", "meta", "cpu"]


class Poisoned(Plain):
    """Says something that is not a number about chosen samples, or has gradients that are none."""

    def __init__(self, samples: list[int], *, gradient: bool = False) -> None:
        super().__init__(2)
        self.samples, self.gradient = samples, gradient

    def forward(self, pictures_bchw: Tensor, needs: Needs) -> Outputs:
        outputs = super().forward(pictures_bchw, needs)
        if self.gradient:
            root = (outputs.logits_kbc * 0).sum().sqrt()  # 0, whose gradient is infinite times 0
            return outputs.changed(lambda said: said + root)
        logits = outputs.logits_kbc.clone()
        logits[:, self.samples] = float("nan")
        return Outputs(logits)


@pytest.mark.parametrize(
    ("samples", "gradient", "said"),
    [
        ([3], False, r"the loss is nan in epoch 12 \(at video_000003\); no step was taken"),
        (
            list(range(12)),
            False,
            r"\(batch of video_000000, video_000001, video_000002, video_000003 and 8 more\); no step",
        ),
        ([], True, r"a gradient is not finite in epoch 12 \(batch of video_000000"),
    ],
)
def test_what_is_not_finite_stops_before_the_step_and_names_samples(
    samples: list[int], gradient: bool, said: str
) -> None:
    networks = Poisoned(samples, gradient=gradient)
    before = [value.clone() for value in networks.parameters()]
    with pytest.raises(UserError, match=said):
        learn(learner(networks, built("cct")), *batch())
    assert all(torch.equal(one, other) for one, other in zip(before, networks.parameters(), strict=True))


class Greedy(Plain):
    """Wants more memory than there is; no test machine has a GPU to fill."""

    def forward(self, pictures_bchw: Tensor, needs: Needs | None = None) -> Outputs:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore")


@pytest.mark.parametrize(("micro_batch", "advice"), [(None, "micro_batch to 6"), (4, "micro_batch to 2")])
def test_too_little_memory_is_one_line_that_says_what_to_set(micro_batch: int | None, advice: str) -> None:
    pictures, given = batch()
    positions = given.positions_b.numpy()
    shares = [(positions, Batch(pictures, given.labels_b, given.positions_b))]
    student = learner(Greedy(1), built("ce"), micro_batch=micro_batch)
    with pytest.raises(UserError, match=advice) as caught:
        list(loop.train_batches(student, shares, given.labels_b.numpy(), epoch=0, class_weights_c=None))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("batch_size", "advice"), [(12, "micro_batch to 6"), (4, "micro_batch to 2")])
def test_the_same_is_said_where_nothing_is_learned(batch_size: int, advice: str) -> None:
    pictures, given = batch()
    faces = [
        Batch(pictures[begin : begin + batch_size], given.labels_b, given.positions_b)
        for begin in range(0, len(pictures), batch_size)
    ]
    with pytest.raises(UserError, match=advice) as caught:
        loop.predict(Greedy(1), faces, Whole(devices=(CPU,)))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
