"""FHIR documents as facts: notes, reports and compositions, with all the text that they carry or point to."""

import binascii
import re
from collections.abc import Iterator

import orjson

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import inside
from ingest.readers.fhir.facts import Context, Fact, Skip
from ingest.readers.fhir.markup import text_of_markup
from ingest.readers.fhir.observations import contained_observations, effective
from ingest.readers.fhir.values import Node, branch, branches, code_of, local_name, word

MAX_NOTE_BYTES = 16 * 1024 * 1024
_PLAIN = frozenset({"", "text/plain", "text/markdown"})
_MARKUP = frozenset({"text/html", "application/xhtml+xml"})
_MIME = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}")
_SPACES = re.compile(r"\s+")


def document(resource: Node, context: Context) -> Iterator[Fact]:
    """The text of a DocumentReference: its attachments in order, one after the other."""
    code = code_of(branch(resource, "type"), "type")
    period = (
        branch(resource, "context", "period") if type(resource.get("context")) is dict else branch(resource, "period")
    )
    date, start = word(resource, "date"), word(period, "start")
    if not (date or start):
        raise Refusal("date", "the document's date", "none")
    moment = context.moment(start or date, "context.period.start" if start else "date")
    attachments = [branch(content, "attachment") for content in branches(resource, "content")]
    text = _joined(attachments, context, "DocumentReference without text")
    yield Fact(code, moment.start, text_value=text, available_time=context.known(moment, date, "date"))


def report(resource: Node, context: Context) -> Iterator[Fact]:
    """The text of a DiagnosticReport: its presented forms, then its conclusion; and the Observations within it."""
    code = code_of(branch(resource, "code"), "code")
    time, available = effective(resource, context)
    conclusion = word(resource, "conclusion")
    inner = [
        fact._replace(available_time=max(available, fact.available_time or available))
        for fact in contained_observations(resource, context)
    ]
    try:
        text = _joined(branches(resource, "presentedForm"), context, "DiagnosticReport without text", conclusion)
    except Skip:
        if not inner:
            raise
    else:
        yield Fact(code, time, text_value=text, available_time=available)
    yield from inner


def composition(resource: Node, context: Context) -> Iterator[Fact]:
    """The sections of a Composition (a FHIR document's first entry), each under its title."""
    code = code_of(branch(resource, "type"), "type")
    time, available = context.when(resource, ("date",))
    text = "\n\n".join(_sections(resource, 0))
    if not text:
        raise Skip("Composition without text")
    yield Fact(code, time, text_value=_bounded(text, "section"), available_time=available)


def attached(attachment: Node, context: Context) -> str | None:
    """The text of an Attachment, inline, in a Binary or in a file of the delivery; None where it has none.

    Raises Skip where it is not text, Refusal where it is broken, too long, or not in the delivery.
    """
    kind, charset = _kind_of(word(attachment, "contentType"))
    url = word(attachment, "url")
    if not (word(attachment, "data") or url):
        return None
    if (binary := _binary(url, context)) is not None:
        kind, charset = _kind_of(word(binary, "contentType"))
        attachment = binary
    if kind not in _PLAIN and kind not in _MARKUP:
        raise Skip(f"attachment of a kind that is not read: {kind if _MIME.fullmatch(kind) else 'unknown'}")
    content = _content(attachment, url, context)
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode(charset)
    except (UnicodeDecodeError, LookupError):
        raise Refusal("attachment", "text in the encoding that it states, or UTF-8", "something else") from None
    return text_of_markup(text) if kind in _MARKUP else text


def _joined(attachments: list[Node], context: Context, empty: str, last: str = "") -> str:
    """All texts in order; an attachment that is not text is noted, and the reason to skip where there is no text."""
    texts, reasons = [], []
    for attachment in attachments:
        try:
            texts.append(attached(attachment, context))
        except Skip as skip:
            reasons.append(str(skip))
    said = [text for text in (*texts, last) if text]
    if not said:
        raise Skip(reasons[0] if reasons else empty)
    context.notes.update(reasons)
    return _bounded("\n\n".join(said), "attachment")


def _bounded(text: str, field: str) -> str:
    if len(text) > MAX_NOTE_BYTES:
        raise Refusal(field, f"at most {MAX_NOTE_BYTES:,} characters", f"{len(text):,}", "deliver it in parts")
    return text


def _content(attachment: Node, url: str, context: Context) -> bytes:
    if data := word(attachment, "data"):
        if len(data) > MAX_NOTE_BYTES * 4 // 3 + 4:
            raise _too_long("attachment.data", len(data) * 3 // 4)
        try:
            return binascii.a2b_base64(data, strict_mode=True)
        except ValueError:
            pass  # line breaks are allowed inside; what is left after them has to fit
        try:
            return binascii.a2b_base64(_SPACES.sub("", data), strict_mode=True)
        except ValueError:
            raise Refusal("attachment.data", "base64", "something else") from None
    path = inside(context.file, url, "attachment.url")
    if (size := path.stat().st_size) > MAX_NOTE_BYTES:
        raise _too_long("attachment.url", size)
    return path.read_bytes()


def _too_long(field: str, size: int) -> Refusal:
    return Refusal(field, f"at most {MAX_NOTE_BYTES:,} bytes", f"{size:,}", "deliver it in parts")


def _binary(url: str, context: Context) -> Node | None:
    """The Binary of this delivery that a url such as Binary/17 names, whatever server it is said to be on."""
    found = context.binaries.get(url) or context.binaries.get(local_name(url))
    if found is None:
        return None
    if found.resource is not None:
        return found.resource
    with found.path.open("rb") as opened:
        opened.seek(found.offset)
        resource = orjson.loads(opened.read(found.size))
    assert isinstance(resource, dict), "it was an object when it was found"
    return resource


def _kind_of(content_type: str) -> tuple[str, str]:
    """(kind, encoding) of a content type such as text/plain; charset=latin-1."""
    kind, *parameters = content_type.lower().split(";")
    stated = dict(each.strip().partition("=")[::2] for each in parameters)
    return kind.strip(), stated.get("charset", "").strip("\"' ") or "utf-8"


def _sections(node: Node, depth: int) -> Iterator[str]:
    if depth > 20:
        raise Refusal("section", "at most 20 levels of sections", "more")
    for section in branches(node, "section"):
        text = text_of_markup(word(branch(section, "text"), "div"))
        if text:
            title = word(section, "title")
            yield f"{title}\n{text}" if title else text
        yield from _sections(section, depth + 1)
