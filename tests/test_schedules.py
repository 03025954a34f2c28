import math

import pytest

from train.schedules import AfterRampUp, learning_rate, ramp_up, ramp_up_epoch


def original(epoch: float, after_rampup: AfterRampUp) -> float:
    """The authors' 30 epochs with β 0.65."""
    rampup = ramp_up_epoch(30, None)
    return ramp_up(epoch, beta=0.65, lambda_max=0.9, rampup=rampup, after_rampup=after_rampup)


@pytest.mark.parametrize("after_rampup", ["hold", "fall"])
@pytest.mark.parametrize(("epoch", "expected"), [(0, 0.4698), (9, 0.6742), (27, 0.9)])
def test_values_up_to_the_ramp_up_epoch(epoch: int, expected: float, after_rampup: AfterRampUp) -> None:
    assert original(epoch, after_rampup) == pytest.approx(expected, abs=5e-5)


def test_values_after_the_ramp_up_epoch() -> None:
    assert original(30, "hold") == 0.9
    assert original(30, "fall") == pytest.approx(0.8928, abs=5e-5)


@pytest.mark.parametrize("beta", [0.1, 0.65, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0])
def test_rises_to_its_maximum_and_never_leaves_its_range(beta: float) -> None:
    def held(epoch: float) -> float:
        return ramp_up(epoch, beta=beta, lambda_max=0.9, rampup=20, after_rampup="hold")

    values = [held(epoch / 4) for epoch in range(160)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.9 * math.exp(-beta))
    assert values[80:] == [0.9] * 80


def test_falls_as_it_rose() -> None:
    def falling(epoch: float) -> float:
        return ramp_up(epoch, beta=4, lambda_max=0.9, rampup=10, after_rampup="fall")

    rising = [falling(10 - step) for step in range(10)]
    assert [falling(10 + step) for step in range(10)] == pytest.approx(rising)


def test_no_beta_means_no_ramp() -> None:
    assert ramp_up(0, beta=0, lambda_max=0.9, rampup=27, after_rampup="hold") == 0.9


@pytest.mark.parametrize("rampup", [0, -1])
def test_a_ramp_up_without_length_is_refused(rampup: float) -> None:
    with pytest.raises(ValueError, match="rampup"):
        ramp_up(1, beta=4, lambda_max=0.9, rampup=rampup, after_rampup="hold")


def test_ramp_up_epoch() -> None:
    assert ramp_up_epoch(30, None) == 27
    assert ramp_up_epoch(30, 12.5) == 12.5


def test_learning_rate() -> None:
    assert learning_rate(0.001, decay=0.95, epoch=0) == 0.001
    assert learning_rate(0.01, decay=0.95, epoch=2) == pytest.approx(0.009025)
