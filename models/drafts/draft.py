"""A draft: a text that a model wrote, with how sure it was of every word. It says what it is wherever it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from models.drafts.config import DraftConfig
from models.drafts.decoder import Decoder, Memory
from models.drafts.search import Found, search, word_probabilities
from models.drafts.vocabulary import UNKNOWN, Vocabulary

NOTICE: Final = "DRAFT - written by a model, not reviewed"
STATUS: Final = "preliminary"  # of FHIR's DiagnosticReport.status: never final before a person has read it
UNSURE: Final = "(?)"  # after a word that the model was not sure of
CUT: Final = "[cut]"  # where the text was ended by its length
NOTHING: Final = "Nothing of this case was seen: this holds of anybody."


@dataclass(frozen=True)
class Draft:
    """What a model wrote of one case. Built by `Drafter.draft`.

    words: what was written, in pieces; body: all of it, unsure words marked. probabilities: of each word, by the
    decoder, given those before it. streams: what it rests on. There is no way to show it without its first line,
    `NOTICE`.
    """

    case_id: str
    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    body: str
    unsure: tuple[str, ...]
    streams: tuple[str, ...]
    model_version: str
    decoder: str

    @property
    def text(self) -> str:
        """The draft to be shown: the notice, then what was written."""
        return "\n".join([NOTICE, *([] if self.streams else [NOTHING]), self.body])

    @property
    def probability(self) -> float:
        """The geometric mean of its words' probabilities; 0 of an empty draft."""
        if not self.probabilities:
            return 0.0
        return float(np.exp(np.mean(np.log(np.maximum(self.probabilities, 1e-12)))))

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """Plain values for programs: `draft` is always true, `status` always preliminary."""
        return {
            "case_id": self.case_id,
            "draft": True,
            "status": STATUS,
            "notice": NOTICE,
            "text": self.text,
            "probability": round(self.probability, 4),
            "words": [[word, round(p, 4)] for word, p in zip(self.words, self.probabilities, strict=True)],
            "unsure": list(self.unsure),
            "streams": list(self.streams),
            "model_version": self.model_version,
            "decoder": self.decoder,
        }

    def to_row(self) -> dict[str, Any]:
        """A row of a table for people."""
        raw = self.to_json()
        return {
            **{name: raw[name] for name in ("case_id", "draft", "status", "text", "probability")},
            "unsure": " ".join(self.unsure),
            "streams": " ".join(self.streams),
            "model_version": self.model_version,
            "decoder": self.decoder,
        }


@dataclass(frozen=True)
class Drafter:
    """A trained decoder with the words it writes, the version it belongs to and its streams. digest: of its weights."""

    version: str
    streams: tuple[str, ...]
    config: DraftConfig
    vocabulary: Vocabulary
    decoder: Decoder
    digest: str = ""

    @torch.inference_mode()
    def find(self, memory: Memory, beams: int | None = None) -> list[Found]:
        """The best text of each case, as ids."""
        config = self.config
        width = config.beams if beams is None else beams
        return search(self.decoder, memory, beams=width, alpha=config.length_penalty, no_repeat=config.no_repeat)

    def draft(self, case_ids: Sequence[str], memory: Memory, beams: int | None = None) -> list[Draft]:
        """A draft of each case of the memory."""
        found = self.find(memory, beams)
        chances = word_probabilities(self.decoder, memory, found)
        seen = [
            tuple(name for place, name in enumerate(self.streams) if bool((here & (memory.stream == place)).any()))
            for here in memory.present
        ]
        return [self._draft(*each) for each in zip(case_ids, seen, found, chances, strict=True)]

    def _draft(self, case_id: str, streams: tuple[str, ...], found: Found, chances: list[float]) -> Draft:
        written = [self.vocabulary.alone(word) for word in found.words]
        doubted = [
            word == UNKNOWN or (chance < self.config.unsure_below and any(c.isalnum() for c in text))
            for word, text, chance in zip(found.words, written, chances, strict=True)
        ]
        body = self.vocabulary.write(found.words, [UNSURE if doubt else "" for doubt in doubted])
        return Draft(
            case_id=str(case_id),
            words=tuple(written),
            probabilities=tuple(chances),
            body=body if found.ended else f"{body} {CUT}",
            unsure=tuple(text for text, doubt in zip(written, doubted, strict=True) if doubt),
            streams=streams,
            model_version=self.version,
            decoder=self.digest[:12],
        )
