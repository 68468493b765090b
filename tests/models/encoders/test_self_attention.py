"""Self-attention is the paper's, and what is absent is looked at by nobody."""

import numpy as np
import torch

from models.encoders.self_attention import SelfAttention
from models.training.weights import seeded

WIDTH, HEADS = 6, 2


def norm(x: np.ndarray) -> np.ndarray:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5))


@torch.no_grad()
def test_two_layers_are_the_formula() -> None:
    """Against numpy, head by head and place by place; norms have no weights yet, and the first attention has none."""
    with seeded(0):
        attention = SelfAttention(WIDTH, 2, HEADS, dropout=0.3).eval()
        elements = torch.randn(1, 5, WIDTH)
    observed = torch.tensor([[True, False, True, True, False]])
    p = {name: tensor.double().numpy() for name, tensor in attention.named_parameters()}
    x = elements[0].double().numpy()
    for layer in range(2):

        def linear(name: str, given: np.ndarray, at: int = layer) -> np.ndarray:
            out: np.ndarray = given @ p[f"layers.{at}.{name}.weight"].T + p[f"layers.{at}.{name}.bias"]
            return out

        query, key, value = np.split(linear("to_heads", norm(x) if layer else x), 3, 1)
        seen = np.zeros_like(x)
        for head in range(HEADS):
            mine = slice(head * 3, head * 3 + 3)
            for place in range(5):
                weight = np.exp(key[:, mine] @ query[place, mine] / np.sqrt(3)) * observed[0].numpy()
                seen[place, mine] = weight @ value[:, mine] / weight.sum()
        x = x + linear("from_heads", seen)
        straight, gate = np.split(linear("enter", norm(x)), 2, 1)
        x = x + linear("leave", straight * np.maximum(gate, 0))
    found = attention(elements, observed)[0].numpy()
    np.testing.assert_allclose(found, x, atol=1e-5)


@torch.no_grad()
def test_where_nothing_is_there_it_stays_finite() -> None:
    with seeded(0):
        attention = SelfAttention(WIDTH, 1, HEADS, dropout=0.0)
    assert bool(torch.isfinite(attention(torch.zeros(2, 3, WIDTH), torch.zeros(2, 3, dtype=torch.bool))).all())
