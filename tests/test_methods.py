from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.params import Params, check_params, load_params
from pipeline.train_params import TrainParams
from train.methods import METHODS, Given, Losses, Method, Setting
from train.methods.cct import CCT, consistency
from train.methods.ce import CE
from train.outputs import Outputs
from train.schedules import ramp_up

torch.set_num_threads(1)

CLASSES = 7
PAPER = CCT(beta=4.0, lambda_max=0.9, rampup=27, after_rampup="hold")
SETTING = Setting(keys=pd.Series([f"video_{n:06d}" for n in range(9)]), classes=CLASSES, features=4, attention=True)


def batch(networks: int, samples: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(networks, samples, CLASSES, generator=generator, dtype=torch.float64)
    return logits, torch.randint(CLASSES, (samples,), generator=generator)


def losses(method: Method, logits: Tensor, labels: Tensor, epoch: int, weights: Tensor | None = None) -> Losses:
    given = Given(labels_b=labels, positions_b=torch.arange(len(labels)), epoch=epoch, class_weights_c=weights)
    return method.losses(Outputs(logits), given)


def reference(logits: Tensor, labels: Tensor, weight: float) -> tuple[float, float, float]:
    """Equations 1 to 3, term by term, in numpy."""
    exponentials = np.exp(logits.numpy())
    p_kbc = exponentials / exponentials.sum(-1, keepdims=True)
    supervised = consistent = 0.0
    for j, p in enumerate(p_kbc):
        supervised += np.mean([-np.log(row[label]) for row, label in zip(p, labels.tolist(), strict=True)])
        for k, q in enumerate(p_kbc):
            if k != j:
                consistent += (q * np.log(q / p)).sum(-1).mean()
    return (1 - weight) * supervised + weight * consistent, supervised, consistent


def params(**changes: object) -> TrainParams:
    committed: Params = load_params(Path(__file__).parent.parent / "params.yaml")
    return check_params(committed.model_dump() | changes)


@pytest.mark.parametrize("networks", [1, 2, 3, 4])
@pytest.mark.parametrize("epoch", [0, 5, 27, 40])
def test_cct_equals_the_equations(networks: int, epoch: int) -> None:
    logits, labels = batch(networks, seed=epoch)
    weight = ramp_up(epoch, beta=4.0, lambda_max=0.9, rampup=27, after_rampup="hold")
    found = losses(PAPER, logits, labels, epoch)
    expected = reference(logits, labels, weight)
    np.testing.assert_allclose([part.item() for part in found[:3]], expected, rtol=1e-6)
    assert found.total.shape == ()
    assert PAPER.coefficients(epoch) == {"lambda": weight}


def test_consistency_of_a_pair_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0.0]], [[np.log(3.0), 0.0]]], dtype=torch.float64)
    one_way = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    other_way = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert consistency(logits).item() == pytest.approx(one_way + other_way)


@pytest.mark.parametrize("networks", [1, 2, 3, 4])
def test_networks_that_agree_have_no_consistency_loss(networks: int) -> None:
    logits, labels = batch(1)
    found = losses(PAPER, logits.expand(networks, -1, -1), labels, 27)
    assert found.consistency.item() == 0


@pytest.mark.parametrize("networks", [1, 3])
def test_cct_without_lambda_is_a_sum_of_cross_entropies(networks: int) -> None:
    logits, labels = batch(networks)
    plain = CCT(beta=4, lambda_max=0, rampup=27, after_rampup="hold")
    found = losses(plain, logits, labels, 9)
    expected = sum(functional.cross_entropy(network, labels).item() for network in logits)
    assert found.total.item() == pytest.approx(expected)
    assert losses(CE(), logits, labels, 9).total.item() == pytest.approx(expected)


def test_cct_of_one_network_learns_as_cross_entropy_does() -> None:
    logits, labels = batch(1)
    logits.requires_grad_()
    plain = losses(CE(), logits, labels, 9)
    found = losses(PAPER, logits, labels, 9)
    (expected,) = torch.autograd.grad(plain.total, logits)
    (gradient,) = torch.autograd.grad(found.total, logits)
    torch.testing.assert_close(gradient, (1 - PAPER.coefficients(9)["lambda"]) * expected)


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 0, 1], [2, 1, 0]])
def test_cct_does_not_depend_on_the_order_of_networks(order: list[int]) -> None:
    logits, labels = batch(3)
    found = losses(PAPER, logits[order], labels, 20)
    torch.testing.assert_close(found[:3], losses(PAPER, logits, labels, 20)[:3])


def test_gradients_flow_through_both_sides_of_every_divergence() -> None:
    logits, _ = batch(3, samples=2)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(consistency, logits)
    (gradient,) = torch.autograd.grad(consistency(logits), logits)
    assert (gradient.abs().sum((1, 2)) > 0).all()


@pytest.mark.parametrize("method", [PAPER, CE()])
def test_class_weights_are_torchs(method: Method) -> None:
    logits, labels = batch(3)
    weights = torch.linspace(0.5, 2, CLASSES)
    found = losses(method, logits, labels, 20, weights)
    loss = torch.nn.CrossEntropyLoss(weights.double())
    expected = torch.stack([loss(network, labels) for network in logits]).sum()
    torch.testing.assert_close(found.supervision, expected)
    unweighted = losses(method, logits, labels, 20)
    torch.testing.assert_close(found.consistency, unweighted.consistency)


@pytest.mark.parametrize("method", [PAPER, CE()])
@pytest.mark.parametrize("samples", [1, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_and_weights_give_finite_losses_and_gradients(
    method: Method, samples: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(samples)
    signs = torch.randint(2, (3, samples, CLASSES), generator=generator) * 2 - 1
    logits = (100 * signs).to(dtype).requires_grad_()
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    for weights in (None, torch.zeros(CLASSES)):
        found = losses(method, logits, labels, 20, weights)
        (gradient,) = torch.autograd.grad(found.total, logits)
        assert gradient.isfinite().all()
        assert all(part.isfinite() and part.dtype == torch.float32 for part in found[:3])


@pytest.mark.parametrize("method", [PAPER, CE()])
def test_half_precision_logits_lose_nothing_more_under_autocast(method: Method) -> None:
    logits, labels = batch(3)
    half, weights = logits.bfloat16(), torch.linspace(0.5, 2, CLASSES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses(method, half, labels, 20, weights)
    expected = losses(method, half.double(), labels, 20, weights)
    assert expected.total.dtype == torch.float64
    for part, exact in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(part.double(), exact, rtol=1e-5, atol=0)


def test_original_code_scales_both_sums_and_lets_lambda_fall() -> None:
    original = METHODS["cct"].build(
        params(method="cct", compat="original", epochs=30, beta=0.65, lambda_max=0.9, rampup=None), SETTING
    )
    assert original.coefficients(27)["lambda"] == pytest.approx(0.9)
    assert original.coefficients(30)["lambda"] == pytest.approx(0.8928, abs=5e-5)
    logits, labels = batch(3)
    found = losses(original, logits, labels, 9)
    expected = reference(logits, labels, original.coefficients(9)["lambda"])
    np.testing.assert_allclose([part.item() for part in found[:3]], 0.33 * np.array(expected), rtol=1e-6)


def test_paper_form_follows_the_parameters() -> None:
    asked = params(method="cct", compat="paper", epochs=30, beta=2.0, lambda_max=0.9, rampup=None)
    assert asked.after_rampup == "hold"
    method = METHODS["cct"].build(asked, SETTING)
    assert [method.coefficients(epoch)["lambda"] for epoch in (27, 30)] == [0.9, 0.9]
    assert vars(method) == vars(CCT(beta=2.0, lambda_max=0.9, rampup=27, after_rampup="hold"))
    assert METHODS["cct"].build(asked.model_copy(update={"rampup": 5.0}), SETTING).coefficients(5) == {"lambda": 0.9}


def test_every_method_that_can_be_asked_for_exists() -> None:
    assert set(METHODS) == set(get_args(TrainParams.model_fields["method"].annotation))
    assert METHODS["ce"].build(params(method="ce"), SETTING).coefficients(3) == {}
