"""The decoder: causal, blind to what is absent, and the same as its formulas written out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from models.drafts.decoder import Attention, Decoder, Memory, before, memory_of
from models.drafts.train import word_loss
from models.drafts.vocabulary import BEGIN, PAD
from models.network import Network
from models.training.weights import seeded

Decoders = Callable[..., Decoder]
Memories = Callable[..., Memory]
WORDS = torch.tensor([[2, 4, 5, 8, 6, 7], [2, 8, 8, 4, 5, 1], [2, 7, 6, 5, 4, 8]])


def test_a_later_word_never_changes_what_follows_an_earlier_one(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(layers=2), memory()
    base = made(WORDS, held)
    for place in range(1, WORDS.shape[1]):
        changed = WORDS.clone()
        changed[:, place:] = (changed[:, place:] + 3) % 9
        logits = made(changed, held)
        assert torch.equal(logits[:, :place], base[:, :place]), place
        assert not torch.allclose(logits[:, place], base[:, place], atol=1e-4)


def test_every_earlier_word_is_heard(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(), memory()
    words = WORDS[:1].clone().float()
    embedded = torch.nn.functional.one_hot(WORDS[:1], 9).float().requires_grad_()
    weight = made.words.weight
    made.words.forward = lambda _: embedded @ weight  # type: ignore[method-assign]
    made(words.long(), held.rows(torch.tensor([0])))[0, 4].sum().backward()  # type: ignore[no-untyped-call]
    assert embedded.grad is not None
    assert (embedded.grad[0].abs().sum(1) > 0).tolist() == [True] * 5 + [False]


def test_absent_tokens_and_padding_change_nothing(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(layers=2), memory()
    base = made(WORDS, held)
    noise = torch.randn(held.values.shape, generator=torch.Generator().manual_seed(1))
    other = replace(held, values=torch.where(held.present[..., None], held.values, noise))
    assert torch.equal(made(WORDS, other), base)
    padded = Memory(
        torch.cat([held.values, noise[:, :2]], 1),
        torch.cat([held.present, torch.zeros(3, 2, dtype=torch.bool)], 1),
        torch.cat([held.stream, torch.tensor([0, 1])]),
    )
    assert torch.allclose(made(WORDS, padded), base, atol=1e-6)
    loss = word_loss(made, held, WORDS)
    assert torch.allclose(
        word_loss(made, held, torch.nn.functional.pad(WORDS[:, :4], (0, 0))),
        word_loss(made, held, torch.cat([WORDS[:, :4], torch.full((3, 2), PAD)], 1)),
    )
    assert loss.isfinite()


def test_the_order_of_present_tokens_of_one_stream_means_nothing(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(), memory()
    order = torch.tensor([1, 0, 4, 2, 3, 5])
    turned = Memory(held.values[:, order], held.present[:, order], held.stream[order])
    assert torch.allclose(made(WORDS, turned), made(WORDS, held), atol=1e-6)


def test_it_is_its_formulas_written_out(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(), memory()
    state = {name: tensor.double().numpy() for name, tensor in made.state_dict().items()}
    for case in range(3):
        expected = by_hand(
            state,
            WORDS[case].numpy(),
            held.values[case].double().numpy(),
            held.present[case].numpy(),
            held.stream.numpy(),
        )
        assert made(WORDS, held)[case].detach().numpy() == pytest.approx(expected, abs=2e-4)


def test_attention_agrees_with_torchs_own() -> None:
    with seeded(0):
        mine, theirs = Attention(8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
        asking, held = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([mine.query.weight, mine.key.weight, mine.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([mine.query.bias, mine.key.bias, mine.value.bias]))
        theirs.out_proj.load_state_dict(mine.out.state_dict())
    allowed = torch.tensor([[True, True, False, True, False], [False, True, True, True, True]])
    found = mine(asking, mine.keys_and_values(held), allowed[:, None, None, :])
    expected, _ = theirs(asking, held, held, key_padding_mask=~allowed)
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_words_before_begin_with_the_beginning() -> None:
    assert before(WORDS[:1]).tolist() == [[BEGIN, 2, 4, 5, 8, 6]]


def test_a_memory_hides_what_keep_hides_and_always_holds_the_fused_vector(
    synthetic_cohort: Callable[..., Cohort], shaken_network: Callable[[Any], Network]
) -> None:
    cohort = synthetic_cohort(n=160)
    network, batch = shaken_network(cohort), cohort.batch(range(12))
    with torch.no_grad():
        tokens = network.encode(batch.streams)
        keep = torch.ones(12, 6, dtype=torch.bool)
        keep[:, 3] = False
        held, without = (
            memory_of(network, tokens, keep),
            memory_of(network, network.encode(batch.without("xray").streams)),
        )
    assert torch.equal(held.present, without.present)
    assert torch.allclose(held.values, without.values, atol=1e-5)
    assert held.stream.max() == 6
    assert held.present[:, held.stream == 6].all()
    assert not held.present[:, held.stream == 3].any()
    nothing = memory_of(network, tokens, torch.zeros(12, 6, dtype=torch.bool))
    assert nothing.present.sum(1).tolist() == [1] * 12
    assert torch.allclose(nothing.values, nothing.values[:1].expand(12, -1, -1), atol=1e-6), "the same of everybody"


def by_hand(
    state: dict[str, np.ndarray], words: np.ndarray, values: np.ndarray, present: np.ndarray, stream: np.ndarray
) -> np.ndarray:
    """One case in numpy, word by word and head by head: logits (T, V). One layer, width 16, two heads."""
    width, heads = 16, 2

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean()
        return centred / np.sqrt((centred**2).mean() + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def attend(name: str, asking: np.ndarray, held: list[np.ndarray]) -> np.ndarray:
        query, keys = linear(asking, f"{name}.query"), [linear(each, f"{name}.key") for each in held]
        said = [linear(each, f"{name}.value") for each in held]
        out = []
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            score = np.array([query[part] @ key[part] / np.sqrt(width / heads) for key in keys])
            weight = np.exp(score - score.max())
            out.append(sum(w * value[part] for w, value in zip(weight / weight.sum(), said, strict=True)))
        return linear(np.concatenate(out), f"{name}.out")

    def gelu(x: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr

        return np.asarray(x * ndtr(x))

    held = [
        linear(norm(value, "read.0"), "read.1") + state["streams.weight"][number]
        for value, here, number in zip(values, present, stream, strict=True)
        if here
    ]
    x = [state["words.weight"][word] * np.sqrt(width) + state["places.weight"][at] for at, word in enumerate(words)]
    x = [
        each
        + attend("layers.0.before", norm(each, "layers.0.norms.0"), [norm(e, "layers.0.norms.0") for e in x[: at + 1]])
        for at, each in enumerate(x)
    ]
    x = [each + attend("layers.0.across", norm(each, "layers.0.norms.1"), held) for each in x]
    x = [each + linear(gelu(linear(norm(each, "layers.0.norms.2"), "layers.0.map.0")), "layers.0.map.3") for each in x]
    return np.stack([state["words.weight"] @ norm(each, "norm") + state["bias"] for each in x])
