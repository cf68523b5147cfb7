"""An answer that breaks off is never a success: not its head, not its body, however it was delimited,
and whether it ends by FIN or by RST, which Python's TLS reads as an ordinary end.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import requests
from behaviours import CUTS
from cases import Path, Sky
from on_the_wire import lab
from trial import close, make_manager, origin_of, proxy_of
from urllib3.exceptions import HTTPError
from wire import Lab

import holdfast

__all__ = ["lab"]

pytestmark = pytest.mark.wire

NOT_A_CUT = {
    "until-close-fin",  # so a body of no known length ends
    # RFC 9112 §8: complete with the chunk of size zero; only the end of the trailer is missing.
    *(cut for cut in CUTS if cut.startswith("last-chunk")),
}
CLIENTS = ["urllib3", "urllib3, streamed", "requests"]


class Case(NamedTuple):
    cut: str
    path: Path
    method: str
    client: str
    number: int


@pytest.mark.parametrize("path", Path, ids=lambda path: path.name)
def test_an_answer_that_breaks_off_is_never_a_success(lab: Lab, path: Path) -> None:
    kinds = list(itertools.product(sorted(CUTS.keys() - NOT_A_CUT), ["GET", "POST"], CLIENTS))
    cases = [
        Case(cut, path, method, client, number)
        for (cut, method, client), number in zip(kinds, lab.numbers(len(kinds)), strict=True)
    ]
    with lab.client(), ThreadPoolExecutor(24) as threads:
        seen = list(threads.map(lambda case: answer_to(case, lab), cases))
    assert [(case[:4], got) for case, got in zip(cases, seen, strict=True) if got is not None] == []
    executions = lab.ledger().executions
    assert [case for case in cases if case.method == "POST" and executions[case.number] != 1] == []


@pytest.mark.parametrize("path", [Path.PLAIN, Path.TLS_1_2, Path.TLS_1_3], ids=lambda path: path.name)
def test_a_body_of_no_known_length_that_ends_with_a_fin_is_complete(lab: Lab, path: Path) -> None:
    with lab.client():
        case = Case("until-close-fin", path, "GET", "urllib3", lab.numbers(1)[0])
        assert answer_to(case, lab) == f"200 with {500} bytes"


def answer_to(case: Case, lab: Lab) -> str | None:
    """What the caller took for an answer; None if he was told that there is none."""
    url = f"{origin_of(case.path, Sky.CLEAR)}/cut/{case.cut}/{case.number}"
    if case.client == "requests":
        return _by_requests(case, url, lab)
    manager = holdfast.wrap(make_manager(case.path, Sky.CLEAR, lab.client_context()))
    try:
        response = manager.request(case.method, url, preload_content=case.client == "urllib3")
        data = response.data if case.client == "urllib3" else b"".join(response.stream(64))
    except HTTPError:
        return None
    finally:
        close(manager)
    return f"{response.status} with {len(data)} bytes"


def _by_requests(case: Case, url: str, lab: Lab) -> str | None:
    with holdfast.wrap(session_for(case.path, lab)) as session:
        try:
            response = session.request(case.method, url, timeout=10)
        except requests.RequestException:
            return None
    return f"{response.status_code} with {len(response.content)} bytes"


def session_for(path: Path, lab: Lab) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _TrustingAdapter(lab))
    if path.proxied:
        session.proxies = dict.fromkeys(("http", "https"), proxy_of(path, Sky.CLEAR))
    return session


class _TrustingAdapter(requests.adapters.HTTPAdapter):
    """Takes the lab's authority from memory; requests itself wants a file."""

    def __init__(self, lab: Lab) -> None:
        self._context = lab.client_context()
        super().__init__()

    def build_connection_pool_key_attributes(self, request, verify, cert=None):  # type: ignore[no-untyped-def]
        host, settings = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {**settings, "ssl_context": self._context, "ca_certs": None}

    def cert_verify(self, conn, url, verify, cert):  # type: ignore[no-untyped-def]
        """The context does it."""
