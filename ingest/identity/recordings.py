"""Whether a recording is of the subject whose record names it, as far as its own header says whom it is of."""

from pathlib import Path

from ingest.account.quarantine import Refusal
from ingest.identity.register import Claim, IdentityRegister
from ingest.signals.patient import NamedPatient, named_patient

_HINT = "put the right file in its place, or X for the patient in its header where that is of another numbering"


def check_named(path: Path, subject: int, identity: IdentityRegister, issuer: str, field: str) -> None:
    """Refuse a recording whose header names another patient. issuer: of identifiers that do not say whose they are."""
    named = named_patient(path)
    if named == NamedPatient():
        return
    said = identity.claim(subject)[0]
    if differing := said.conflicts(named.claim):
        got = f"another {' and another '.join(differing)} in its header"
        raise Refusal(field, "a recording of the record's subject", got, _HINT)
    if not named.identifier or _is_sure(said, named.claim):
        return
    spellings = dict.fromkeys((named.identifier, named.identifier.replace("_", " ")))
    if not any(identity.names(subject, spelling, issuer) for spelling in spellings):
        raise Refusal(field, "a recording of the record's subject", "another patient's identifier in its header", _HINT)


def _is_sure(said: Claim, named: Claim) -> bool:
    """Whether name and birth date, stated by both, tell one person, though their numbers are of different places."""
    return bool(said.names and named.names and said.birth_date and said.birth_date == named.birth_date)
