"""What R-Drop in training promises, and its rivals."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from minilib import r_drop as rd  # noqa: E402
from minilib import r_drop_torch as training_losses  # noqa: E402
from minilib.bert import BertSizes, mean_pooled  # noqa: E402
from minilib.r_drop_torch import TextClassifier  # noqa: E402
from minilib.training import disturbed  # noqa: E402

pytestmark = pytest.mark.torch

B, N, D, C = 5, 7, 6, 3
SIZES = BertSizes(vocabulary=23, d=D, layers=2, heads=2, inner=11, positions=13)


def classifier(seed=0, dropout=0.3, std=0.4):
    torch.manual_seed(seed)
    model = TextClassifier(SIZES, C, dropout=dropout).double()
    model.encoder.reset_parameters(std)
    return model


def texts(seed=1, lengths=(7, 3, 5, 1, 4)):
    ids = torch.randint(1, 23, (B, N), generator=torch.Generator().manual_seed(seed))
    return ids * (torch.arange(N) < torch.tensor(lengths)[:, None])


def labels():
    return torch.tensor([0, 2, 1, 1, 0])


def mlp(seed=0, p=0.3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Dropout(p), nn.Linear(N, 11), nn.Tanh(), nn.Dropout(p), nn.Linear(11, C)).double()


def features(seed=1, rows=B):
    return torch.randn(rows, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------------------
# twice


def test_two_passes_in_one_have_different_masks_and_the_same_distribution_as_two():
    model, x = mlp().train(), features()
    torch.manual_seed(3)
    z, w = training_losses.twice(model, x)
    assert z.shape == w.shape == (B, C)
    assert ((z - w).abs().amax(1) > 1e-3).all()
    torch.manual_seed(3)
    both = model(torch.cat((x, x)))
    assert torch.equal(torch.cat((z, w)), both)
    one = torch.stack([model(x) for _ in range(600)]).mean(0)
    double = torch.stack([torch.stack(training_losses.twice(model, x)).mean(0) for _ in range(300)]).mean(0)
    torch.testing.assert_close(double, one, rtol=0, atol=0.08)


def test_the_losses_are_the_formulas_of_the_two_passes():
    model, x, y = classifier().train(), texts(), labels()
    torch.manual_seed(3)
    z, w = training_losses.twice(model, x)
    torch.manual_seed(3)
    assert torch.equal(training_losses.supervised(model, x, y, 4.0), rd.r_drop_loss(z, w, y, 4.0).mean())
    torch.manual_seed(3)
    assert torch.equal(training_losses.unsupervised(model, x), rd.symmetric_kl(z, w).mean())
    torch.manual_seed(3)
    interleaved = torch.stack((z, w), 1).flatten(0, 1)
    torch.testing.assert_close(
        rd.essay_loss(interleaved, y.repeat_interleave(2), 4.0), rd.r_drop_loss(z, w, y, 4.0).mean() / 2
    )


def test_without_a_divergence_it_is_the_ordinary_loss_of_a_doubled_batch():
    model, x, y = mlp().train(), features(), labels()
    torch.manual_seed(3)
    got = training_losses.supervised(model, x, y, 0.0)
    torch.manual_seed(3)
    want = 2 * nn.functional.cross_entropy(model(torch.cat((x, x))), torch.cat((y, y)))
    torch.testing.assert_close(got, want)


def test_both_passes_get_a_gradient():
    z, w = (torch.randn(B, C, dtype=torch.float64, requires_grad=True) for _ in range(2))
    rd.r_drop_loss(z, w, labels(), 4.0).mean().backward()
    assert z.grad.abs().sum() > 0.01
    assert w.grad.abs().sum() > 0.01


def test_gradient_is_slope():
    z, w = (torch.randn(2, C, dtype=torch.float64, requires_grad=True) for _ in range(2))
    for call in (rd.symmetric_kl, rd.kl_divergence, lambda z, w: rd.r_drop_loss(z, w, labels()[:2], 4.0)):
        assert torch.autograd.gradcheck(call, (z, w))
    assert torch.autograd.gradgradcheck(rd.symmetric_kl, (z, w))
    v = torch.randn(6, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rd.simcse_loss, (v,))


def test_extreme_logits_have_a_finite_gradient():
    z = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    w = torch.tensor([[-1e4, -math.inf, 1e4]], requires_grad=True)
    with_class, without = (a.detach().clone().requires_grad_() for a in (w.nan_to_num(neginf=0.0), w))
    rd.symmetric_kl(z, with_class).sum().backward()
    assert z.grad.isfinite().all()
    assert with_class.grad.isfinite().all()
    same = torch.tensor([[1.0, -math.inf, 2.0]], requires_grad=True)
    rd.symmetric_kl(same, without).sum().backward()
    assert same.grad.isfinite().all()
    assert without.grad.isfinite().all()


def test_training_with_a_divergence_makes_sub_models_agree():
    x, y = features(rows=40), torch.arange(40) % C
    found = []
    for alpha in (0.0, 10.0):
        model = mlp().train()
        optimizer = torch.optim.Adam(model.parameters(), 2e-2)
        torch.manual_seed(1)
        for _ in range(60):
            optimizer.zero_grad()
            training_losses.supervised(model, x, y, alpha).backward()
            optimizer.step()
        with torch.no_grad():
            z = torch.stack([model(x) for _ in range(100)], 1)
            off = model.eval()(x)
        weights = torch.full((100,), 1 / 100, dtype=torch.float64)
        found.append((rd.expected_symmetric_kl(z, weights).mean(), rd.averaging_gap(z, weights, off).mean()))
    (plain, gap), (agreeing, smaller) = found
    assert agreeing < 0.3 * plain
    assert smaller < 0.8 * gap


@pytest.mark.parametrize(
    "prepare", [lambda m: m.eval(), lambda m: [setattr(p, "p", 0.0) for p in m if hasattr(p, "p")]]
)
def test_with_dropout_off_the_divergence_would_be_zero_and_that_is_said(prepare):
    model, x = mlp().train(), features()
    prepare(model)
    z, w = rd.halves(model(torch.cat((x, x))))
    assert rd.symmetric_kl(z, w).abs().max() < 1e-15
    for call in (
        lambda: training_losses.twice(model, x),
        lambda: training_losses.supervised(model, x, labels(), 4.0),
        lambda: training_losses.unsupervised(model, x),
    ):
        with pytest.raises(ValueError, match=r"no dropout is at work .* divergence 0, so R-Drop would do nothing"):
            call()


def test_the_message_names_the_rates_and_the_mode():
    with pytest.raises(ValueError, match=r"rates: 0\.3; mode: evaluation, so call model\.train"):
        training_losses.twice(mlp().eval(), features())
    with pytest.raises(ValueError, match=r"rates: none; mode: training"):
        training_losses.twice(nn.Linear(N, C), features())


# ---------------------------------------------------------------------------------------------------------------
# rivals


def test_a_shifted_layer_is_itself_again_afterwards_and_the_way_back_leads_to_the_shift():
    model, x = mlp().eval(), features()
    before = model(x)
    delta = torch.randn(B, 11, dtype=torch.float64, requires_grad=True)
    with training_losses.shifted(model[1], delta):
        inside = model(x)
    torch.testing.assert_close(inside, model[4](torch.tanh(model[1](x) + delta)))
    assert torch.equal(model(x), before)
    inside.sum().backward()
    assert delta.grad.abs().min() > 0
    with (
        pytest.raises(ValueError, match=r"shape of the layer's output, \(5, 11\), got \(5, 1\)"),
        training_losses.shifted(model[1], delta[:, :1]),
    ):
        model(x)
    assert torch.equal(model(x), before)


def test_passes_with_the_same_masks_are_the_same_and_the_noise_of_the_caller_goes_on():
    model, x = mlp().train(), features()
    torch.manual_seed(3)
    want, after = model(x), torch.rand(1)
    torch.manual_seed(3)
    run = training_losses.same_masks(model)
    assert torch.equal(run(x), want)
    assert torch.equal(run(x), want)
    assert torch.equal(model(x), want)
    assert torch.equal(torch.rand(1), after)


def curvature(run, x):
    """The second derivative of the divergence by the disturbance of one sample."""
    clean = run(torch.zeros_like(x)).detach()
    return torch.autograd.functional.hessian(lambda d: rd.kl_divergence(clean, run(d)).sum(), torch.zeros_like(x))


def test_power_iteration_finds_the_direction_of_the_largest_curvature():
    model, x = mlp().eval(), features(rows=2)
    run = lambda delta: model(x + delta)  # noqa: E731
    d, clean = training_losses.adversarial_direction(run, features(5, 2), steps=60)
    torch.testing.assert_close(clean, model(x))
    torch.testing.assert_close(d.norm(dim=1), torch.ones(2, dtype=torch.float64))
    H = curvature(run, x)
    for i in range(2):
        eigenvector = torch.linalg.eigh(H[i, :, i]).eigenvectors[:, -1]
        assert (d[i] @ eigenvector).abs() > 0.999
    assert not d.requires_grad
    assert not clean.requires_grad


def test_no_direction_of_that_length_disturbs_more_and_a_random_one_much_less():
    model, x = mlp().eval(), features()
    run, epsilon = lambda delta: model(x + delta), 1e-2
    found = training_losses.virtual_adversarial(run, features(5), epsilon, steps=60)
    noise = [features(seed) for seed in range(20)]
    random = [rd.kl_divergence(model(x), run(epsilon * d / d.norm(dim=1, keepdim=True))).mean() for d in noise]
    assert max(random) < found
    assert sum(random) / 20 < 0.5 * found
    once = training_losses.virtual_adversarial(run, features(5), epsilon)
    assert sum(random) / 20 < once <= found * 1.01


def test_half_the_curvature_is_the_loss_and_the_labelled_side_is_held_fixed():
    model, x = mlp().eval(), features(rows=1)
    run, epsilon = lambda delta: model(x + delta), 1e-3
    d, clean = training_losses.adversarial_direction(run, features(5, 1), steps=30)
    top = torch.linalg.eigvalsh(curvature(run, x)[0, :, 0])[-1]
    loss = training_losses.virtual_adversarial(run, features(5, 1), epsilon, steps=30)
    torch.testing.assert_close(loss, 0.5 * epsilon**2 * top, rtol=1e-2, atol=0)
    loss.backward()
    got = model[1].weight.grad.clone()
    model.zero_grad()
    rd.kl_divergence(clean, run(epsilon * d)).mean().backward()
    torch.testing.assert_close(model[1].weight.grad, got)


def test_where_nothing_can_be_disturbed_the_direction_stays_and_the_loss_is_zero():
    run = lambda delta: torch.zeros(B, C, dtype=torch.float64) + 0 * delta.sum()  # noqa: E731
    d, _ = training_losses.adversarial_direction(run, features())
    torch.testing.assert_close(d, features() / features().norm(dim=1, keepdim=True))
    assert training_losses.virtual_adversarial(run, features(), 1.0) == 0


def test_words_can_be_disturbed_under_the_same_masks():
    model, ids = classifier().train(), texts()
    once = training_losses.same_masks(lambda delta: shifted_pass(model, ids, delta))
    noise = torch.randn(B, N, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    loss = training_losses.virtual_adversarial(once, noise, 0.1)
    assert loss > 0
    loss.backward()
    assert model.words.weight.grad.isfinite().all()
    assert training_losses.virtual_adversarial(once, noise, 1e-6) < 1e-9  # other masks would leave their divergence


def shifted_pass(model, ids, delta):
    with training_losses.shifted(model.words, delta):
        return model(ids)


def test_the_penalty_is_half_the_squared_gradient_and_its_gradient_is_its_slope():
    model, x, y = classifier(dropout=0.3).train(), texts(), labels()
    table, h = model.words.weight, 1e-5

    def penalty():
        torch.manual_seed(3)
        return training_losses.gradient_penalty(nn.functional.cross_entropy(model(x), y), table)

    torch.manual_seed(3)
    nn.functional.cross_entropy(model(x), y).backward()
    first = table.grad.clone()
    torch.testing.assert_close(penalty(), 0.5 * first.square().sum())
    (slope,) = torch.autograd.grad(penalty(), model.head.weight)
    with torch.no_grad():
        model.head.weight[1, 2] += h
    up = penalty()
    with torch.no_grad():
        model.head.weight[1, 2] -= 2 * h
    torch.testing.assert_close(slope[1, 2], (up - penalty()) / (2 * h), rtol=1e-5, atol=0)


def test_a_disturbance_along_the_gradient_raises_the_loss_by_twice_the_penalty_to_first_order():
    """What ties the penalty to FGM, whose disturbance has a fixed length: ε = size · ‖g‖."""
    model, x, y, size = classifier().eval(), texts(), labels(), 1e-4
    loss = lambda: nn.functional.cross_entropy(model(x), y)  # noqa: E731
    plain = loss()
    model.encoder.blocks.train()  # not fused, with second derivatives
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 1e-12
    penalty = training_losses.gradient_penalty(loss(), model.words.weight).item()
    plain.backward()
    with disturbed(model.words.weight, size * model.words.weight.grad.norm().item()):
        higher = loss()
    assert (higher - plain).item() == pytest.approx(2 * size * penalty, rel=0.01)


# ---------------------------------------------------------------------------------------------------------------
# the reader


def test_the_classifier_is_the_mean_of_the_last_states_and_padding_changes_nothing():
    model, ids = classifier().eval(), texts()
    got = model(ids)
    for i, length in enumerate((7, 3, 5, 1, 4)):
        h = model.encoder(ids[i : i + 1, :length])
        torch.testing.assert_close(got[i : i + 1], model.head(mean_pooled(h)))
    wider = torch.nn.functional.pad(ids, (0, 3))
    torch.testing.assert_close(model(wider), got)


def test_one_batch_is_learned_by_heart_twice():
    model, ids, y = classifier(dropout=0.1).float().train(), texts(), labels()
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    torch.manual_seed(0)
    for _ in range(40):
        optimizer.zero_grad()
        training_losses.supervised(model, ids, y, 1.0).backward()
        optimizer.step()
    assert (model.eval()(ids).argmax(-1) == y).all()


def test_dropout_of_the_classifier_is_everywhere_the_same():
    rates = {part.p for part in classifier(dropout=0.25).modules() if isinstance(part, nn.Dropout)}
    assert rates == {0.25}


# ---------------------------------------------------------------------------------------------------------------
# measuring


def test_texts_are_cut_where_the_longest_of_them_ends():
    data = training_losses.Labelled(torch.tensor([[3, 4, 0, 0], [5, 0, 0, 0], [6, 7, 8, 0]]), torch.tensor([0, 1, 1]))
    some = data.at(torch.tensor([1, 0]))
    assert some.x.tolist() == [[5, 0], [3, 4]]
    assert some.y.tolist() == [1, 0]


def test_agreement_is_the_mean_over_all_pairs_of_different_sub_models():
    z, off, y = torch.randn(7, 5, 3), torch.randn(7, 3), torch.arange(7) % 3
    found = training_losses.agreement(z, off, y)
    pairs = [rd.symmetric_kl(z[:, i], z[:, j]).mean() for i in range(5) for j in range(5) if i != j]
    assert found["divergence"] == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-4)
    mean = z.softmax(-1).mean(1)
    assert found["averaged"] == pytest.approx((mean.argmax(-1) == y).double().mean().item(), abs=1e-4)
    gap = (mean - off.softmax(-1)).abs().amax(-1).mean().item()
    assert found["gap"] == pytest.approx(gap, abs=1e-4)
    assert training_losses.scored(mean.log(), y) == {"accuracy": found["averaged"], "loss": found["averaged_loss"]}
    with pytest.raises(ValueError, match="at least two sub-models are needed to compare them, got 1"):
        training_losses.agreement(z[:, :1], off, y)


# ---------------------------------------------------------------------------------------------------------------
# what goes wrong


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: classifier()(texts(lengths=(7, 3, 0, 1, 0))),
            "text 2 of the batch is nothing but padding; leave it out",
        ),
        (
            lambda: training_losses.supervised(mlp(), features(), labels(), math.inf),
            "alpha weighs the divergence, .* inf",
        ),
        (
            lambda: training_losses.supervised(mlp(), features(), labels()[:4], 1.0),
            r"one for each row of z, shape \(5,\)",
        ),
        (lambda: training_losses.virtual_adversarial(mlp(), features(), 0.0), r"epsilon is the length .* positive"),
        (lambda: training_losses.adversarial_direction(mlp(), features(), xi=-1.0), r"xi is the length .* got -1\.0"),
        (
            lambda: training_losses.adversarial_direction(mlp(), features(), steps=0),
            "steps counts the iterations, at least",
        ),
    ],
)
def test_bad_input_is_named_with_what_was_expected(unchecked, call, message):
    with pytest.raises(ValueError, match=message):
        call()
