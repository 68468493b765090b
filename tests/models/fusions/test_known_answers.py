"""Every fusion against its formula, written out for one case at a time over the tokens that are there."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.encoders.tokens import Tokens
from models.fusions import FUSIONS

Vector = npt.NDArray[np.float64]
Streams = list[list[Vector]]

WIDTH, MEMBERS, HEADS, LAYERS, BOTTLENECKS = 16, 3, 2, 2, 2


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def mean(vectors: list[Vector]) -> Vector:
    return np.asarray(sum(vectors, np.zeros(WIDTH)) / max(len(vectors), 1))


def described(streams: Streams) -> Vector:
    """All mean tokens, then all flags."""
    return np.concatenate([*(mean(tokens) for tokens in streams), [float(bool(tokens)) for tokens in streams]])


def there(streams: Streams) -> list[int]:
    return [s for s, tokens in enumerate(streams) if tokens]


def scaled(weights: Any, fused: Vector) -> list[Vector]:
    return [fused * scale for scale in weights["members.scale"]]


def summed(weights: Any, streams: Streams) -> Vector:
    said = [weights.each("sum.project", s, mean(streams[s])) for s in there(streams)]
    return np.asarray(sum(said, np.zeros(WIDTH)) / math.sqrt(len(streams)))


def attention(weights: Any, streams: Streams) -> list[Vector]:
    names = weights["stream_name"]
    tokens = [weights["nothing"][0, 0], *(x + names[s] for s, part in enumerate(streams) for x in part)]
    shares = [1.0, *(1 / len(part) for part in streams for _ in part)]
    origin = [0, *(s + 1 for s, part in enumerate(streams) for _ in part)]
    seen = tokens
    for i in range(LAYERS):
        seen = [torchs_layer(weights, f"layers.{i}", x, seen) for x in seen]
    fused = []
    for member in range(MEMBERS):
        total = np.zeros(WIDTH)
        for token, view, share, stream in zip(tokens, seen, shares, origin, strict=True):
            gate = 2 * sigmoid(weights.linear("gates.1", weights.norm("gates.0", view))[member])
            total += gate * share * weights["per_stream"][stream, member] * weights.linear("evidence", token)
        fused.append(total)
    return fused


def torchs_layer(weights: Any, name: str, query: Vector, keys: list[Vector]) -> Vector:
    """`nn.TransformerEncoderLayer`, pre-norm, whose projections of queries, keys and values are one matrix."""
    matrix, bias = weights[f"{name}.self_attn.in_proj_weight"], weights[f"{name}.self_attn.in_proj_bias"]

    def projected(part: int, x: Vector) -> Vector:
        own = slice(part * WIDTH, (part + 1) * WIDTH)
        return np.asarray(matrix[own] @ weights.norm(f"{name}.norm1", x) + bias[own])

    asked, size, parts = projected(0, query), WIDTH // HEADS, []
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        share = weights.softmax([float(asked[own] @ projected(1, key)[own]) / math.sqrt(size) for key in keys])
        parts.append(sum(w * projected(2, key)[own] for w, key in zip(share, keys, strict=True)))
    after = query + weights.linear(f"{name}.self_attn.out_proj", np.concatenate(parts))
    hidden = weights.gelu(weights.linear(f"{name}.linear1", weights.norm(f"{name}.norm2", after)))
    return np.asarray(after + weights.linear(f"{name}.linear2", hidden))


def concat(weights: Any, streams: Streams) -> list[Vector]:
    known = np.concatenate([np.append(mean(tokens), float(bool(tokens))) for tokens in streams])
    fused = weights.linear("hidden.3", weights.gelu(weights.linear("hidden.0", known)))
    return [fused * scale for scale in weights["member"]]


def joint(weights: Any, streams: Streams) -> list[Vector]:
    names = weights["stream_name"]
    tokens = [weights["class_token"][0, 0], *(x + names[s] for s, part in enumerate(streams) for x in part)]
    for i in range(LAYERS):
        tokens = [weights.layer(f"layers.{i}", HEADS, x, tokens) for x in tokens]
    return scaled(weights, weights.norm("norm", tokens[0]))


def sum_(weights: Any, streams: Streams) -> list[Vector]:
    return scaled(weights, summed(weights, streams))


def weighted(weights: Any, streams: Streams) -> list[Vector]:
    fused = []
    for member in range(MEMBERS):
        share = weights.softmax([weights["weights"][member, s] for s in there(streams)])
        said = [weights.each("project", s, mean(streams[s])) for s in there(streams)]
        total = sum((w * x for w, x in zip(share, said, strict=True)), np.zeros(WIDTH))
        fused.append(total * weights["members.scale"][member])
    return fused


def gated(weights: Any, streams: Streams) -> list[Vector]:
    gates = sigmoid(weights.linear("gates", described(streams)))
    total = np.zeros(WIDTH)
    for s in there(streams):
        said = np.tanh(weights.each("project", s, mean(streams[s])))
        total += 2 * gates[s * WIDTH : (s + 1) * WIDTH] * said
    return scaled(weights, total / math.sqrt(len(streams)))


def cross_attention(weights: Any, streams: Streams) -> list[Vector]:
    names = weights["stream_name"]
    told = []
    for s in there(streams):
        query = mean(streams[s]) + names[s]
        others = [x + names[t] for t, tokens in enumerate(streams) for x in tokens if t != s]
        for i in range(LAYERS):
            query = weights.layer(f"layers.{i}", HEADS, query, others)
        told.append(weights.norm("norm", query))
    return scaled(weights, mean(told))


def bottleneck(weights: Any, streams: Streams) -> list[Vector]:
    shared, tokens = list(weights["bottlenecks"][0]), streams
    for i in range(LAYERS):
        after = {
            s: [
                weights.layer(f"layers.{i}.streams.{s}", HEADS, x, [*tokens[s], *shared]) for x in [*tokens[s], *shared]
            ]
            for s in there(streams)
        }
        tokens = [after[s][:-BOTTLENECKS] if s in after else [] for s in range(len(streams))]
        if after:
            shared = [mean([x[b - BOTTLENECKS] for x in after.values()]) for b in range(BOTTLENECKS)]
    read = [weights.norm("norm", weights.layer("last", HEADS, x, shared)) for x in shared]
    return scaled(weights, mean(read))


def bilinear(weights: Any, streams: Streams) -> list[Vector]:
    said, pair = [], 0
    for s in range(len(streams)):
        for t in range(s + 1, len(streams)):
            scores, products = [], []
            for x in streams[s]:
                for y in streams[t]:
                    scores.append(
                        float(weights["score"][pair] @ (x @ weights["attend"][s] * (y @ weights["attend"][t])))
                    )
                    products.append(x @ weights["factor"][s] * (y @ weights["factor"][t]))
            if scores:
                pooled = sum(w * product for w, product in zip(weights.softmax(scores), products, strict=True))
                said.append(pooled @ weights["read"][pair])
            pair += 1
    return scaled(weights, summed(weights, streams) + mean(said))


def dense(weights: Any, streams: Streams) -> list[Vector]:
    known = described(streams)
    for i in range(LAYERS):
        known = np.append(known, weights.gelu(weights.linear(f"layers.{i}", known)))
    return scaled(weights, weights.linear("read", known))


def graph(weights: Any, streams: Streams) -> list[Vector]:
    places = there(streams)
    nodes = {s: weights.each("project", s, mean(streams[s])) for s in places}
    edge = {
        (s, t): math.log1p(math.exp((weights["edges"][s, t] + weights["edges"][t, s]) / 2))
        for s in places
        for t in places
    }
    degree = {s: sum(edge[s, t] for t in places) for s in places}
    for i in range(LAYERS):
        heard = {s: sum(edge[s, t] / math.sqrt(degree[s] * degree[t]) * nodes[t] for t in places) for s in places}
        nodes = {s: nodes[s] + weights.gelu(weights.linear(f"layers.{i}", heard[s])) for s in places}
    return scaled(weights, mean(list(nodes.values())))


def experts(weights: Any, streams: Streams) -> list[Vector]:
    known = described(streams)
    count = len(weights["hidden.weight"])
    said = [weights.each("out", e, weights.gelu(weights.each("hidden", e, known))) for e in range(count)]
    routed = weights.linear("router", known).reshape(MEMBERS, count)
    return [sum(w * x for w, x in zip(weights.softmax(list(row)), said, strict=True)) for row in routed]


def correspondence(weights: Any, streams: Streams, steps: int = 5) -> list[Vector]:
    said = []
    for s in there(streams):
        for t in there(streams):
            if s < t:
                plan = transport(weights, streams, s, t, steps)
                said.extend([couples(weights, streams, s, t, plan), couples(weights, streams, t, s, plan.T)])
    return scaled(weights, summed(weights, streams) + mean(said))


def transport(weights: Any, streams: Streams, s: int, t: int, steps: int) -> Vector:
    """Sinkhorn's algorithm as it is usually written: rows, then columns, of a positive matrix are scaled in turn."""
    plan = np.empty((len(streams[s]), len(streams[t])))
    for i, x in enumerate(streams[s]):
        for j, y in enumerate(streams[t]):
            score = weights.linear(f"similar.{s}", x) @ weights.linear(f"similar.{t}", y) / math.sqrt(WIDTH)
            plan[i, j] = math.exp(score)
    for _ in range(steps):
        plan = np.array([row / row.sum() / plan.shape[0] for row in plan])
        plan = np.array([column / column.sum() / plan.shape[1] for column in plan.T]).T
    return plan


def couples(weights: Any, streams: Streams, s: int, t: int, plan: Vector) -> Vector:
    fused = []
    for x, row in zip(streams[s], plan, strict=True):
        partner = sum(w * y for w, y in zip(row / row.sum(), streams[t], strict=True))
        hidden = weights.gelu(weights.linear(f"mine.{s}", x) + weights.linear(f"yours.{t}", partner))
        fused.append(weights.linear("read", hidden))
    return mean(fused)


ANSWERS: dict[str, Callable[..., list[Vector]]] = {
    "attention": attention, "concat": concat, "joint": joint, "sum": sum_, "weighted": weighted, "gated": gated,
    "cross-attention": cross_attention, "bottleneck": bottleneck, "bilinear": bilinear, "dense": dense, "graph": graph,
    "correspondence": correspondence, "experts": experts,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(FUSIONS))
def test_it_computes_its_formula(
    kind: str,
    build_fusion: Callable[..., torch.nn.Module],
    draw_tokens: Callable[..., list[Tokens]],
    check_against: Callable[..., None],
) -> None:
    check_against(ANSWERS[kind], build_fusion(kind), draw_tokens((4, 1, 3), batch=10, seed=4, share=0.5))
