import copy
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.contract import UserError
from pipeline.train_params import TrainParams
from train import loop
from train.compute import Compute
from train.networks import Networks
from train.outputs import Needs
from train.starting_points import load_backbone, start_from
from train.stream import Batch

torch.set_num_threads(1)

CLASSES = 7
State = dict[str, Tensor]


def small(name: str = "resnet18", *, seed: int = 0) -> nn.Module:
    """A ResNet with all its tensors, each cut to two entries an axis, so that files of it are small."""
    network = Networks(name, networks=1, classes=CLASSES, seed=seed).networks[0]
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data[(slice(2),) * tensor.ndim].clone()
    return network


SAVED = [small(seed=k).state_dict() for k in (1, 2, 3)]
"""What files are made of: three networks."""

FRESH = small(seed=0)


@pytest.fixture
def network() -> nn.Module:
    return copy.deepcopy(FRESH)


def pictures(samples: int = 2) -> Tensor:
    return torch.randn(samples, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def backbone(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def equal(state: State, other: State) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def test_networks_differ_and_do_not_depend_on_how_many_there_are() -> None:
    random_state = torch.get_rng_state()
    three = [net.state_dict() for net in Networks("resnet18", networks=3, classes=CLASSES, seed=4).networks]
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.manual_seed(9)
    (one,) = Networks("resnet18", networks=1, classes=CLASSES, seed=4).networks
    (other,) = Networks("resnet18", networks=1, classes=CLASSES, seed=5).networks
    assert equal(one.state_dict(), three[0])
    for key in ("conv1.weight", "fc.weight"):
        states = [*three, other.state_dict()]
        assert len({state[key].sum().item() for state in states}) == 4


def test_forward_stacks_what_the_networks_say() -> None:
    networks = Networks("resnet18", networks=3, classes=CLASSES, seed=0).eval()
    with torch.no_grad():
        logits = networks(pictures()).logits_kbc
        assert logits.shape == (3, 2, CLASSES)
        torch.testing.assert_close(logits[1], networks.networks[1](pictures()))
        networks.networks = nn.ModuleList(networks.networks[k] for k in (2, 0, 1))
        torch.testing.assert_close(networks(pictures()).logits_kbc, logits[[2, 0, 1]])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0"])
def test_outputs_are_those_of_torchvisions_forward(name: str) -> None:
    networks = Networks(name, networks=2, classes=CLASSES, seed=0).eval()
    each = list(networks.networks)
    heads = [[layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1] for network in each]
    with torch.no_grad():
        outputs = networks(pictures(), Needs(features=True, attention=networks.attention))
        assert outputs.features_kbd.shape == (2, 2, networks.features)
        assert torch.equal(outputs.logits_kbc, torch.stack([network(pictures()) for network in each]))
        from_features = [head(features) for head, features in zip(heads, outputs.features_kbd, strict=True)]
        assert torch.equal(outputs.logits_kbc, torch.stack(from_features))
        if networks.attention:
            biases = torch.stack([head.bias for head in heads])[:, None]
            means = outputs.attention_kbchw.mean((-2, -1)) + biases
            torch.testing.assert_close(means, outputs.logits_kbc, rtol=1e-4, atol=1e-5)
        assert networks(pictures())[1:] == (None, None, None)
    assert networks.attention == (name != "mobilenet_v3_small")


def test_class_activation_maps_teach_the_layers_before_the_head_alone() -> None:
    networks = Networks("resnet18", networks=1, classes=CLASSES, seed=0)
    networks(pictures(), Needs(attention=True)).attention_kbchw.square().mean().backward()
    body = networks.networks[0].get_parameter("layer4.1.conv2.weight").grad
    assert body is not None and body.abs().max() > 0
    assert networks.networks[0].get_parameter("fc.weight").grad is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bf16", [False, True])
def test_predict_gives_probabilities_and_changes_no_state(training: bool, bf16: bool) -> None:
    networks = Networks("resnet18", networks=2, classes=CLASSES, seed=0).train(training)
    before = {key: value.clone() for key, value in networks.state_dict().items()}
    compute = Compute(devices=(torch.device("cpu"),), half=torch.bfloat16 if bf16 else None)
    faces = torch.arange(2 * 3 * 32 * 32, dtype=torch.uint8).reshape(2, 3, 32, 32)
    batch = Batch(faces, torch.zeros(2, dtype=torch.int64), torch.tensor([4, 1]))
    probabilities, positions = loop.predict(networks, [batch], compute)
    assert equal(networks.state_dict(), before)
    assert positions.tolist() == [4, 1]
    assert probabilities.dtype == np.float32
    with torch.no_grad():
        expected = networks.eval()(compute.inputs(faces)).logits_kbc.softmax(-1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=0.03 if bf16 else 1e-5)


def test_groups_hold_every_parameter_once() -> None:
    networks = Networks("resnet18", networks=3, classes=CLASSES, seed=0)
    backbones, heads = networks.parameter_groups(lr_backbone=0.001, lr_head=0.01)
    assert (backbones["lr"], heads["lr"]) == (0.001, 0.01)
    grouped = [id(parameter) for group in (backbones, heads) for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in networks.parameters())
    of_heads = [id(value) for key, value in networks.named_parameters() if ".fc." in key]
    assert [id(parameter) for parameter in heads["params"]] == of_heads
    assert len(of_heads) == 6


OTHERS = ["resnet34", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0"]


def test_every_backbone_that_can_be_asked_for_is_tried() -> None:
    assert set(get_args(TrainParams.model_fields["backbone"].annotation)) == {"resnet18", *OTHERS}


LARGE = {"resnet34", "resnet50"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in OTHERS])
def test_other_backbones(name: str, tmp_path: Path) -> None:
    networks = Networks(name, networks=1, classes=CLASSES, seed=0)
    with torch.no_grad():
        outputs = networks.eval()(pictures(1), Needs(features=True))
        assert torch.equal(outputs.logits_kbc[0], networks.networks[0](pictures(1)))
    assert outputs.features_kbd.shape == (1, 1, networks.features)
    _, heads = networks.parameter_groups(lr_backbone=0.001, lr_head=0.01)
    assert len(heads["params"]) == (4 if name.startswith("mobilenet") else 2)
    state = Networks(name, networks=1, classes=3, seed=1).networks[0].state_dict()
    save_file(state, tmp_path / "all.safetensors")
    report = load_backbone(networks.networks[0], tmp_path / "all.safetensors", index=0)
    assert report.matched == report.total
    assert report.missing == ()
    body = [key for key in state if key.split(".")[0] not in ("fc", "classifier") and "num_batches" not in key]
    assert report.total == len(body)
    assert all(torch.equal(networks.networks[0].state_dict()[key], state[key]) for key in body)
    save_file({key: state[key] for key in body[: len(body) * 9 // 10]}, tmp_path / "most.safetensors")
    with pytest.raises(UserError, match=r"matches (89|90)\.\d% of the backbone, at least 95%"):
        load_backbone(networks.networks[0], tmp_path / "most.safetensors", index=0)


def test_a_student_is_one_network_more_and_heard_of_apart(tmp_path: Path) -> None:
    networks = Networks("resnet18", networks=2, classes=CLASSES, seed=0, student=True).eval()
    without = Networks("resnet18", networks=2, classes=CLASSES, seed=0).eval()
    with torch.no_grad():
        outputs = networks(pictures(), Needs(features=True))
        assert torch.equal(outputs.logits_kbc, without(pictures()).logits_kbc)
        assert torch.equal(outputs.student_sbc[0], networks.networks[2](pictures()))
    assert len(outputs.features_kbd) == 2
    assert (networks.student, without.student) == (True, False)
    save_file(without.state_dict(), tmp_path / "two.safetensors")
    told = start_from(networks, tmp_path / "two.safetensors")
    assert [line.split(" took ")[0] for line in told] == ["init: network 1", "init: network 2", "init: the student"]
    first, last = (networks.networks[k].get_parameter("conv1.weight") for k in (0, 2))
    assert torch.equal(first, last)


def old_msceleb(states: list[State]) -> dict[str, Any]:
    """`res18_naive.pth_MSceleb.tar`: a prefix, two heads, and from before batch norm counted."""
    kept = {key: value for key, value in backbone(states[0]).items() if "num_batches" not in key}
    heads = {"feature.weight": torch.zeros(9, 512), "fc.weight": torch.zeros(9, 9), "fc.bias": torch.zeros(9)}
    return {"epoch": 3, "arch": "resnet18", "state_dict": under("module.", kept | heads), "best_prec1": 0.5}


def original_cct(states: list[State]) -> dict[str, Any]:
    models = {}
    for number, state in enumerate(states, start=1):
        head = {"classifier.weight": state["fc.weight"], "classifier.bias": state["fc.bias"]}
        models[f"model_{number}"] = under("module.", backbone(state) | head)
    return {" epoch": 3, **models, "optimizer": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 0.1}]}}


def ours(states: list[State]) -> State:
    return {f"networks.{k}.{key}": value for k, state in enumerate(states) for key, value in state.items()}


FORMATS: dict[str, tuple[str, Callable[[list[State]], Any]]] = {
    "bare": ("weights.pth", lambda states: states[0]),
    "wrapped": ("resnet18_msceleb.pth", lambda states: {"state_dict": states[0]}),
    "msceleb": ("res18_naive.pth_MSceleb.tar", old_msceleb),
    "original": ("epoch_3.pth", original_cct),
    "safetensors": ("weights.safetensors", lambda states: states[0]),
    "ours": ("last.safetensors", ours),
    "ours_parallel": ("last.pth", lambda states: under("module.", ours(states))),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_known_file_gives_its_backbones_alone(kind: str, network: nn.Module, tmp_path: Path) -> None:
    name, content = FORMATS[kind]
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(content(SAVED), path)
    head = network.get_parameter("fc.weight").clone()
    several = kind.startswith("ours") or kind == "original"
    for index in (0, 2):
        report = load_backbone(network, path, index=index)
        assert (report.matched, report.total, report.missing, report.unexpected) == (100, 100, (), ())
        assert equal(backbone(network.state_dict()), backbone(SAVED[index if several else 0]))
    assert torch.equal(network.get_parameter("fc.weight"), head)


def test_legacy_files_are_read_too(network: nn.Module, tmp_path: Path) -> None:
    torch.save(old_msceleb(SAVED), tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    assert load_backbone(network, tmp_path / "old.tar", index=1).matched == 100


def test_a_tensor_of_another_shape_does_not_match(network: nn.Module, tmp_path: Path) -> None:
    grey = SAVED[0] | {"conv1.weight": torch.zeros(2, 1, 2, 2), "mean": torch.zeros(1)}
    save_file(grey, tmp_path / "grey.safetensors")
    own = network.get_parameter("conv1.weight").clone()
    report = load_backbone(network, tmp_path / "grey.safetensors", index=0)
    assert (report.matched, report.total) == (99, 100)
    assert (report.missing, report.unexpected) == (("conv1.weight",), ("mean",))
    assert torch.equal(network.get_parameter("conv1.weight"), own)


@pytest.mark.parametrize("name", ["model", "model_state_dict"])
def test_weights_of_a_training_are_found_in_its_checkpoint(network: nn.Module, tmp_path: Path, name: str) -> None:
    torch.save({name: under("module.", SAVED[0]), "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "a.pth")
    assert load_backbone(network, tmp_path / "a.pth", index=2).matched == 100


@pytest.mark.parametrize("form", [ours, original_cct])
def test_the_only_network_of_a_file_starts_all(form: Callable[[list[State]], Any], tmp_path: Path) -> None:
    torch.save(form(SAVED[:1]), tmp_path / "one.pth")
    network = small("resnet18")
    for index in range(3):
        network.load_state_dict(SAVED[1])
        assert load_backbone(network, tmp_path / "one.pth", index=index).matched == 100
        assert equal(backbone(network.state_dict()), backbone(SAVED[0]))


@pytest.mark.parametrize("numpy_1", [False, True])
def test_numbers_of_numpy_beside_the_weights_are_no_danger(network: nn.Module, tmp_path: Path, numpy_1: bool) -> None:
    path = tmp_path / "a.pth"
    numbers = {"best": np.float64(0.5), "loss": np.float32(2), "epoch": np.int64(3), "done": np.bool_(True)}
    torch.save({"state_dict": SAVED[0], **numbers}, path)
    if numpy_1:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, data.replace(b"numpy._core", b"numpy.core"))
    assert torch.load(path, weights_only=False)["best"] == 0.5
    assert load_backbone(network, path, index=0).matched == 100


def test_numbers_of_eight_bits_are_read(network: nn.Module, tmp_path: Path) -> None:
    eight_bits = {key: value.to(torch.float8_e4m3fn) for key, value in SAVED[0].items()}
    torch.save(eight_bits, tmp_path / "small.pth")
    assert load_backbone(network, tmp_path / "small.pth", index=0).matched == 100
    assert torch.equal(network.get_parameter("conv1.weight"), eight_bits["conv1.weight"].float())


def deeper() -> State:
    return small("resnet34").state_dict()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda: under("encoder.", SAVED[0]), r"matches 0\.0% .*conv1\.weight"),
        (lambda: dict(list(SAVED[0].items())[:100]), r"matches 8\d\.\d% .*layer4"),
        (deeper, r"matches 5\d\.\d% .*layer1\.2\.conv1\.weight"),
        (lambda: original_cct(SAVED[:2]), "holds 2 networks and none for network 3"),
        (lambda: ours(SAVED[:2]), "holds 2 networks and none for network 3"),
        (lambda: SAVED[0] | {"bn1.bias": 0.5}, "'bn1.bias' is a float, not a tensor"),
        (lambda: {"state_dict": [1, 2]}, "holds a list, not a state dict"),
        (lambda: SAVED[0] | {"bn1.bias": torch.full_like(SAVED[0]["bn1.bias"], torch.nan)}, "bn1.bias holds numbers"),
        (lambda: {key: value.to(torch.int8) for key, value in SAVED[0].items()}, r"matches 0\.0%"),
        (lambda: SAVED[0] | {"bn1.bias": SAVED[0]["bn1.bias"].double() + 1e300}, "bn1.bias holds numbers"),
        (lambda: {key: value.to_sparse() for key, value in SAVED[0].items()}, r"matches 0\.0%"),
        (lambda: {key: value.to("meta") for key, value in SAVED[0].items()}, r"matches 0\.0%"),
        (lambda: torch.zeros(3), "holds a Tensor, not a state dict"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    content: Callable[[], object], complaint: str, network: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.pth"
    torch.save(content(), path)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UserError, match=complaint) as caught:
        load_backbone(network, path, index=2)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert equal(network.state_dict(), before)


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("writer", ["torch", "torch_legacy", "pickle_2", "pickle_5"])
def test_a_file_that_would_run_code_is_refused(writer: str, network: nn.Module, tmp_path: Path) -> None:
    path, target = tmp_path / "attack.pth", tmp_path / "attacked"
    pickle.loads(pickle.dumps(Attack(target)))
    target.unlink()
    content = {"state_dict": SAVED[0] | {"conv1.weight": Attack(target)}}
    if writer.startswith("torch"):
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    else:
        path.write_bytes(pickle.dumps(Attack(target), protocol=int(writer[-1])))
    with pytest.raises(UserError, match="refused because reading it would run code"):
        load_backbone(network, path, index=0)
    assert not target.exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 5000])
def test_damaged_files_are_named(name: str, kept: int, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)({"conv1.weight": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=name):
        load_backbone(network, path, index=0)


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors"])
def test_an_absent_file_is_named(name: str, network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{name} not found"):
        load_backbone(network, tmp_path / name, index=0)
