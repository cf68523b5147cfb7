from __future__ import annotations

import copy
import pickle
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.adapters
import trustme

import holdfast
from holdfast import Cause, Phase, Policy, PoolLimits, Progress, Verdict, WrapConflictError
from holdfast.adapters.requests import HTTPAdapter
from holdfast.testing import Fault, Response, Via, on_reuse
from holdfast.testing.fixtures import StartFaultServer

OWN = Policy(limits=PoolLimits(idle_timeout=3))
STALE = on_reuse(Fault.READ_THEN_RESET)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        yield made
        close(made)


def close(session: requests.Session) -> None:
    """close() only empties the managers; log records may keep the pools alive for a while."""
    for adapter in session.adapters.values():
        if isinstance(adapter, requests.adapters.HTTPAdapter):
            for manager in (adapter.poolmanager, *adapter.proxy_manager.values()):
                for pool in list(manager.pools._container.values()):
                    pool.close()


def test_a_session_is_wrapped_in_place_and_recovers(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server(STALE)
    assert holdfast.wrap(session) is session
    assert session.__class__ is requests.Session
    assert [session.get(f"{server.url}/r/{n}").text for n in (1, 2)] == ["GET /r/1", "GET /r/2"]
    assert holdfast.stats(session).repeated == {Verdict.REPEATED_STALE: 1}


def test_a_post_is_raised_as_requests_raises_it_and_explained(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server(STALE)
    holdfast.wrap(session).get(server.url)
    with pytest.raises(requests.ConnectionError) as caught:
        session.post(server.url + "/r/1", data=b"x")
    report = holdfast.report(caught.value)
    assert report is not None
    assert report.verdict is Verdict.REFUSED_MAYBE_PROCESSED
    assert server.ledger.count("POST", "/r/1") == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault.CUT_BODY, Fault.CUT_CHUNK])
def test_a_body_that_breaks_off_is_explained(
    fault_server: StartFaultServer, session: requests.Session, fault: Fault, stream: bool
) -> None:
    server = fault_server(on_reuse(fault))
    holdfast.wrap(session).get(server.url)
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        assert session.get(server.url + "/r/1", stream=stream).content
    report = holdfast.report(caught.value)
    assert report is not None
    assert (report.phase, report.progress) == (Phase.BODY, Progress.RESPONSE_STARTED)
    assert (report.cause, report.reused, report.uses) == (Cause.CUT_RESPONSE, True, 1)
    assert holdfast.stats(session).refused == {Verdict.REFUSED_RESPONSE_STARTED: 1}


def test_an_adapter_alone_can_be_wrapped(fault_server: StartFaultServer, session: requests.Session) -> None:
    server = fault_server(STALE)
    adapter = session.get_adapter("http://")
    assert holdfast.wrap(adapter) is adapter
    assert [session.get(f"{server.url}/r/{n}").status_code for n in (1, 2)] == [200, 200]
    assert type(session) is requests.Session


def test_proxies_that_are_used_later_are_covered(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server(*[[Fault.READ_THEN_CLOSE]] * 5, via=Via.FORWARD)
    holdfast.wrap(session)
    with pytest.raises(requests.ConnectionError) as caught:
        session.post(server.url + "/r/1", data=b"x", proxies={"http": server.proxy_url})
    assert not isinstance(caught.value, requests.exceptions.ProxyError)
    assert server.ledger.count("POST", "/r/1") == 1


def test_adapters_that_are_mounted_later_are_covered(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server(STALE)
    holdfast.wrap(session).mount("http://", requests.adapters.HTTPAdapter())
    assert [session.get(f"{server.url}/r/{n}").status_code for n in (1, 2)] == [200, 200]
    assert holdfast.stats(session).requests == 3


def test_an_adapter_of_ours_brings_its_own_policy(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server(STALE)
    session.mount("http://", HTTPAdapter(policy=OWN))
    assert [session.get(f"{server.url}/r/{n}").status_code for n in (1, 2)] == [200, 200]
    with pytest.raises(WrapConflictError):
        holdfast.wrap(session, Policy())
    assert type(session) is requests.Session
    holdfast.wrap(session)
    assert holdfast.stats(session.get_adapter("http://")).requests == 3


@pytest.mark.parametrize("duplicate", [lambda s: pickle.loads(pickle.dumps(s)), copy.copy, copy.deepcopy])
def test_a_copy_of_a_wrapped_session_keeps_the_policy(
    fault_server: StartFaultServer, session: requests.Session, duplicate: Any
) -> None:
    server = fault_server()
    holdfast.wrap(session, OWN).get(server.url)
    session.headers["X-Own"] = "1"
    again = duplicate(session)
    again.get(server.url)
    assert again.headers["X-Own"] == "1"
    assert holdfast.wrap(again, OWN) is again
    with pytest.raises(WrapConflictError):
        holdfast.wrap(again, Policy())
    close(again)


def test_a_pickled_session_counts_for_itself(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server()
    holdfast.wrap(session, OWN).get(server.url)
    again = pickle.loads(pickle.dumps(session))
    again.get(server.url)
    again.get(server.url)
    assert (holdfast.stats(session).requests, holdfast.stats(again).requests) == (1, 2)
    close(again)


def test_a_pickled_adapter_of_ours_keeps_its_policy() -> None:
    again = pickle.loads(pickle.dumps(HTTPAdapter(policy=OWN, pool_maxsize=3)))
    assert type(again) is HTTPAdapter
    assert vars(again)["_pool_maxsize"] == 3
    assert holdfast.wrap(again, OWN) is again


def test_unwrap_undoes_it_all(fault_server: StartFaultServer, session: requests.Session) -> None:
    server = fault_server()
    holdfast.wrap(session).get(server.url)
    holdfast.unwrap(session)
    adapter = session.get_adapter("http://")
    assert (type(session), type(adapter)) == (requests.Session, requests.adapters.HTTPAdapter)
    assert session.get(server.url + "/r/1").text == "GET /r/1"
    assert pickle.loads(pickle.dumps(session)).headers == session.headers


def test_verification_settings_go_on_working(
    fault_server: StartFaultServer,
    session: requests.Session,
    server_tls: ssl.SSLContext,
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    server = fault_server(STALE, ssl_context=server_tls)
    holdfast.wrap(session)
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url)
    session.verify = str(bundle)
    assert [session.get(f"{server.url}/r/{n}").text for n in (1, 2)] == ["GET /r/1", "GET /r/2"]


def test_streamed_downloads_give_their_connection_back(
    fault_server: StartFaultServer, session: requests.Session
) -> None:
    server = fault_server(respond=lambda request: Response(body=b"x" * 100_000))
    holdfast.wrap(session)
    for _ in range(3):
        with session.get(server.url, stream=True) as response:
            assert sum(len(piece) for piece in response.iter_content(1000)) == 100_000
    assert server.connections == 1
