"""From a decoder to words: greedy and beam search, and how probable each word was."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from models.drafts.decoder import Decoder, KeyValues, Memory, before
from models.drafts.vocabulary import BEGIN, END, PAD

NEVER = (PAD, BEGIN)  # what no text holds


@dataclass(frozen=True)
class Found:
    """A text as ids, without <eos>. score: its log-probability by the length penalty. ended: it has an end."""

    words: tuple[int, ...]
    log_probability: float
    score: float
    ended: bool


@dataclass
class _Search:
    """The search for one case: the best text that is finished, and how many are."""

    best: Found | None = None
    finished: int = 0

    def finish(self, words: Sequence[int], log_probability: float, alpha: float, *, ended: bool) -> None:
        score = log_probability / penalty(len(words), alpha)
        self.finished += 1
        if self.best is None or score > self.best.score:
            self.best = Found(tuple(words[:-1] if ended else words), log_probability, score, ended)


@torch.inference_mode()
def search(decoder: Decoder, memory: Memory, *, beams: int = 1, alpha: float = 0.0, no_repeat: int = 0) -> list[Found]:
    """The best text found for each case: greedily with one beam, else with several and never worse than that.

    A beam search may lose the greedy text on its way; so that looking further is never worse, that text is a candidate
    too. alpha: of the length penalty. no_repeat: no run of so many words comes twice; 0 allows all.
    """
    found = _beams(decoder, memory, 1, alpha, no_repeat)
    if beams > 1:
        wider = _beams(decoder, memory, beams, alpha, no_repeat)
        found = [max(pair, key=lambda one: one.score) for pair in zip(wider, found, strict=True)]
    return found


def penalty(length: int, alpha: float) -> float:
    """What the log-probability of so many words, <eos> among them, is divided by: Wu et al. 2016, eq. 14."""
    return float(((5 + length) / 6) ** alpha)


@torch.inference_mode()
def word_probabilities(decoder: Decoder, memory: Memory, texts: Sequence[Found]) -> list[list[float]]:
    """How probable the decoder held each word to be, after those before it; the end is not among them."""
    longest = max((len(text.words) for text in texts), default=0)
    if not longest:
        return [[] for _ in texts]
    words = torch.full((len(texts), longest), PAD, device=memory.values.device)
    for row, text in enumerate(texts):
        words[row, : len(text.words)] = torch.tensor(text.words, device=words.device)
    chances = decoder(before(words), memory).softmax(-1).gather(2, words[..., None])[..., 0]
    return [row[: len(text.words)] for row, text in zip(chances.tolist(), texts, strict=True)]


@dataclass
class _Lanes:
    """The texts that are being written: words (B, W, t), score (B, W), -inf where a lane is not used."""

    case: list[int]
    words: torch.Tensor
    score: torch.Tensor
    recalled: KeyValues = field(repr=False)
    present: torch.Tensor

    def rows(self, at: list[int]) -> "_Lanes":
        """The cases at these places."""
        index = torch.tensor(at, dtype=torch.long, device=self.words.device)
        width = self.words.shape[1]
        wide = (index[:, None] * width + torch.arange(width, device=index.device)).flatten()
        recalled = [(keys[wide], values[wide]) for keys, values in self.recalled]
        case = [self.case[place] for place in at]
        return _Lanes(case, self.words[index], self.score[index], recalled, self.present[wide])


def _beams(decoder: Decoder, memory: Memory, beams: int, alpha: float, no_repeat: int) -> list[Found]:
    """Beam search: of all ways to go on, the best `beams` that do not end; those that end among the best are finished.

    A case is done with `beams` finished texts, or where none that is being written can become better than its best.
    """
    decoder.eval()
    searches = [_Search() for _ in range(len(memory))]
    lanes = _begin(decoder, memory, beams)
    for length in range(1, decoder.max_tokens + 1):
        if not lanes.case:
            break
        total = _extended(decoder, lanes, no_repeat)
        lanes = _chosen(lanes, total, searches, alpha)
        most = penalty(decoder.max_tokens, alpha)
        open_ = []
        for place, case in enumerate(lanes.case):
            mine, best = searches[case], float(lanes.score[place].max())
            bettered = mine.best is not None and mine.best.score >= best / most
            if best == -torch.inf or mine.finished >= beams or bettered:
                continue
            if length == decoder.max_tokens:
                _cut(mine, lanes, place, alpha)
            open_.append(place)
        lanes = lanes.rows(open_)
    return [one.best or Found((), 0.0, 0.0, ended=False) for one in searches]


def _begin(decoder: Decoder, memory: Memory, beams: int) -> _Lanes:
    device = memory.values.device
    score = torch.full((len(memory), beams), -torch.inf, device=device)
    score[:, 0] = 0
    recalled = [
        (keys.repeat_interleave(beams, 0), values.repeat_interleave(beams, 0))
        for keys, values in decoder.recall(memory)
    ]
    words = torch.zeros(len(memory), beams, 0, dtype=torch.long, device=device)
    return _Lanes(list(range(len(memory))), words, score, recalled, memory.present.repeat_interleave(beams, 0))


def _extended(decoder: Decoder, lanes: _Lanes, no_repeat: int) -> torch.Tensor:
    """(B, W, V) the log-probability of each lane with each word after it, -inf where that is not allowed."""
    flat = lanes.words.flatten(0, 1)
    given = torch.cat([flat.new_full((len(flat), 1), BEGIN), flat], 1)
    chances = decoder.next(given, lanes.recalled, lanes.present)[:, -1].double().log_softmax(-1)
    chances[:, list(NEVER)] = -torch.inf
    if no_repeat:
        for row, words in enumerate(flat.tolist()):
            chances[row, _repeating(words, no_repeat)] = -torch.inf
    return lanes.score[..., None] + chances.reshape(*lanes.score.shape, -1)


def _repeating(words: list[int], size: int) -> list[int]:
    """The words that would end a run of `size` words which is there already (Paulus et al. 2018, section 2.5)."""
    if len(words) < size:
        return []
    last = words[len(words) - size + 1 :]
    return [words[at + size - 1] for at in range(len(words) - size + 1) if words[at : at + size - 1] == last]


def _chosen(lanes: _Lanes, total: torch.Tensor, searches: list[_Search], alpha: float) -> _Lanes:
    """The lanes one word longer; what ends among the best is finished instead."""
    cases, beams, vocabulary = total.shape
    best, place = total.flatten(1).topk(min(2 * beams, beams * vocabulary), 1)
    words = lanes.words.new_full((cases, beams, lanes.words.shape[2] + 1), PAD)
    score = torch.full((cases, beams), -torch.inf, dtype=total.dtype, device=total.device)
    lane_of, word_of = (place // vocabulary).tolist(), (place % vocabulary).tolist()
    for row, ranked in enumerate(best.tolist()):
        used = 0
        for rank, log_probability in enumerate(ranked):
            if log_probability == -torch.inf or used == beams:
                break
            lane, word = lane_of[row][rank], word_of[row][rank]
            if word != END:
                words[row, used, :-1], words[row, used, -1] = lanes.words[row, lane], word
                score[row, used] = log_probability
                used += 1
            elif rank < beams:
                text = [*lanes.words[row, lane].tolist(), END]
                searches[lanes.case[row]].finish(text, log_probability, alpha, ended=True)
    return _Lanes(lanes.case, words, score, lanes.recalled, lanes.present)


def _cut(mine: _Search, lanes: _Lanes, place: int, alpha: float) -> None:
    """At the greatest length all that is being written is finished, without an end."""
    for words, score in zip(lanes.words[place].tolist(), lanes.score[place].tolist(), strict=True):
        if score > -torch.inf:
            mine.finish(words, score, alpha, ended=False)
