"""What the training loop promises."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import training  # noqa: E402
from minilib.training import Config, Cosine, Diverged, PiecewiseLinear, constant, train, warm_up  # noqa: E402

pytestmark = pytest.mark.torch

B, D_X, D = 6, 3, 5
CONFIG = Config(steps=11, rate=warm_up(1e-2, 4), clip=0.5, accumulate=2, average=0.9, seed=7)


def network(dropout=0.3, seed=0):
    """A network whose gradient needs the random state (dropout) and whose buffers change (running statistics)."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(D_X, D), nn.BatchNorm1d(D), nn.Dropout(dropout), nn.Linear(D, 1))


def batch(k, size=B):
    return torch.randn(size, D_X + 1, generator=training.generator(3, k))


def loss(model, xy):
    return (model(xy[:, :D_X]) - xy[:, D_X:]).square().mean()


class Stopped(Exception):
    """Stands for whatever ends a run in the middle."""


def until(stop, of=batch):
    def stopping(k):
        if k == stop:
            raise Stopped
        return of(k)

    return stopping


def same_bits(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------------------------------
# schedules


def test_a_piecewise_linear_schedule_goes_through_its_points_and_is_flat_outside():
    rate = PiecewiseLinear(((2, 1.0), (6, 3.0), (7, 0.0)))
    assert [rate(k) for k in (0, 2, 3, 4, 6, 7, 8, 100)] == [1.0, 1.0, 1.5, 2.0, 3.0, 0.0, 0.0, 0.0]
    assert constant(0.3)(0) == constant(0.3)(1000) == 0.3


def test_warm_up_rises_in_a_line_and_never_wastes_a_step():
    assert [warm_up(1.0, 4)(k) for k in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_cosine_falls_from_the_peak_to_the_floor_with_the_half_way_value_in_the_middle():
    rate = Cosine(peak=1.0, steps=13, warm_up=3, floor=0.2)
    assert [rate(k) for k in (0, 1, 2)] == pytest.approx([0.25, 0.5, 0.75])
    assert [rate(k) for k in (3, 8, 13, 99)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert rate(5) == pytest.approx(0.2 + 0.8 * math.cos(math.pi / 10) ** 2)


# ---------------------------------------------------------------------------------------------------------------
# one step


def test_a_plain_step_is_gradient_descent():
    model, config = network(dropout=0.0), Config(steps=1, rate=constant(0.1), clip=None)
    before, value = training._copy(model.state_dict()), loss(model, batch(0))
    slopes = torch.autograd.grad(value, list(model.parameters()))
    record = train(model, loss, batch, config, optimizer=torch.optim.SGD)
    for (name, after), slope in zip(model.named_parameters(), slopes, strict=True):
        torch.testing.assert_close(after.detach(), before[name] - 0.1 * slope)
    norm = torch.cat([slope.flatten() for slope in slopes]).norm().item()
    assert (record.losses, record.rates) == ([value.item()], [0.1])
    assert record.gradient_norms == [pytest.approx(norm)]


def test_accumulated_batches_are_one_big_batch():
    def linear():
        torch.manual_seed(0)
        return nn.Linear(D_X, 1).double()

    def parts(k):
        return batch(k).double()

    def whole(k):
        return torch.cat([parts(3 * k), parts(3 * k + 1), parts(3 * k + 2)])

    config = Config(steps=5, rate=constant(0.1), clip=0.7)
    small, big = linear(), linear()
    a = train(small, loss, parts, replace(config, accumulate=3), optimizer=torch.optim.SGD)
    b = train(big, loss, whole, config, optimizer=torch.optim.SGD)
    torch.testing.assert_close(small.state_dict(), big.state_dict(), rtol=1e-13, atol=1e-14)
    assert a.losses == pytest.approx(b.losses, rel=1e-13)
    assert a.gradient_norms == pytest.approx(b.gradient_norms, rel=1e-13)


@pytest.mark.parametrize("clip", [0.01, 100.0])
def test_clipping_shortens_the_gradient_of_all_parameters_together_and_turns_none(clip):
    def step(clip):
        model = network(dropout=0.0)
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        config = Config(steps=1, rate=constant(1.0), clip=clip)
        record = train(model, loss, batch, config, optimizer=torch.optim.SGD)
        return nn.utils.parameters_to_vector(model.parameters()).detach() - before, record.gradient_norms[0]

    (free, norm), (clipped, recorded) = step(None), step(clip)
    assert free.norm().item() == pytest.approx(norm, rel=1e-5)
    assert recorded == norm
    torch.testing.assert_close(clipped, free * min(1, clip / norm), rtol=1e-3, atol=1e-7)


def test_the_average_weighs_each_step_by_beta_to_the_power_of_its_age():
    seen, beta = [], 0.8
    model = network()
    seen.append(training._copy(model.state_dict()))
    watch = lambda step, model: seen.append(training._copy(model.state_dict()))  # noqa: E731
    record = train(model, loss, batch, replace(CONFIG, average=beta), watch=watch)
    n, first = len(seen) - 1, seen[0]
    for name, average in record.average.items():
        if average.is_floating_point():
            steps = sum((1 - beta) * beta ** (n - k) * seen[k][name] for k in range(1, n + 1))
            torch.testing.assert_close(average, beta**n * first[name] + steps)
        else:
            assert average == seen[-1][name]
    network().load_state_dict(record.average)


def test_the_record_holds_the_rate_of_every_step():
    record = train(network(), loss, batch, CONFIG)
    assert record.step == 11
    assert record.rates == [CONFIG.rate(k) for k in range(11)]


def test_the_optimizer_gets_the_rate_of_the_schedule():
    model, config = nn.Linear(D_X, 1), Config(steps=2, rate=PiecewiseLinear(((0, 0.0), (1, 0.5))), clip=None)
    weights = [model.weight.detach().clone()]
    watch = lambda step, model: weights.append(model.weight.detach().clone())  # noqa: E731
    train(model, loss, batch, config, optimizer=torch.optim.SGD, watch=watch)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


# ---------------------------------------------------------------------------------------------------------------
# rows of an epoch


def test_an_epoch_has_each_row_once_but_for_the_rest_and_the_next_one_another_order():
    epochs = [torch.cat([training.epoch_rows(17, 5, 3, k) for k in range(3 * e, 3 * e + 3)]) for e in range(2)]
    for rows in epochs:
        assert len(set(rows.tolist())) == 15
        assert set(rows.tolist()) <= set(range(17))
    assert not torch.equal(*epochs)
    assert torch.equal(training.epoch_rows(17, 5, 3, 4), training.epoch_rows(17, 5, 3, 4))
    assert not torch.equal(training.epoch_rows(17, 5, 2, 4), training.epoch_rows(17, 5, 3, 4))
    for size in (0, 18):
        with pytest.raises(ValueError, match=f"at most all 17 rows, got size = {size}"):
            training.epoch_rows(17, size, 0, 0)


# ---------------------------------------------------------------------------------------------------------------
# a disturbed parameter


def table_and_loss():
    torch.manual_seed(0)
    table, W = nn.Embedding(11, D_X).double(), torch.randn(D_X, dtype=torch.float64)
    return table, lambda: (table(torch.arange(7)) @ W).tanh().square().mean()


def test_a_small_disturbance_raises_the_loss_by_its_length_times_that_of_the_gradient_and_none_raises_it_more():
    table, loss = table_and_loss()
    start, epsilon = loss(), 1e-5
    start.backward()
    norm = table.weight.grad.norm().item()
    with training.disturbed(table.weight, epsilon) as delta:
        rise = loss().item() - start.item()
    assert delta.norm().item() == pytest.approx(epsilon)
    assert rise == pytest.approx(epsilon * norm, rel=1e-3)
    rises = []
    for seed in range(19):
        table.weight.grad = torch.randn(11, D_X, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        with training.disturbed(table.weight, epsilon):
            rises.append(loss().item() - start.item())
    assert max(rises) < rise


def test_after_a_disturbance_the_parameter_has_its_old_bits_and_the_sum_of_both_gradients():
    table, loss = table_and_loss()
    before = table.weight.detach().clone()
    loss().backward()
    first = table.weight.grad.clone()
    with training.disturbed(table.weight, 0.5) as delta:
        there = (before + delta).requires_grad_()
        loss().backward()
    assert torch.equal(table.weight, before)
    table.weight.grad, both = None, table.weight.grad
    with torch.no_grad():
        table.weight.copy_(there)
    loss().backward()
    torch.testing.assert_close(both, first + table.weight.grad, rtol=1e-13, atol=1e-15)
    assert (both - 2 * first).abs().max() > 1e-3


def test_the_loss_of_fgm_is_that_here_and_there_and_its_gradient_is_left_behind():
    table, loss = table_and_loss()
    value = training.fgm_loss(loss, table.weight, 0.5)
    got = table.weight.grad.clone()
    value.backward()  # as the loop does; nothing is left to add
    assert torch.equal(table.weight.grad, got)
    table.weight.grad = None
    first = loss()
    first.backward()
    with training.disturbed(table.weight, 0.5):
        second = loss()
        second.backward()
    assert torch.equal(table.weight.grad, got)
    assert value.item() == pytest.approx(first.item() + second.item())


def test_an_error_inside_leaves_the_parameter_as_it_was_and_a_gradient_of_zero_disturbs_nothing():
    table, loss = table_and_loss()
    before = table.weight.detach().clone()
    loss().backward()

    def stopped():
        with training.disturbed(table.weight, 0.5):
            assert not torch.equal(table.weight, before)
            raise Stopped

    with pytest.raises(Stopped):
        stopped()
    assert torch.equal(table.weight, before)
    table.weight.grad.zero_()
    with training.disturbed(table.weight, 0.5) as delta:
        assert torch.equal(table.weight, before)
    assert not delta.any()


@pytest.mark.parametrize(
    ("gradient", "epsilon", "message"),
    [
        (None, 0.5, r"no gradient yet; call backward\(\)"),
        (1.0, -0.5, r"non-negative and finite, got -0\.5"),
        (1.0, math.inf, "non-negative and finite, got inf"),
        (math.nan, 0.5, "has the norm nan"),
    ],
)
def test_a_disturbance_without_direction_or_length_is_refused(gradient, epsilon, message):
    p = nn.Parameter(torch.ones(3))
    p.grad = None if gradient is None else torch.full((3,), gradient)
    with pytest.raises(ValueError, match=message), training.disturbed(p, epsilon):
        pass
    assert torch.equal(p, torch.ones(3))


# ---------------------------------------------------------------------------------------------------------------
# the same run twice


def test_a_run_is_a_function_of_its_seed_and_leaves_the_callers_random_state_alone():
    def weights(seed):
        model = network()
        torch.manual_seed(99)
        state = torch.get_rng_state()
        train(model, loss, batch, replace(CONFIG, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        return model.state_dict()

    assert same_bits(weights(1), weights(1))
    assert not same_bits(weights(1), weights(2))


def test_batches_of_neighbouring_seeds_do_not_overlap():
    drawn = {
        (seed, k): torch.rand((), generator=training.generator(seed, k)).item() for seed in range(7) for k in range(7)
    }
    assert len(set(drawn.values())) == 49


@pytest.mark.parametrize("stop", [0, 1, 9, 12, 13, 21])
def test_a_run_that_stopped_and_went_on_equals_one_that_did_not_bit_for_bit(tmp_path, stop):
    through, path = network(), tmp_path / "run.pt"
    want = train(through, loss, batch, CONFIG)
    first = network()
    with pytest.raises(Stopped):
        train(first, loss, until(stop), CONFIG, checkpoint=path, every=3)
    again = network(seed=1) if path.exists() else network()
    got = train(again, loss, batch, CONFIG, checkpoint=path, every=3)
    assert same_bits(again.state_dict(), through.state_dict())
    assert same_bits(got.average, want.average)
    assert replace(got, average=None) == replace(want, average=None)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_training import CONFIG, batch, loss, network
from pathlib import Path
from minilib.training import train

def killed(k):
    if k == 15:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return batch(k)

train(network(), loss, killed, CONFIG, checkpoint=Path(sys.argv[1]), every=2)
"""


def test_a_killed_process_goes_on_in_another_one_with_the_same_bits(tmp_path):
    path = tmp_path / "run.pt"
    command = [sys.executable, "-c", SCRIPT, str(path), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode not in (0, 1)
    through, again, seen = network(), network(), []
    want = train(through, loss, batch, CONFIG)
    got = train(again, loss, lambda k: seen.append(k) or batch(k), CONFIG, checkpoint=path)
    assert seen == list(range(12, 22))
    assert same_bits(again.state_dict(), through.state_dict())
    assert same_bits(got.average, want.average)
    assert got.losses == want.losses


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, again, path = network(), network(seed=1), tmp_path / "run.pt"
    want = train(first, loss, batch, CONFIG, checkpoint=path)
    got = train(again, loss, until(0), CONFIG, checkpoint=path)
    assert got.losses == want.losses
    assert same_bits(again.state_dict(), first.state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 8}, "seed: 7 there, 8 here"),
        ({"steps": 12}, "steps: 11 there, 12 here"),
        ({"rate": constant(1.0)}, r"rate: PiecewiseLinear\(.*\) there, PiecewiseLinear\(.*\) here"),
        ({"average": None}, r"average: 0\.9 there, None here"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change, message):
    path = tmp_path / "run.pt"
    train(network(), loss, batch, CONFIG, checkpoint=path)
    with pytest.raises(ValueError, match=rf"run\.pt belongs to another run \({message}\); .*delete the file"):
        train(network(), loss, batch, replace(CONFIG, **change), checkpoint=path)


def test_a_checkpoint_of_another_optimizer_is_refused_but_not_for_its_unused_rate(tmp_path):
    path, adam = tmp_path / "run.pt", torch.optim.Adam
    train(network(), loss, batch, CONFIG, checkpoint=path)
    for other in (torch.optim.SGD, partial(adam, weight_decay=0.1)):
        with pytest.raises(ValueError, match=r"belongs to another run \(optimizer: Adam"):
            train(network(), loss, batch, CONFIG, checkpoint=path, optimizer=other)
    train(network(), loss, batch, CONFIG, checkpoint=path, optimizer=partial(adam, lr=5.0))


# ---------------------------------------------------------------------------------------------------------------
# files


def test_a_half_written_checkpoint_is_never_seen(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    with pytest.raises(Stopped):
        train(network(), loss, until(12), CONFIG, checkpoint=path, every=3)
    whole = path.read_bytes()

    def torn(state, file):
        file.write(whole[: len(whole) // 2])
        assert path.read_bytes() == whole
        raise Stopped

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(Stopped):
        train(network(), loss, batch, CONFIG, checkpoint=path, every=3)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["run.pt"]


def test_a_file_is_whole_before_it_takes_its_place_in_one_move(tmp_path, monkeypatch):
    path, moves, move = tmp_path / "file", [], os.replace

    def watched(part, target):
        moves.append((Path(part).parent, Path(part).read_bytes(), path.read_bytes(), target))
        move(part, target)

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", watched)
    training.write_atomically(path, lambda file: file.write(b"new"))
    assert moves == [(tmp_path, b"new", b"old", path)]
    assert path.read_bytes() == b"new"


def test_what_a_killed_writer_left_behind_is_not_read(tmp_path):
    path = tmp_path / "run.pt"
    (tmp_path / "run.pt.1.part").write_bytes(b"half")
    for _ in range(2):
        assert train(network(), loss, batch, CONFIG, checkpoint=path).step == CONFIG.steps


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "run.pt"
    train(network(), loss, batch, CONFIG, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"run\.pt is not a readable checkpoint; delete it"):
        train(network(), loss, batch, CONFIG, checkpoint=path)


class Harmful:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_a_checkpoint_cannot_run_code(tmp_path):
    path = tmp_path / "run.pt"
    torch.save({"run": Harmful()}, path)
    with pytest.raises(ValueError, match=r"run\.pt is not a readable checkpoint"):
        train(network(), loss, batch, CONFIG, checkpoint=path)


# ---------------------------------------------------------------------------------------------------------------
# what goes wrong


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("k", [0, 4])
def test_a_loss_that_is_not_finite_stops_at_its_step_and_spares_the_weights(bad, k):
    model, kept = network(), []

    def numbered(part):
        return part, batch(part)

    def spoilt(model, numbered):
        part, xy = numbered
        return loss(model, xy) * (bad if part == 2 * k + 1 else 1)

    def watch(step, model):
        kept.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())

    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    with pytest.raises(Diverged, match=rf"the loss is {bad} at step {k} \(learning rate") as caught:
        train(model, spoilt, numbered, CONFIG, watch=watch)
    assert caught.value.step == k
    assert torch.equal(nn.utils.parameters_to_vector(model.parameters()), [start, *kept][-1])


def test_a_gradient_that_is_not_finite_stops_at_its_step():
    def rooted(model, xy):
        # The square root of 0 is finite, its slope is not.
        return (0 * model(xy[:, :D_X])).square().sum().sqrt()

    with pytest.raises(Diverged, match="the norm of the gradient is nan at step 0"):
        train(network(), rooted, batch, CONFIG)


def test_nothing_is_printed_unless_asked(capsys):
    train(network(), loss, batch, CONFIG)
    assert capsys.readouterr() == ("", "")
    train(network(), loss, batch, CONFIG, show=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\r") == 11
    assert err.count("\n") == 1
    assert "[" + "#" * 30 + "] 11/11 loss " in err


def test_a_bar_is_empty_at_the_start_and_full_only_at_the_end():
    assert training.bar(0, 7, width=5) == "[.....] 0/7"
    assert training.bar(6, 7, width=5) == "[####.] 6/7"
    assert training.bar(7, 7, width=5) == "[#####] 7/7"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(steps=0, rate=constant(1.0)), "steps and accumulate must be positive, got 0 and 1"),
        (lambda: Config(steps=1, rate=constant(1.0), accumulate=0), "must be positive, got 1 and 0"),
        (lambda: Config(steps=1, rate=constant(1.0), clip=0.0), r"clip must be positive, or None .*, got 0\.0"),
        (lambda: Config(steps=1, rate=constant(1.0), average=1.0), r"average must lie in \[0, 1\).*, got 1\.0"),
        (lambda: PiecewiseLinear(()), r"increasing steps, at least one, got \(\)"),
        (lambda: PiecewiseLinear(((1, 0.0), (1, 1.0))), "points must have increasing steps"),
        (lambda: train(network(), loss, batch, CONFIG, every=0), "every must be a positive number of steps, got 0"),
        (lambda: Cosine(1.0, steps=3, warm_up=3), r"warm_up must lie in \[0, steps\), got 3 of 3"),
    ],
)
def test_settings_that_make_no_sense_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
