"""How a command ends when it did its work and yet refused some of its input."""


class Refused(Exception):  # noqa: N818  # not an error: the batch went on with the rest
    """Some records were refused; they are in quarantine and were told. Exit code 2."""
