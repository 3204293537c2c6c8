"""What the recurrent modules promise."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from minilib import recurrence as rec  # noqa: E402
from minilib.recurrence_torch import GRU, LSTM, RNN  # noqa: E402

pytestmark = pytest.mark.torch

T, B, D, D_X = 7, 3, 5, 2
PEERS = [
    (RNN, torch.nn.RNN, {}),
    (RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
    (LSTM, torch.nn.LSTM, {}),
    (GRU, torch.nn.GRU, {}),
]


def pair(ours, peer, options, dtype=torch.float64, **more):
    torch.manual_seed(0)
    theirs = peer(D_X, D, **options, **more).to(dtype)
    return ours.from_torch(theirs), theirs


@pytest.mark.parametrize(("ours", "peer", "options"), PEERS)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_a_module_is_its_peer_forward_and_backward(ours, peer, options, dtype, close):
    mine, theirs = pair(ours, peer, options, dtype)
    x = torch.randn(T, B, D_X, dtype=dtype)
    probe = torch.randn(T, B, D, dtype=dtype)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    h, want = mine(a).h, theirs(b)[0]
    torch.testing.assert_close(h, want, rtol=close, atol=close)
    (h * probe).sum().backward()
    (want * probe).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=10 * close, atol=10 * close)
    torch.testing.assert_close(mine.U.grad, theirs.weight_hh_l0.grad, rtol=10 * close, atol=10 * close)
    torch.testing.assert_close(mine.b.grad, theirs.bias_ih_l0.grad, rtol=10 * close, atol=10 * close)


@pytest.mark.parametrize(("ours", "peer", "options"), PEERS)
def test_weights_go_to_torch_and_come_back(ours, peer, options):
    torch.manual_seed(1)
    mine = ours(D_X, D, **options)
    for p in mine.parameters():
        torch.nn.init.normal_(p)
    back = ours.from_torch(mine.to_torch())
    for name, p in mine.named_parameters():
        torch.testing.assert_close(back.get_parameter(name), p, rtol=0, atol=0)
    x = torch.randn(T, B, D_X)
    torch.testing.assert_close(mine(x).h, mine.to_torch()(x)[0])


@pytest.mark.parametrize(("ours", "peer", "options"), PEERS)
def test_a_state_can_be_handed_on(ours, peer, options):
    mine, _ = pair(ours, peer, options)
    x = torch.randn(T, B, D_X, dtype=torch.float64)
    first = mine(x[:3])
    torch.testing.assert_close(mine(x[3:], first.last).h, mine(x).h[3:])


@pytest.mark.parametrize(("ours", "peer", "options"), [PEERS[2], PEERS[3]])
def test_every_layer_and_direction_can_be_taken_out(ours, peer, options):
    _, theirs = pair(ours, peer, options, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, D_X, dtype=torch.float64)
    layered = x
    for layer in range(2):
        forward = ours.from_torch(theirs, layer)(layered).h
        backward = ours.from_torch(theirs, layer, reverse=True)(layered.flip(0)).h.flip(0)
        layered = torch.cat([forward, backward], dim=-1)
    torch.testing.assert_close(layered, theirs(x)[0])


@pytest.mark.parametrize("ours", [RNN, LSTM, GRU])
def test_autograd_through_the_module_equals_the_product_of_closed_form_jacobians(ours):
    torch.manual_seed(2)
    mine = ours(D_X, D).double()
    x = torch.randn(T, D_X, dtype=torch.float64)
    width = 2 * D if ours is LSTM else D
    s0 = 0.3 * torch.randn(width, dtype=torch.float64)

    def last(s):
        if ours is LSTM:
            return torch.cat(mine(x, (s[:D], s[D:])).last)
        return mine(x, s).last

    J = jacobians(mine, x, s0)
    want = torch.autograd.functional.jacobian(last, s0)
    torch.testing.assert_close(rec.jacobian_products(J)[T], want, rtol=1e-10, atol=1e-13)


@torch.no_grad()
def jacobians(cell, x, s0):
    if isinstance(cell, LSTM):
        c, h = rec.lstm_scan(x, s0[:D], s0[D:], cell.W, cell.U, cell.b)
        gates = rec.lstm_gates(x, rec.preceding(h, s0[D:]), cell.W, cell.U, cell.b)
        return rec.lstm_jacobian(rec.lstm_slopes(gates, rec.preceding(c, s0[:D])), cell.U)
    before = rec.preceding(cell(x, s0).h, s0)
    if isinstance(cell, RNN):
        return rec.rnn_jacobian(rec.tanh_slope(cell(x, s0).h), cell.U)
    gates = rec.gru_reset_after_gates(x, before, cell.W, cell.U, cell.b, cell.b_u)
    return rec.gru_reset_after_jacobian(rec.gru_reset_after_slopes(gates, before), cell.U)


def test_initial_weights_are_what_the_docstrings_say():
    torch.manual_seed(3)
    lstm, gru, irnn = LSTM(D_X, D, forget_bias=4), GRU(D_X, D, update_bias=2), RNN(D_X, D, "relu")
    for U in lstm.U.chunk(4):
        torch.testing.assert_close(U @ U.T, torch.eye(D))
    assert lstm.b.detach().tolist() == [0] * D + [4] * D + [0] * (2 * D)
    assert gru.b.detach().tolist() == [0] * D + [2] * D + [0] * D
    torch.testing.assert_close(irnn.U.detach(), torch.eye(D))
    i, f, _, _ = LSTM(D_X, 997, longest=50).b.detach().chunk(4)
    torch.testing.assert_close(i, -f)
    tau = 1 + f.exp()
    assert 2 <= tau.min() < 3
    assert 49 < tau.max() <= 50
    assert LSTM(D_X, 401).W.std().item() == pytest.approx(D_X**-0.5, rel=0.05)


# Dynamo warns that it looks through the cache that array-api-compat keeps of namespaces, which is what we want.
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a .functools.lru_cache")
def test_a_module_compiles_without_a_graph_break(compiled):
    for ours in (RNN, LSTM, GRU):
        mine = ours(D_X, D)
        x = torch.randn(T, B, D_X)
        whole = compiled(mine)
        torch.testing.assert_close(whole(x).h, mine(x).h)


def test_vmap_over_sequences_is_the_batch():
    mine = LSTM(D_X, D)
    x = torch.randn(T, B, D_X)
    weights = mine.W.detach(), mine.U.detach(), mine.b.detach()
    zero = torch.zeros(D)
    alone = torch.func.vmap(lambda x: rec.lstm_scan(x, zero, zero, *weights).h, in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(alone, mine(x).h)


def test_jacrev_of_the_step_is_the_closed_form():
    torch.manual_seed(4)
    W, U, b = torch.randn(3 * D, D_X), torch.randn(3 * D, D), torch.randn(3 * D)
    x, h = torch.randn(D_X), torch.randn(D)
    want = torch.func.jacrev(lambda h: rec.gru_step(x, h, W, U, b))(h)
    torch.testing.assert_close(rec.gru_jacobian(rec.gru_slopes(rec.gru_gates(x, h, W, U, b), h), U), want)


def test_each_cell_learns_one_batch_by_heart():
    for ours in (RNN, LSTM, GRU):
        torch.manual_seed(5)
        mine, head = ours(D_X, 16), torch.nn.Linear(16, 1)
        x, y = torch.randn(T, B, D_X), torch.randn(B)
        optimizer = torch.optim.Adam([*mine.parameters(), *head.parameters()], lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            loss = ((head(mine(x).h[-1])[:, 0] - y) ** 2).mean()
            loss.backward()
            optimizer.step()
        assert loss.item() < 1e-3, ours


def test_bad_input_is_named(monkeypatch):
    with pytest.raises(ValueError, match="at least one feature, got d_x = 0"):
        LSTM(0, D)
    with pytest.raises(ValueError, match=r"'tanh' or 'relu', got 'gelu'"):
        RNN(D_X, D, "gelu")
    with pytest.raises(ValueError, match="LSTM takes its weights from LSTM, got GRU"):
        LSTM.from_torch(torch.nn.GRU(D_X, D))
    with pytest.raises(ValueError, match="1 layers, bidirectional: False"):
        LSTM.from_torch(torch.nn.LSTM(D_X, D), layer=1)
    with pytest.raises(ValueError, match="projections"):
        LSTM.from_torch(torch.nn.LSTM(D_X, D, proj_size=3))
    x = torch.randn(T, B, D_X)
    x[1, 2, 0] = float("nan")
    with pytest.raises(ValueError, match="x must be finite"):
        LSTM(D_X, D)(x)
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"x must hold floats, got dtype torch\.int64"):
        LSTM(D_X, D)(torch.ones(T, B, D_X, dtype=torch.long))
    with pytest.raises(ValueError, match=r"W must have shape \(…, 15, 4\)"):
        GRU(D_X, D)(torch.ones(T, B, 4))
