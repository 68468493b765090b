"""Words of notes that give the outcome away: those that settle it by their counts, and those of the outcome itself.

Only words that several subjects share are ever shown, and none that a patient bears as a name; no text of a note is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import sparse

from ingest.delivery.shown_names import Bearing, mask
from ingest.target import BinaryTarget, ClassesTarget, LabelsTarget, Target
from ingest.task import Task, TextStream
from models.leakage.finding import Finding, Verdict, gravest
from models.leakage.marks import Marks, count_marks
from models.leakage.scope import Scope, streams_of

CHECK, OUTCOME_CHECK = "words in notes", "words of the outcome"
OWN = "the task itself"
LEAST_SUBJECTS = 10  # that share a word, for it to be looked at and shown
LEAST_OF_OUTCOME = 5
MOST_SHOWN = 8
# A word that names the outcome is suspect before it is counted, so less is asked of it, and for no number of words.
OUTCOME_SHARE, OUTCOME_P, OUTCOME_ODDS = 0.8, {"alarm": 0.02, "look": 0.05}, np.log(5)
STEP = (
    "read where it stands: cut what was written after the outcome, or names it, with `redact` or `without_sections` of "
    "the stream, and align again"
)
_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


def word_findings(scope: Scope, outcome_words: Mapping[str, Sequence[str]], bearing: Bearing) -> list[Finding]:
    """Words and neighbouring pairs of each text stream.

    outcome_words: subject -> words of a domain that name outcomes; `*` stands for any ending. One case of each subject
    is read, and of its text what a model reads. bearing: what patients bear as names.
    """
    patterns = patterns_of(outcome_words, scope.cohort.task)
    found = []
    for stream in streams_of(scope.cohort, "text"):
        places, texts = _texts(scope, stream)
        target = scope.target[places]
        if min(np.bincount(target, minlength=2)) < LEAST_OF_OUTCOME:
            scope.note(f"{stream}: too few notes of either outcome to compare their words")
            continue
        marked, words = word_marks(texts)
        marks = count_marks(marked, target, scope.weight)
        of_outcome = np.array([any(each.fullmatch(word) for each in patterns.values()) for word in words], bool)
        chosen = np.flatnonzero(of_outcome)
        subjects, named = subject_marks(texts, patterns)
        joined = sparse.hstack([marked[:, chosen], sparse.csr_matrix(subjects)]).tocsr()
        found += _outcome_findings(
            stream, count_marks(joined, target, scope.weight), [repr(words[k]) for k in chosen] + named
        )
        plain = ~of_outcome & (marks.having.sum(0) >= LEAST_SUBJECTS)
        found += _plain_findings(stream, marks, words, plain, bearing)
    return found


def patterns_of(outcome_words: Mapping[str, Sequence[str]], task: Task) -> dict[str, re.Pattern[str]]:
    """Subject -> what its words look like: those given, and those of the task's own codes and labels."""
    own = [word for text in (*task.target.codes, *_risky_texts(task.target)) for word in _words(text)]
    every = {**outcome_words, OWN: [word for word in own if len(word) > 2 and word not in _PLAIN]}
    return {
        subject: re.compile("|".join(re.escape(word.lower()).replace(r"\*", r"\w*") for word in words) or r"(?!)")
        for subject, words in every.items()
    }


def subject_marks(texts: Sequence[str], patterns: Mapping[str, re.Pattern[str]]) -> tuple[np.ndarray, list[str]]:
    """(n, K) which texts hold any word of a subject, for the subjects of which several are there; and their names."""
    marked, names = [np.zeros((0, len(texts)), bool)], []
    for subject, pattern in patterns.items():
        held = [{word for word in _with_pairs(text) if pattern.fullmatch(word)} for text in texts]
        every = sorted(set().union(*held))
        if len(every) > 1:
            marked.append(np.array([[bool(words) for words in held]]))
            names.append(f"a word of {subject} ({', '.join(every[:MOST_SHOWN])})")
    return np.concatenate(marked).T.astype(np.int32), names


def _risky_texts(target: Target) -> tuple[str, ...]:
    """The texts of a label that mean the risk event."""
    if isinstance(target, BinaryTarget):
        return target.positive
    if isinstance(target, ClassesTarget):
        return tuple(text for name in target.risk for text in (name, *target.classes[name]))
    return (target.risk,) if isinstance(target, LabelsTarget) else ()


def word_marks(texts: Sequence[str]) -> tuple[sparse.csr_matrix, list[str]]:
    """(n, K) which words and pairs of neighbours each text holds, of those that LEAST_OF_OUTCOME texts hold; those."""
    places: dict[str, int] = {}
    row: list[int] = []
    column: list[int] = []
    for number, text in enumerate(texts):
        mine = {places.setdefault(word, len(places)) for word in _with_pairs(text)}
        row += [number] * len(mine)
        column += mine
    ones = np.ones(len(row), np.int32)
    marked = sparse.coo_matrix((ones, (row, column)), shape=(len(texts), len(places))).tocsc()
    often = np.flatnonzero(np.asarray(marked.sum(0)).ravel() >= LEAST_OF_OUTCOME)
    words = list(places)
    return marked[:, often].tocsr(), [words[at] for at in often]


def _outcome_findings(stream: str, marks: Marks, names: list[str]) -> list[Finding]:
    """The words of the outcome, and whether any word of a subject is there: an alarm where one leans clearly."""
    at = np.flatnonzero(marks.having.sum(0) >= LEAST_OF_OUTCOME)
    if not len(at):
        return [Finding(OUTCOME_CHECK, stream, "no word of the outcome is in the notes of several subjects", "fine")]
    mine, told = marks.of(at), [names[k] for k in at]
    leaning = (mine.p < OUTCOME_P["look"]) & (mine.log_odds >= OUTCOME_ODDS)
    alarms = leaning & (mine.p < OUTCOME_P["alarm"]) & (mine.share >= OUTCOME_SHARE)
    if not leaning.any():
        k = int(mine.log_odds.argmax())
        figure = f"{len(at)} words and subjects; the most telling, {told[k]}, {mine.said(k)}: within chance"
        return [Finding(OUTCOME_CHECK, stream, figure, "fine", value=float(mine.log_odds[k]))]
    verdict: Verdict = "alarm" if alarms.any() else "look"
    return [_finding(OUTCOME_CHECK, stream, mine, told, alarms if alarms.any() else leaning, verdict)]


def _plain_findings(stream: str, marks: Marks, words: list[str], chosen: np.ndarray, bearing: Bearing) -> list[Finding]:
    """Words that settle the outcome, whatever they mean. A pair is told only where neither of its words is."""
    at = np.flatnonzero(chosen)
    if not len(at):
        return [Finding(CHECK, stream, f"no word is in the notes of {LEAST_SUBJECTS} subjects", "fine")]
    mine, names = marks.of(at), [words[k] for k in at]
    verdicts = np.array(mine.verdicts())
    grave = gravest(*verdicts.tolist())  # what merely leans beside what settles adds nothing
    if grave == "fine":
        return [Finding(CHECK, stream, f"none of {len(at):,} words and pairs settles the outcome", "fine")]
    suspect = verdicts == grave
    single = {name for name, told in zip(names, suspect, strict=True) if told}
    suspect &= np.array([" " not in name or not single & set(name.split()) for name in names])
    return [_finding(CHECK, stream, mine, _shown(names, bearing, suspect), suspect, grave)]


def _finding(
    check: str, stream: str, marks: Marks, names: Sequence[str], chosen: np.ndarray, verdict: Verdict
) -> Finding:
    """The most telling of the chosen marks with their counts."""
    order = [int(k) for k in np.argsort(-marks.log_odds, kind="stable") if chosen[k]]
    told = "; ".join(f"{names[k]} {marks.said(k)}" for k in order[:MOST_SHOWN])
    more = f"; and {len(order) - MOST_SHOWN} more" if len(order) > MOST_SHOWN else ""
    return Finding(check, stream, told + more, verdict, STEP, float(marks.log_odds[order[0]]))


def _shown(words: list[str], bearing: Bearing, suspect: np.ndarray) -> list[str]:
    """The words as they may be shown: what a patient bears as a name is masked."""
    asked = {part for word, told in zip(words, suspect, strict=True) if told for part in word.split()}
    borne = bearing(asked) if asked else set()
    return [repr(" ".join(mask(part) if part in borne else part for part in word.split())) for word in words]


def _texts(scope: Scope, stream: str) -> tuple[np.ndarray, list[str]]:
    """(places of one case of each subject that has the stream, what a model reads of its text)."""
    from dataclasses import replace

    from ingest.notes.tokenizer import latest_tokens, load_tokenizer

    spec = scope.cohort.task.streams[stream]
    assert isinstance(spec, TextStream)
    index = scope.cohort.index
    have = np.flatnonzero(index[f"{stream}_row"].to_numpy()[scope.rows] >= 0)
    have = scope.generator.permutation(have)
    have = np.sort(have[np.unique(scope.subjects[have], return_index=True)[1]])
    if not len(have):
        return have, []
    some = index.iloc[scope.rows[have]]
    texts = replace(scope.cohort, index=some).texts(stream)
    tokenizer = load_tokenizer(spec.tokenizer)
    read = []
    for case in some["case_id"]:
        text = str(texts[case])
        _, offsets, dropped = latest_tokens(tokenizer, text, spec.max_tokens)
        read.append(text[offsets[0][0] :] if dropped and offsets else text)
    return have, read


def _with_pairs(text: str) -> Iterator[str]:
    """Every word in lower case, and every pair with nothing but white space between."""
    before, end = "", 0
    for match in _WORD.finditer(text):
        word = match[0].lower()
        yield word
        if before and not text[end : match.start()].strip():
            yield f"{before} {word}"
        before, end = word, match.end()


def _words(text: str) -> list[str]:
    return [match[0].lower() for match in _WORD.finditer(text)]


_PLAIN = {"and", "the", "for", "with", "within", "after", "before", "yes", "not", "will", "this", "from"}
