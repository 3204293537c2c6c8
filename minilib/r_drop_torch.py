r"""R-Drop in training, and its rivals that disturb the input: virtual adversarial training and a gradient penalty.

Two dropout masks cost one pass: the batch is put behind itself, and each row draws its own mask. So a step of R-Drop on
B samples costs what an ordinary step on 2B costs, in time and in memory, and no more.

A rival disturbs what a layer puts out, as a rule the vectors of the words: ``with shifted(layer, delta)``. All of them
are plain functions of a model or of a pass, and what they return is differentiated as any loss is.

Sources: Liang et al. 2021 (R-Drop); Miyato et al. 2019 (VAT), 2017 (VAT and FGM for text); Su Jianlin, Scientific
Spaces 7234 (the penalty as what FGM does to first order), 7466 (VAT), 8496. FGM is
:func:`minilib.training.fgm_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import padding_mask
from .bert import BertSizes, mean_pooled
from .bert_torch import Bert
from .r_drop import averaging_gap, expected_symmetric_kl, halves, kl_divergence, r_drop_loss, symmetric_kl

# ---------------------------------------------------------------------------------------------------------------
# twice


def expect_dropout(model: nn.Module) -> None:
    """Raise ValueError unless a dropout of the model is at work: else two passes are one, and the divergence is 0."""
    drops = [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    if not any(drop.training and drop.p > 0 for drop in drops):
        rates = ", ".join(sorted({f"{drop.p:g}" for drop in drops})) or "none"
        mode = "training" if model.training else "evaluation, so call model.train()"
        raise ValueError(
            f"no dropout is at work (rates: {rates}; mode: {mode}): both passes would be the same and their divergence "
            "0, so R-Drop would do nothing"
        )


def twice(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of two passes under different dropout masks, from one pass of the batch behind itself.

    A norm over the batch would see both copies at once; norms over features do not care.
    """
    expect_dropout(model)
    return halves(model(torch.cat((x, x))))


def supervised(model: nn.Module, x: Tensor, labels: Tensor, alpha: float) -> Tensor:
    r"""$\overline{-\log p_y - \log q_y + \alpha J}$: the mean of :func:`minilib.r_drop.r_drop_loss` over a batch.

    Half of it has the size of an ordinary loss; Adam takes no notice of the factor, but clipping does.
    """
    return r_drop_loss(*twice(model, x), labels, alpha).mean()


def unsupervised(model: nn.Module, x: Tensor) -> Tensor:
    r"""$\overline J$ alone, which no label enters: for texts without labels, beside the loss of those with. Su 8496."""
    return symmetric_kl(*twice(model, x)).mean()


# ---------------------------------------------------------------------------------------------------------------
# rivals


@contextmanager
def shifted(layer: nn.Module, delta: Tensor) -> Iterator[None]:
    """Inside, `layer` puts out $y + \\delta$. Its weights stay, and the way back leads to `delta`, too."""

    def add(_: nn.Module, __: tuple, y: Tensor) -> Tensor:
        if y.shape != delta.shape:
            raise ValueError(
                f"delta must have the shape of the layer's output, {tuple(y.shape)}, got {tuple(delta.shape)}"
            )
        return y + delta

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def same_masks(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`run` with the same dropout masks at each call, those it would have drawn next; the caller's noise goes on.

    VAT compares passes before and after a small disturbance, which other masks would drown. On the CPU only: it is
    torch's default generator that is set back.
    """
    state = torch.get_rng_state()

    def again(*args: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            return run(*args)

    return again


def _norm(d: Tensor) -> Tensor:
    """The length of each sample's disturbance, (B, 1, …, 1)."""
    return d.flatten(1).norm(dim=1).view(-1, *(1,) * (d.ndim - 1))


def _expect_radius(**radii: float) -> None:
    for name, value in radii.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is the length of a disturbance, positive and finite, got {value}")


def adversarial_direction(
    run: Callable[[Tensor], Tensor], noise: Tensor, xi: float = 1e-3, steps: int = 1
) -> tuple[Tensor, Tensor]:
    r"""$d \leftarrow \nabla_d\,\mathrm{KL}(p\,\|\,p_{\xi d})$, of length 1 in each sample, `steps` times from `noise`.

    ``run(delta)`` are the logits under a disturbance, p those without. Near 0 the divergence is
    $\tfrac12\delta^\top H\delta$, so this is power iteration: d turns towards the eigenvector of H with the largest
    eigenvalue. Returns d and the logits without a disturbance, both without a way back. Miyato et al. 2019.
    """
    _expect_radius(xi=xi)
    if steps < 1:
        raise ValueError(f"steps counts the iterations, at least 1; got {steps}")
    with torch.no_grad():
        clean = run(torch.zeros_like(noise))
    d = noise / _norm(noise)
    for _ in range(steps):
        at = (xi * d).requires_grad_()
        (gradient,) = torch.autograd.grad(kl_divergence(clean, run(at)).sum(), at)
        length = _norm(gradient)
        d = torch.where(length > 0, gradient / length.clamp(min=torch.finfo(d.dtype).tiny), d)
    return d, clean


def virtual_adversarial(
    run: Callable[[Tensor], Tensor], noise: Tensor, epsilon: float, xi: float = 1e-3, steps: int = 1
) -> Tensor:
    r"""$\overline{\mathrm{KL}(p\,\|\,p_{\varepsilon d})}$, d of :func:`adversarial_direction` and p held fixed: VAT.

    No label enters. With one step it is three passes forward and two back, where R-Drop's two masks are two of each.
    """
    _expect_radius(epsilon=epsilon)
    d, clean = adversarial_direction(run, noise, xi, steps)
    return kl_divergence(clean, run(epsilon * d)).mean()


def gradient_penalty(loss: Tensor, parameter: Tensor) -> Tensor:
    r"""$\tfrac12\|\partial L/\partial\theta\|^2$, with a way back through second derivatives. Su 7234.

    A disturbance $\varepsilon\,\partial L/\partial\theta$ raises the loss by twice $\varepsilon$ times this, to first
    order. torch's fused attention has no second derivative; where its weights have dropout, ours is not fused.
    """
    (gradient,) = torch.autograd.grad(loss, parameter, create_graph=True)
    return 0.5 * gradient.square().sum()


# ---------------------------------------------------------------------------------------------------------------
# what reads texts


class Labelled(NamedTuple):
    """Texts as numbers (texts, n), padded by 0 at the end, and a label for each (texts,)."""

    x: Tensor
    y: Tensor

    def at(self, rows: Tensor) -> Labelled:
        """Some of them, cut off where the longest ends."""
        x = self.x[rows]
        return Labelled(x[:, : int((x != 0).sum(-1).max())], self.y[rows])


class TextClassifier(nn.Module):
    """A small BERT over the numbers of words, 0 for padding; the mean of its last states; dropout; a linear map.

    Dropout has the same rate in all places of the encoder, its attention weights included. ``words`` is the table.
    """

    def __init__(self, sizes: BertSizes, classes: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = Bert(sizes, dropout=dropout, attention_dropout=dropout)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(sizes.d, classes)

    @property
    def words(self) -> nn.Embedding:
        """The table of the words: what a rival of R-Drop disturbs."""
        return self.encoder.embedding.pieces

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, C) of texts (B, n), padded at the end; ValueError for a text of nothing but padding."""
        lengths = (ids != 0).sum(-1)
        if not lengths.all():
            at = int(lengths.argmin())
            raise ValueError(f"text {at} of the batch is nothing but padding; leave it out, or give it a word")
        h = self.encoder(ids, mask=padding_mask(lengths, ids.shape[-1]))
        return self.head(self.dropout(mean_pooled(h, lengths)))


# ---------------------------------------------------------------------------------------------------------------
# measuring


def scored(z: Tensor, labels: Tensor) -> dict[str, float]:
    """The share of right answers and the mean cross-entropy, to four digits, of logits (B, C)."""
    right = (z.argmax(-1) == labels).double().mean().item()
    return {"accuracy": round(right, 4), "loss": round(nn.functional.cross_entropy(z, labels).item(), 4)}


def agreement(z: Tensor, off: Tensor, labels: Tensor) -> dict[str, float]:
    r"""How K random sub-models, logits (B, K, C), agree with each other and with `off` (B, C), the network itself.

    `averaged` and `averaged_loss` are accuracy and loss of their mean answer, `gap` is the mean of
    :func:`minilib.r_drop.averaging_gap`, and `divergence` that of J over two different ones of them; to four digits.
    Raises ValueError unless there are two.
    """
    if (K := z.shape[1]) < 2:
        raise ValueError(f"at least two sub-models are needed to compare them, got {K}")
    weights = torch.full((K,), 1 / K)
    # Each mask is paired with itself, too, where J is 0.
    divergence = expected_symmetric_kl(z, weights).mean().item() * K / (K - 1)
    averaged = scored(z.log_softmax(-1).logsumexp(1), labels)  # a factor 1/K changes neither
    return {
        "averaged": averaged["accuracy"],
        "averaged_loss": averaged["loss"],
        "gap": round(averaging_gap(z, weights, off).mean().item(), 4),
        "divergence": round(divergence, 4),
    }
