"""What rotary positions on numbers promise."""

from __future__ import annotations

import numpy as np
import pytest

from minilib import rope_numpy as turns
from minilib.rope import decay_bound, mean_product, rope, rope_angles

RNG = np.random.default_rng(0)
D, COUNT, BASE = 22, 7, 130.0


def pair():
    return RNG.normal(size=(2, COUNT, D))


def at(x, place):
    return rope(x, np.broadcast_to(rope_angles(np.array([place]), D, x, BASE), (len(x), D // 2)))


@pytest.mark.parametrize(("m", "n"), [(0, 0), (5, 0), (3, 11), (1005, 1002)])
def test_a_product_is_that_of_the_turned_vectors_and_knows_only_their_distance(m, n):
    q, k = pair()
    want = (at(q, m) * at(k, n)).sum(-1)
    np.testing.assert_allclose(turns.products(q, k, np.array([m - n]), BASE)[:, 0], want, atol=1e-11)


def test_the_planes_sum_to_the_plain_product():
    q, k = pair()
    np.testing.assert_allclose(turns.planes(q, k).sum(-1).real, (q * k).sum(-1), atol=1e-12)


def test_the_key_of_a_cloud_is_the_query_itself_or_has_nothing_of_it_or_is_its_opposite():
    q, k = turns.cloud(COUNT, D)
    np.testing.assert_allclose(k, q)
    np.testing.assert_allclose(turns.cloud(COUNT, D, alike=-1.0).k, -q)
    q, k = turns.cloud(20_011, D, alike=0.0)
    assert abs((q * k).mean()) < 0.01


@pytest.mark.parametrize("alike", [1.0, 0.3, -0.6, 0.0])
def test_the_mean_of_a_cloud_is_the_formula_and_its_spread_for_independent_vectors_is_the_root_of_d(alike):
    distances = np.array([0, 1, 13, 200])
    seen = turns.products(*turns.cloud(20_011, D, alike, base=BASE), distances, BASE)
    np.testing.assert_allclose(seen.mean(0), alike * mean_product(distances.astype(float), D, BASE), atol=0.2)
    if alike == 0:
        np.testing.assert_allclose(seen.std(0), np.sqrt(D), rtol=0.03)


def test_a_key_turned_by_s_positions_answers_best_to_a_query_s_places_later():
    distances = np.arange(-40, 41)
    for s in (0, 9, 31):
        seen = turns.products(*turns.cloud(COUNT, D, behind=s, base=BASE), distances, BASE)
        assert (distances[seen.argmax(-1)] == s).all()


def test_the_share_of_the_bound_is_never_above_one_and_is_one_where_all_planes_step_alike():
    distances = np.arange(300)
    assert turns.shares_of_bound(*pair(), distances, BASE).max() < 1
    # h falls in equal steps, and at distance 0 all partial sums point the same way
    q = np.zeros((1, D))
    q[0, 0::2] = np.arange(D // 2, 0, -1)
    k = np.zeros((1, D))
    k[0, 0::2] = 1
    assert turns.shares_of_bound(q, k, np.array([0]), BASE)[0, 0] == pytest.approx(1)


@pytest.mark.parametrize(("d", "base", "want"), [(128, 10_000.0, 19), (64, 10_000.0, 12)])
def test_the_bound_first_rises_where_it_is_seen_to(d, base, want):
    assert turns.first_rise(d, base) == want
    index = decay_bound(np.arange(want + 1.0), d, base)
    assert index[-1] > index[-2]
    assert (np.diff(index[:-1]) < 0).all()


def test_no_rise_is_zero():
    assert turns.first_rise(128, longest=16) == 0
