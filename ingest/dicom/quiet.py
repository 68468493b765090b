"""Libraries that read files are kept from warning and logging: what they say quotes a patient's values."""

import re
import warnings

_LIBRARIES = re.compile(r"(?:pydicom|pylibjpeg|openjpeg|rle|gdcm|PIL|nibabel|ingest)(?:\.|$)")
_RULE = ("ignore", None, Warning, _LIBRARIES, 0)


def quiet_warnings() -> None:
    """Ignore the libraries' warnings from here on, in all threads.

    Not a context manager: `warnings.catch_warnings` restores the filters of all threads at once.
    """
    if _RULE not in warnings.filters:
        warnings.filterwarnings("ignore", category=Warning, module=_LIBRARIES.pattern)


def quiet_pydicom() -> None:
    """Also keep pydicom from logging, and from checking the form of values, which is done here where it matters."""
    import logging

    from pydicom import config

    quiet_warnings()
    if config.settings.reading_validation_mode != config.IGNORE:
        config.settings.reading_validation_mode = config.IGNORE
        logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
