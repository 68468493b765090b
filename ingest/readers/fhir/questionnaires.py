"""FHIR QuestionnaireResponses as facts: a row per answer, under the questionnaire and the question's link."""

from collections.abc import Iterator

from ingest.account.quarantine import Refusal
from ingest.readers.fhir.facts import Context, Fact, Skip
from ingest.readers.fhir.observations import value_of
from ingest.readers.fhir.values import Node, branches, last_part, word

MAX_DEPTH = 50


def questionnaire_response(resource: Node, context: Context) -> Iterator[Fact]:
    """Every answer as QUESTIONNAIRE//<questionnaire>//<linkId>, at the time that the form was filled in."""
    time, available = context.when(resource, ("authored",))
    form = last_part(word(resource, "questionnaire").partition("|")[0]) or "unnamed"
    facts = [
        Fact(f"QUESTIONNAIRE//{form}//{link}", time, *value, available)
        for link, answer in _answers(resource, 0)
        if (value := _value(answer, context)) is not None
    ]
    if not facts:
        raise Skip("QuestionnaireResponse without answers")
    yield from facts


def _answers(node: Node, depth: int) -> Iterator[tuple[str, Node]]:
    """(linkId, answer) of all items, those of groups and those below answers too."""
    if depth > MAX_DEPTH:
        raise Refusal("item", f"at most {MAX_DEPTH} levels of items", "more")
    for item in branches(node, "item"):
        for answer in branches(item, "answer"):
            link = word(item, "linkId")
            if not link:
                raise Refusal("item.linkId", "the question's link", "none")
            yield link, answer
            yield from _answers(answer, depth + 1)
        yield from _answers(item, depth + 1)


def _value(answer: Node, context: Context) -> tuple[float | None, str | None, str | None] | None:
    try:
        return value_of(answer)
    except Skip as skip:
        context.notes[str(skip)] += 1
        return None
