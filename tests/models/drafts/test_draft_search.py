"""Search: greedy and beams, against every text there is."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.drafts.decoder import Decoder, Memory, before
from models.drafts.search import _beams, penalty, search, word_probabilities
from models.drafts.vocabulary import BEGIN, END, PAD, UNKNOWN

Decoders = Callable[..., Decoder]
Memories = Callable[..., Memory]


def log_probability(made: Decoder, held: Memory, words: list[int]) -> float:
    with torch.no_grad():
        chances = made(before(torch.tensor([words])), held).double().log_softmax(-1)[0]
    return sum(float(chances[at, word]) for at, word in enumerate(words))


def greedy(made: Decoder, held: Memory) -> list[int]:
    """Word by word the likeliest, without what no text holds."""
    words: list[int] = []
    while len(words) < made.max_tokens:
        with torch.no_grad():
            logits = made(torch.tensor([[BEGIN, *words]]), held)[0, -1]
        logits[[PAD, BEGIN]] = -torch.inf
        words.append(int(logits.argmax()))
        if words[-1] == END:
            break
    return words


@pytest.mark.parametrize("seed", range(4))
def test_one_beam_is_greedy(decoder: Decoders, memory: Memories, seed: int) -> None:
    made, held = decoder(seed=seed, sharp=3, max_tokens=8), memory(5, seed)
    found = search(made, held)
    for case in range(5):
        words = greedy(made, held.rows(torch.tensor([case])))
        assert [*found[case].words, *([END] if found[case].ended else [])] == words
        expected = log_probability(made, held.rows(torch.tensor([case])), words)
        assert found[case].log_probability == pytest.approx(expected, abs=1e-5)
    assert _beams(made, held, 1, 0.0, 0) == found


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_wide_enough_it_finds_the_best_text_of_all(
    decoder: Decoders, memory: Memories, seed: int, alpha: float
) -> None:
    made, held = decoder(words=7, max_tokens=3, seed=seed, sharp=2), memory(2, seed)
    free = [UNKNOWN, 4, 5, 6]
    texts = [[*head, END] for size in range(3) for head in itertools.product(free, repeat=size)]
    texts += [list(words) for words in itertools.product(free, repeat=3)]
    found = search(made, held, beams=125, alpha=alpha)
    for case in range(2):
        scores = [log_probability(made, held.rows(torch.tensor([case])), t) / penalty(len(t), alpha) for t in texts]
        best = texts[max(range(len(texts)), key=scores.__getitem__)]
        assert found[case].score == pytest.approx(max(scores), abs=1e-5)
        assert list(found[case].words) == [word for word in best if word != END]
        assert found[case].ended == (best[-1] == END)


@given(seed=st.integers(0, 30), alpha=st.sampled_from([0.0, 0.6, 1.5]), no_repeat=st.sampled_from([0, 2]))
def test_wider_beams_never_score_lower_than_greedy(
    decoder: Decoders, memory: Memories, seed: int, alpha: float, no_repeat: int
) -> None:
    made, held = decoder(seed=seed, sharp=3), memory(3, seed)
    plain = search(made, held, beams=1, alpha=alpha, no_repeat=no_repeat)
    for beams in (2, 3, 5):
        wider = search(made, held, beams=beams, alpha=alpha, no_repeat=no_repeat)
        assert all(one.score >= other.score - 1e-9 for one, other in zip(wider, plain, strict=True))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_of_words_comes_twice(decoder: Decoders, memory: Memories, beams: int, size: int) -> None:
    made, held = decoder(seed=2, sharp=4, max_tokens=12), memory(6)
    with torch.no_grad():
        made.bias[END] = -50
    repeats = [0, 0]
    for forbidden in (0, size):
        for text in search(made, held, beams=beams, no_repeat=forbidden):
            runs = [text.words[at : at + size] for at in range(len(text.words) - size + 1)]
            repeats[bool(forbidden)] += len(runs) - len(set(runs))
    assert repeats[0] > 0, "or this would show nothing"
    assert repeats[1] == 0


def test_the_cases_of_a_batch_do_not_hear_of_each_other(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(seed=1, sharp=3, max_tokens=8), memory(6)
    together = search(made, held, beams=3, alpha=0.6)
    for case in range(6):
        (alone,) = search(made, held.rows(torch.tensor([case])), beams=3, alpha=0.6)
        assert alone.words == together[case].words
        assert alone.score == pytest.approx(together[case].score, abs=1e-4)


def test_a_text_without_an_end_is_as_long_as_allowed(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(max_tokens=5), memory(2)
    with torch.no_grad():
        made.bias[END] = -50
    for text in search(made, held, beams=2):
        assert len(text.words) == 5
        assert not text.ended
    with torch.no_grad():
        made.bias[END] = 80
    assert [(text.words, text.ended) for text in search(made, held, beams=2)] == [((), True)] * 2


def test_the_probability_of_each_word_is_that_after_those_before_it(decoder: Decoders, memory: Memories) -> None:
    made, held = decoder(seed=1, sharp=3), memory(4)
    texts = search(made, held, beams=2)
    for case, (text, chances) in enumerate(zip(texts, word_probabilities(made, held, texts), strict=True)):
        assert len(chances) == len(text.words)
        for at, word in enumerate(text.words):
            with torch.no_grad():
                given = torch.tensor([[BEGIN, *text.words[:at]]])
                expected = made(given, held.rows(torch.tensor([case])))[0, -1].softmax(-1)[word]
            assert chances[at] == pytest.approx(float(expected), abs=1e-5)


def test_the_length_penalty_is_that_of_the_paper() -> None:
    assert penalty(1, 0.6) == 1
    assert penalty(7, 1.0) == pytest.approx(2)
    assert penalty(19, 0.5) == pytest.approx(2)
    assert penalty(40, 0) == 1
