"""Requests to one server that the user named: nothing goes anywhere else, and every failure is one typed error."""

import base64
import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from ingest.errors import InputError

if TYPE_CHECKING:
    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0  # between two pieces of an answer, not for all of it
ATTEMPTS = 3
_BUSY = frozenset({429, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MEANING = {
    401: ("not authorised", "set TELLTALE_DICOMWEB_USER and TELLTALE_DICOMWEB_PASSWORD, or TELLTALE_DICOMWEB_TOKEN"),
    403: ("forbidden", "ask the server's administrator for the right to read"),
    404: ("nothing at this address", "check the path of the service, such as /dicom-web"),
    407: ("a proxy that asks for a password", "reach the server without a proxy"),
}


class WebServer:
    """One service at one base URL. Credentials go to it alone, and a redirect to another place is not followed."""

    def __init__(self, url: str, credentials: Mapping[str, str] | None = None, *, connections: int = 4) -> None:
        """credentials: TELLTALE_DICOMWEB_USER with _PASSWORD, or TELLTALE_DICOMWEB_TOKEN. Raises InputError."""
        self._parts = _checked(url)
        self.url = url.rstrip("/")
        self._headers = _authorization(self._parts, credentials or {})
        self._connections = connections
        self._pool: PoolManager | None = None

    def get(self, path: str, query: list[tuple[str, str]], accept: str, most_bytes: int) -> tuple[bytes, str]:
        """(the whole answer, its Warning header); empty where the server says that there is no content.

        Raises InputError, also where the answer is longer than `most_bytes`.
        """
        with self.stream(path, accept, query) as answer:
            content = answer.read(most_bytes + 1)
            if len(content) > most_bytes:
                raise self.problem(path, f"an answer of at most {most_bytes:,} bytes", "a longer one")
            return content, answer.headers.get("Warning", "")

    @contextmanager
    def stream(
        self, path: str, accept: str, query: list[tuple[str, str]] | None = None
    ) -> Iterator["BaseHTTPResponse"]:
        """The answer to a GET, unread. Tried again where the server is busy. Raises InputError.

        What breaks off while the caller reads is an InputError too.
        """
        from urllib3 import exceptions

        address = f"{self.url}/{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self._ask(path, address, accept)
        try:
            yield answer
        except exceptions.ReadTimeoutError:
            raise self._silent(path) from None
        except exceptions.HTTPError as error:
            raise self.problem(
                path, "a whole answer", f"one that breaks off ({type(error).__name__})", "run it again"
            ) from None
        finally:
            answer.close()

    def problem(self, path: str, expected: str, got: str, hint: str = "") -> InputError:
        """An error that names the service, and below it the path."""
        return InputError(self.url, path, expected=expected, got=got, hint=hint)

    def _ask(self, path: str, address: str, accept: str) -> "BaseHTTPResponse":
        """The answer, if it is a success. Redirects inside the server are followed, a busy server is waited for."""
        redirects = 0
        attempt = 1
        while True:
            answer, failure = self._once(path, address, accept)
            if answer is not None and answer.status in _REDIRECTS:
                address = self._redirected(path, address, answer.headers.get("Location", ""))
                answer.close()
                redirects += 1
                if redirects > 3:
                    raise self.problem(path, "an answer", "more than three redirects")
                continue
            if answer is not None and answer.status < 300:
                return answer
            if answer is not None:
                busy = answer.status in _BUSY
                failure = self._refused(path, answer.status)
                pause = _pause(answer.headers.get("Retry-After", ""), attempt)
                answer.close()
            else:
                busy, pause = True, _pause("", attempt)
            assert failure is not None
            if not busy or attempt >= ATTEMPTS:
                raise failure
            time.sleep(pause)
            attempt += 1

    def _once(self, path: str, address: str, accept: str) -> tuple["BaseHTTPResponse | None", InputError | None]:
        """One request: (the answer, None), or (None, why there is none, though there might be one later)."""
        from urllib3 import Timeout, exceptions

        try:
            answer = self._connections_pool().request(
                "GET", address, headers={**self._headers, "Accept": accept}, preload_content=False, redirect=False,
                retries=False, timeout=Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            )  # fmt: skip
        except exceptions.NewConnectionError:
            return None, self.problem(
                path, "a server that answers", "no connection", "check address and port, and that it runs"
            )
        except exceptions.TimeoutError:
            return None, self._silent(path)
        except exceptions.SSLError:
            raise self.problem(
                path, "a certificate that can be trusted", "another",
                "name the hospital's authority in SSL_CERT_FILE",
            ) from None  # fmt: skip
        except exceptions.HTTPError as error:
            return None, self.problem(path, "an answer", f"a broken connection ({type(error).__name__})")
        return answer, None

    def _connections_pool(self) -> "PoolManager":
        from urllib3 import PoolManager

        if self._pool is None:
            self._pool = PoolManager(num_pools=1, maxsize=self._connections, block=False)
        return self._pool

    def _redirected(self, path: str, address: str, location: str) -> str:
        target = urljoin(address, location)
        parts = urlsplit(target)
        if not location or (parts.scheme, parts.netloc) != (self._parts.scheme, self._parts.netloc):
            raise self.problem(
                path, "an answer from the server that was named", "a redirect to another, which is not followed",
                "name that server's address, if it is the right one",
            )  # fmt: skip
        return target

    def _refused(self, path: str, status: int) -> InputError:
        got, hint = _MEANING.get(status, ("an error of the server" if status >= 500 else "a refusal", ""))
        return self.problem(path, "an answer", f"{status}, {got}", hint)

    def _silent(self, path: str) -> InputError:
        return self.problem(
            path, f"an answer within {CONNECT_SECONDS:.0f} s, and no pause over {READ_SECONDS:.0f} s", "silence",
            "see whether the server is busy, and run it again: what came is kept",
        )  # fmt: skip


def _checked(url: str) -> SplitResult:
    expected = "an address such as https://pacs.example.org/dicom-web"
    try:
        parts = urlsplit(url)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        raise InputError("", field="--dicomweb", expected=expected, got="something else") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_sound:
        raise InputError("", field="--dicomweb", expected=expected, got="something else")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "", field="--dicomweb", expected="an address without a password", got="one with a user or a password",
            hint=_MEANING[401][1],
        )  # fmt: skip
    if parts.query or parts.fragment:
        raise InputError("", field="--dicomweb", expected="an address without ? and #", got="one with", hint="--query")
    return parts


def _authorization(parts: SplitResult, credentials: Mapping[str, str]) -> dict[str, str]:
    user, token = credentials.get("TELLTALE_DICOMWEB_USER", ""), credentials.get("TELLTALE_DICOMWEB_TOKEN", "")
    if not user and not token:
        return {}
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise InputError(
            "", field="--dicomweb", expected="https, since there is a password or a token to send", got="http",
            hint="use https, or leave the TELLTALE_DICOMWEB_ variables out",
        )  # fmt: skip
    if token:
        value = f"Bearer {token}"
    else:
        pair = f"{user}:{credentials.get('TELLTALE_DICOMWEB_PASSWORD', '')}".encode()
        value = f"Basic {base64.b64encode(pair).decode()}"
    if not value.isprintable():
        raise InputError("", field="TELLTALE_DICOMWEB_TOKEN", expected="printable characters", got="others")
    return {"Authorization": value}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _pause(stated: str, attempt: int) -> float:
    """Seconds to wait before another attempt: what the server asks for, within reason, else longer each time."""
    return min(float(stated), 30.0) if stated.isdigit() else 0.5 * 2.0 ** (attempt - 1)
