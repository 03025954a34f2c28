"""What must hold of the methods whatever the numbers: limits, symmetry, gradients, empty selections, extremes."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.contract import UserError
from tests.method_cases import CLASSES, KEYS, NETWORKS, SETTING, WIDTH, Case, batch, build, case, params
from tests.method_references import log_softmax, softmax
from train.label_files import vote_shares
from train.methods import METHODS, Given, Losses, Method, build_method
from train.methods.distillation import Distilled
from train.methods.eac import rectangles
from train.methods.ltnet import annotator_nll
from train.methods.memory import SampleMemory, uniform_draws
from train.methods.nct import NCT, variability
from train.methods.scn import SCN
from train.methods.selection import forget_rate, smallest
from train.outputs import Outputs

torch.set_num_threads(1)


def given(labels: Tensor, positions: Tensor | None = None, epoch: int = 12) -> Given:
    positions = torch.arange(len(labels)) if positions is None else positions
    return Given(labels_b=labels, positions_b=positions, epoch=epoch)


def losses(method: Method, logits: Tensor, labels: Tensor, epoch: int = 12) -> Losses:
    return method.losses(Outputs(logits), given(labels, epoch=epoch))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([functional.cross_entropy(network, labels) for network in logits]).sum()


def gradients(total: Tensor, logits: Tensor) -> list[bool]:
    """Which networks a scalar pulls at."""
    (gradient,) = torch.autograd.grad(total, logits)
    return (gradient.abs().sum((1, 2)) > 0).tolist()


@pytest.mark.parametrize("method", ["coteaching", "coteaching_plus"])
def test_forgetting_nothing_leaves_two_cross_entropies(method: str) -> None:
    outputs, labels, _ = batch(2, 20, seed=1)
    found = losses(build(method, forget_rate=0.0, warmup=99), outputs.logits_kbc, labels)
    torch.testing.assert_close(found.total, cross_entropy(outputs.logits_kbc, labels))
    assert found.details["selected"] == 1


def test_a_rate_of_zero_and_no_weight_make_jocor_two_cross_entropies() -> None:
    outputs, labels, _ = batch(2, 20, seed=1)
    found = losses(build("jocor", forget_rate=0.0, jocor={"weight": 0.0}), outputs.logits_kbc, labels)
    torch.testing.assert_close(found.total, cross_entropy(outputs.logits_kbc, labels))


def test_no_variability_and_no_mimicry_make_nct_two_cross_entropies() -> None:
    settings = params(method="nct").nct.model_dump() | {"alpha_max": 0.0, "variability": 0.0, "variability_max": 0.0}
    outputs, labels, _ = batch(2, 20, seed=1)
    found = losses(build("nct", nct=settings), outputs.logits_kbc, labels)
    torch.testing.assert_close(found.total, cross_entropy(outputs.logits_kbc, labels))


@pytest.mark.parametrize("method", ["cct", "jocor", "nct"])
def test_networks_that_agree_have_no_consistency_loss(method: str) -> None:
    outputs, labels, _ = batch(1, 9, seed=2)
    logits = outputs.logits_kbc.expand(NETWORKS[method][-1], -1, -1)
    assert losses(build(method), logits, labels).consistency.item() == 0


@pytest.mark.parametrize("method", ["cct", "ce", "jocor", "coteaching", "coteaching_plus", "decoupling"])
def test_the_order_of_networks_does_not_matter(method: str) -> None:
    outputs, labels, _ = batch(2, 20, seed=3)
    built = build(method, networks=2)
    one, other = (losses(built, logits, labels).total for logits in (outputs.logits_kbc, outputs.logits_kbc.flip(0)))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_samples_does_not_matter(method: str) -> None:
    each = case(method, networks=NETWORKS[method][0], weighted=True)
    size = len(each.given.labels_b)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([order, order + size])[: each.outputs.logits_kbc.shape[1]]
    outputs = Outputs(*(None if tensor is None else tensor[:, rows] for tensor in each.outputs))
    moved = replace(each.given, labels_b=each.given.labels_b[order], positions_b=each.given.positions_b[order])
    found, expected = each.method.losses(outputs, moved), each.method.losses(each.outputs, each.given)
    torch.testing.assert_close(found.total, expected.total)


def test_gradients_reach_both_networks_in_jocor_and_only_the_imitator_in_nct() -> None:
    outputs, labels, _ = batch(2, 20, seed=4)
    logits = outputs.logits_kbc.requires_grad_()
    assert gradients(losses(build("jocor"), logits, labels).consistency, logits) == [True, True]
    mimicry = losses(build("nct"), torch.stack([logits[0].detach(), logits[1]]), labels).consistency
    (through_second,) = torch.autograd.grad(mimicry, logits)
    p, q = (logits / 4).softmax(-1).detach()
    expected = 16 * (q - p) / 4 / len(labels)  # of T² KL(p ‖ q) with p held
    torch.testing.assert_close(through_second[1], expected)
    assert through_second[0].abs().max() == 0


@pytest.mark.parametrize("method", ["coteaching", "coteaching_plus", "decoupling"])
def test_only_indices_pass_between_the_networks(method: str) -> None:
    outputs, labels, _ = batch(2, 20, seed=5)
    built = build(method)
    logits = outputs.logits_kbc.clone().requires_grad_()
    (whole,) = torch.autograd.grad(losses(built, logits, labels).total, logits)
    apart = outputs.logits_kbc.clone().requires_grad_()
    halves = torch.stack([apart[0], outputs.logits_kbc[1]])
    (first,) = torch.autograd.grad(losses(built, halves, labels).total, apart)
    torch.testing.assert_close(first[0], whole[0])


@pytest.mark.parametrize("method", ["decoupling", "coteaching_plus"])
def test_no_disagreement_costs_nothing_and_pulls_at_nobody(method: str) -> None:
    outputs, labels, _ = batch(1, 9, seed=6)
    logits = outputs.logits_kbc.expand(2, -1, -1).clone().requires_grad_()
    found = losses(build(method), logits, labels)
    assert found.total.item() == 0
    assert gradients(found.total, logits) == [False, False]


@pytest.mark.parametrize("method", ["coteaching", "coteaching_plus", "jocor"])
def test_forgetting_everything_costs_nothing(method: str) -> None:
    outputs, labels, _ = batch(2, 9, seed=6)
    assert losses(build(method, forget_rate=1.0, forget_epochs=0), outputs.logits_kbc, labels).total.item() == 0


@pytest.mark.parametrize(("rate", "samples", "count"), [(0.9, 10, 1), (0.3, 10, 7), (0.4, 1, 0), (0, 5, 5), (1, 5, 0)])
def test_the_small_loss_rule_keeps_the_floor_of_the_share(rate: float, samples: int, count: int) -> None:
    values = torch.tensor(np.random.default_rng(0).permutation(samples) / 2)
    chosen = smallest(values, rate)
    assert chosen.sum() == count
    assert sorted(values[chosen].tolist()) == sorted(values.tolist())[:count]


def test_forget_rate_rises_linearly_then_stays() -> None:
    assert [forget_rate(e, rate=0.4, epochs=10) for e in (0, 5, 10, 30)] == [0, 0.2, 0.4, 0.4]
    assert forget_rate(0, rate=0.4, epochs=0) == 0.4


def test_forget_rate_is_the_noise_rate_unless_told() -> None:
    noisy = {"noise_kind": "pair", "noise_rate": 0.45, "forget_epochs": 10}
    assert build("coteaching", **noisy, forget_rate=None).coefficients(10) == {"forget_rate": 0.45}
    assert build("jocor", **noisy, forget_rate=0.2).coefficients(5) == {"forget_rate": 0.1}


@pytest.mark.parametrize("method", ["coteaching", "coteaching_plus", "jocor"])
def test_who_forgets_nothing_is_told(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    build(method, forget_rate=0.0)
    assert capsys.readouterr().out == ""
    build(method, forget_rate=None)
    assert f"method {method} learns from all samples, because forget_rate is null" in capsys.readouterr().out


@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.2), (3, 0.2), (4, 0.2), (10, 0.5434), (19, 0.6893)])
def test_nct_varies_its_targets_more_and_more(epoch: int, expected: float) -> None:
    assert variability(epoch, epochs=20, start=0.2, most=0.7, after=3) == pytest.approx(expected, abs=5e-5)
    assert variability(4, epochs=4, start=0.2, most=0.7, after=3) == 0.7  # one epoch more than asked
    assert build("nct").coefficients(epoch)["variability"] == pytest.approx(expected, abs=5e-5)


def test_nct_draws_targets_at_its_rate_for_each_network_on_its_own() -> None:
    keys = pd.Series([f"k{number}" for number in range(20_000)])
    method = NCT(params(method="nct").nct, epochs=20, seed=0, setting=replace(SETTING, keys=keys))
    labels = torch.zeros(len(keys), dtype=torch.int64)
    first, second = changed = method.targets(given(labels, epoch=0)) != labels
    assert changed.float().mean().item() == pytest.approx(0.2 * 6 / 7, abs=0.01)  # a drawn target may be the label
    assert (first & second).float().mean().item() == pytest.approx((0.2 * 6 / 7) ** 2, abs=0.005)
    assert not torch.equal(method.targets(given(labels, epoch=0)), method.targets(given(labels, epoch=1)))


def test_ltnet_with_identity_is_cross_entropy() -> None:
    outputs, labels, _ = batch(1, 9, seed=7)
    log_p = outputs.logits_kbc[0].log_softmax(-1)
    nll = annotator_nll(log_p, torch.eye(CLASSES, dtype=torch.float64).log()[None], labels[None])
    torch.testing.assert_close(nll[0], functional.cross_entropy(outputs.logits_kbc[0], labels, reduction="none"))


def test_ltnet_hears_a_crowd_as_the_mean_of_its_votes() -> None:
    """Against the formula, vote by vote in float64; a picture without votes has no say."""
    generator = np.random.default_rng(3)
    votes = generator.integers(0, 4, (len(KEYS), CLASSES))
    votes[5] = 0
    shares = vote_shares(pd.Series([*map(np.array, votes[:-1]), None]), CLASSES, source="there")
    setting = replace(SETTING, votes_nc=shares)
    method = METHODS["ltnet"].build(params(method="ltnet", ltnet={"labels": "votes", "diagonal": 0.8}), setting)
    matrices = torch.from_numpy(generator.normal(0, 1, (2, CLASSES, CLASSES)))
    method.matrices_acc.data = matrices
    outputs, labels, _ = batch(1, 6, seed=1)
    positions = torch.tensor([0, 5, 7, len(KEYS) - 1, 9, 20])
    found = method.losses(outputs, Given(labels_b=labels, positions_b=positions, epoch=0)).total
    stochastic = [np.exp(raw) / np.exp(raw).sum(1, keepdims=True) for raw in matrices.numpy()]
    given, crowd = [], []
    for logits, label, position in zip(outputs.logits_kbc[0].numpy(), labels.tolist(), positions.tolist(), strict=True):
        p = np.exp(logits) / np.exp(logits).sum()
        given.append(-np.log(p @ stochastic[0][:, label]))
        heard = [c for c in range(CLASSES) for _ in range(votes[position, c] if position < len(KEYS) - 1 else 0)]
        if heard:
            crowd.append(np.mean([-np.log(p @ stochastic[1][:, vote]) for vote in heard]))
    assert len(crowd) == 4
    assert float(found.detach()) == pytest.approx(np.mean(given) + np.mean(crowd), rel=1e-6)


def test_ltnet_trains_matrices_that_stay_stochastic_and_ignores_absent_labels() -> None:
    each = case("ltnet", networks=1)
    matrices = dict(each.method.named_parameters())["matrices_acc"]
    optimizer = torch.optim.Adam([matrices], lr=0.5)
    before = each.method.losses(each.outputs, each.given).total
    for _ in range(20):
        optimizer.zero_grad()
        each.method.losses(each.outputs, each.given).total.backward()
        optimizer.step()
    assert each.method.losses(each.outputs, each.given).total < before
    torch.testing.assert_close(matrices.softmax(-1).sum(-1), torch.ones(3, CLASSES))
    each.method.others_an[:] = -1
    alone = each.method.losses(each.outputs, each.given).total
    assert alone.isfinite()
    assert alone < before


def test_scn_relabels_doubtful_samples_of_the_low_group_by_key() -> None:
    settings = params(method="scn").scn.model_dump()
    method = build("scn", scn=settings | {"relabel_from": 3})
    assert isinstance(method, SCN)
    method.attention.weight.data.zero_()
    method.attention.weight.data[0, 0] = 1
    features = torch.zeros(1, 10, WIDTH)
    features[0, :, 0] = torch.linspace(5, 2, 10)  # the last three are the low group
    logits = torch.zeros(1, 10, CLASSES)
    logits[0, :, 4] = 5.0
    labels, positions = torch.tensor([0] * 9 + [4]), torch.arange(10, 20)
    outputs = Outputs(logits, features)
    method.observe(outputs, given(labels, positions, epoch=2))
    assert (method.relabelled.values_n == -1).all()
    method.observe(outputs, given(labels, positions, epoch=3))
    assert method.relabelled.recall(positions).tolist() == [-1] * 7 + [4, 4, -1]
    assert method.losses(outputs, given(labels, positions)).details["relabelled"].item() == pytest.approx(0.2)
    half = torch.cat([positions, positions[:1]])
    assert method.relabelled.recall(half)[-1] == -1


def test_memories_are_taken_over_by_key_whatever_the_order() -> None:
    memory = SampleMemory(pd.Series(list("abcd")), initial=-1)
    memory.remember(torch.tensor([2, 0, 2]), torch.tensor([5, 6, 7]))
    assert memory.values_n.tolist() == [6, -1, 7, -1]
    other = SampleMemory(pd.Series(list("cbae")), initial=-1)
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    assert other.values_n.tolist() == [7, -1, 6, -1]


def test_a_method_comes_back_from_its_state() -> None:
    for name in ("scn", "ltnet", "rayleigh", "nct"):
        each = case(name, networks=NETWORKS[name][0])
        fresh = case(name, networks=NETWORKS[name][0]).method
        for value in fresh.parameters():
            value.data.zero_()
        fresh.load_state_dict(each.method.state_dict())
        assert fresh.losses(each.outputs, each.given).total == each.method.losses(each.outputs, each.given).total


def test_rayleigh_pulls_features_to_their_centre_and_weights_carry_no_gradient() -> None:
    each = case("rayleigh", networks=1)
    features = each.outputs.features_kbd.clone().requires_grad_()
    found = each.method.losses(Outputs(each.outputs.logits_kbc, features), each.given)
    (step,) = torch.autograd.grad(found.consistency, features)
    nearer = each.method.losses(Outputs(each.outputs.logits_kbc, features - 10 * step), each.given)
    assert nearer.consistency < found.consistency
    assert not found.supervision.requires_grad


def test_maps_that_mirror_each_other_cost_nothing() -> None:
    outputs, labels, _ = batch(2, 5, seed=8)
    both = torch.cat([outputs.attention_kbchw, outputs.attention_kbchw.flip(-1)], dim=1)
    logits = torch.cat([outputs.logits_kbc] * 2, dim=1)
    method = build("eac", networks=2)
    found = method.losses(Outputs(logits, None, both), given(labels))
    assert found.consistency == 0
    torch.testing.assert_close(found.total, cross_entropy(outputs.logits_kbc, labels))
    shifted = method.losses(Outputs(logits, None, outputs.attention_kbchw.repeat(1, 2, 1, 1, 1)), given(labels))
    assert shifted.consistency > 0


def test_eac_shows_each_picture_erased_and_mirrored() -> None:
    method, pictures = build("eac"), torch.rand(40, 3, 32, 32) + 0.1
    shown = method.views(pictures, given(torch.zeros(40, dtype=torch.int64)))
    assert torch.equal(shown[40:], shown[:40].flip(-1))
    erased = (shown[:40] == 0).all(1)
    assert torch.equal(shown[:40] == 0, erased[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(shown[:40][shown[:40] != 0], pictures[shown[:40] != 0])
    assert 10 < erased.flatten(1).any(1).sum() < 30
    again = method.views(pictures[[3, 1]], given(torch.zeros(2, dtype=torch.int64), torch.tensor([3, 1])))
    assert torch.equal(again[:2], shown[[3, 1]])


def test_erased_rectangles_have_the_asked_areas_and_places() -> None:
    masks = rectangles(uniform_draws(torch.arange(3000), 1, draws=5), 0.5, 64)
    areas = masks.flatten(1).float().mean(1)
    hit = areas > 0
    assert hit.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert 0.015 < areas[hit].min() < areas[hit].max() < 0.265
    assert areas[hit].mean().item() == pytest.approx(0.135, abs=0.005)
    for mask in masks[hit][:50]:
        assert mask.sum() == mask.any(0).sum() * mask.any(1).sum()
    assert masks[:, 0].any() and masks[:, -1].any() and masks[:, :, 0].any() and masks[:, :, -1].any()


def test_eac_needs_maps() -> None:
    with pytest.raises(UserError, match="method eac needs class activation maps, and resnet18 has none"):
        METHODS["eac"].build(params(method="eac"), replace(SETTING, attention=False))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("samples", [1, 6])
def test_extreme_logits_give_finite_losses_and_gradients(method: str, dtype: torch.dtype, samples: int) -> None:
    each = case(method, networks=NETWORKS[method][-1], samples=samples, weighted=True).moved(dtype)
    logits = (100 * each.outputs.logits_kbc.sign()).requires_grad_()
    outputs = each.outputs._replace(logits_kbc=logits)
    for weights in (None, torch.zeros(CLASSES)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = each.method.losses(outputs, replace(each.given, class_weights_c=weights))
        parts = [*found[:3], *found.details.values()]
        assert all(part.isfinite() and part.dtype == torch.float32 for part in parts)
        learned = [logits, *each.method.parameters()]
        for gradient in torch.autograd.grad(found.total, learned, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()
        each.method.observe(outputs.detached(), each.given)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_outputs_lose_nothing_more(method: str) -> None:
    each = case(method, networks=NETWORKS[method][0], weighted=True).moved(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = each.method.losses(each.outputs, each.given).total
    assert found.item() == pytest.approx(each.reference(), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_own_rows_with_gradients_and_all_rows_give_the_same_loss_and_gradient(method: str) -> None:
    """What ranks do: each has a gradient for its rows only; the sum over ranks is the gradient of the whole batch."""
    each = case(method, networks=NETWORKS[method][0], weighted=True)
    leaf = each.outputs.logits_kbc.clone().requires_grad_()
    total = each.method.losses(each.outputs._replace(logits_kbc=leaf), each.given).total
    (whole,) = torch.autograd.grad(total, leaf)
    summed = torch.zeros_like(whole)
    for rows in (slice(0, 8), slice(8, None)):
        own = each.outputs.logits_kbc.clone()
        part = own[:, rows].clone().requires_grad_()
        joined = torch.cat([part, own[:, 8:]] if rows.start == 0 else [own[:, :8], part], dim=1)
        loss = each.method.losses(each.outputs._replace(logits_kbc=joined), each.given).total
        torch.testing.assert_close(loss, total)
        (gradient,) = torch.autograd.grad(loss, part)
        summed[:, rows] += gradient
    torch.testing.assert_close(summed, whole)


@pytest.mark.parametrize("method", METHODS)
def test_class_weights_of_one_change_nothing(method: str) -> None:
    each: Case = case(method, networks=NETWORKS[method][0])
    ones = replace(each.given, class_weights_c=torch.ones(CLASSES))
    plain, weighted = (each.method.losses(each.outputs, known).total for known in (each.given, ones))
    torch.testing.assert_close(plain, weighted)


def test_a_student_learns_by_the_formula_and_changes_nothing_for_the_others() -> None:
    outputs, labels, _ = batch(4, 9, seed=9)
    teachers, student = outputs.logits_kbc[:3].requires_grad_(), outputs.logits_kbc[3:].requires_grad_()
    method, alone = build("cct", networks=3), losses(build("cct", networks=3), teachers, labels)
    found = Distilled(method).losses(Outputs(teachers, student_sbc=student), given(labels))
    expected, z = 0.0, student.detach().numpy()[0]
    for teacher in teachers.detach().numpy():
        for b, label in enumerate(labels.tolist()):
            soft = -float(softmax(teacher[b] / 2) @ log_softmax(z[b] / 2))
            expected += (0.5 * -float(log_softmax(z[b])[label]) + 0.5 * soft) / len(labels)
    assert found.details["distillation"].item() == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(found.total - alone.total, found.details["distillation"])
    ours = torch.autograd.grad(found.total, [teachers, student])
    torch.testing.assert_close(ours[0], torch.autograd.grad(alone.total, teachers)[0])
    assert ours[1].abs().max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_any_method_may_have_a_student(method: str) -> None:
    asked = params(method=method, distill="on")
    built = build_method(asked, SETTING)
    assert isinstance(built, Distilled)
    assert built.needs == METHODS[method].needs
    size = 6
    outputs, labels, positions = batch(asked.networks, size, seed=1, views=1 + (method == "eac"))
    outputs = outputs._replace(student_sbc=outputs.logits_kbc[:1])
    alone = built.method.losses(outputs, given(labels, positions)).total
    found = built.losses(outputs, given(labels, positions))
    assert (found.total - alone).item() == pytest.approx(found.details["distillation"].item())


def test_methods_state_how_many_networks_they_are_for() -> None:
    from pipeline.method_params import NETWORKS_OF

    for name, method in METHODS.items():
        assert method.networks == (None if name in ("cct", "ce", "eac") else NETWORKS_OF[name])
    assert KEYS[0] == SETTING.keys[0]
