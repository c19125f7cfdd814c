"""Who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Mapping

import h11
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from matterstack.core.errors import UsageError
from matterstack.monitor import endpoints, http_requests
from matterstack.monitor.http_requests import BadRequestError, read_request
from matterstack.monitor.server import Address, open_monitor
from tests.monitor.conftest import Place, answer_of


@pytest.mark.parametrize("path", ["/", "/api/runs", "/events", "/page/index.html", "/nothing"])
async def test_nothing_is_served_without_the_token(place: Place, path: str) -> None:
    async with place.serving():
        answer = await place.ask(path, known=False)
    assert (answer.status, answer.error) == (401, "no_token")


async def test_the_token_counts_as_bearer_as_cookie_and_in_the_query(place: Place) -> None:
    async with place.serving() as served:
        cookie = served.monitor.access.cookie_header.partition(";")[0]
        answers = [
            await place.ask("/api/runs", known=False, headers={"Authorization": f"bearer {place.token}"}),
            await place.ask("/api/runs", known=False, headers={"Cookie": f"other=1; {cookie}"}),
            await place.ask(f"/api/runs?token={place.token}", known=False),
        ]
    assert [answer.status for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {token}"},
        {"Cookie": "{cookie}={token}"},
        {"Cookie": "{cookie}="},
        {"Cookie": "\x22;;=;{cookie}"},
    ],
)
async def test_what_is_not_quite_the_token_is_none(place: Place, headers: Mapping[str, str]) -> None:
    async with place.serving() as served:
        names = {"token": place.token, "cookie": served.monitor.access.cookie}
        sent = {name: value.format(**names) for name, value in headers.items()}
        answer = await place.ask("/api/runs", known=False, headers=sent)
    assert answer.status == 401


async def test_the_link_lets_one_browser_in_once(place: Place) -> None:
    async with place.serving() as served:
        path = served.link.partition(f":{served.port}")[2]
        first = await place.ask(path, known=False)
        cookie = first.headers["set-cookie"]
        inside = await place.ask("/", known=False, headers={"Cookie": cookie.partition(";")[0]})
        second = await place.ask(path, known=False)
    assert (first.status, first.headers["location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in cookie
    assert place.token not in served.link
    assert place.token not in cookie
    assert inside.status == 200
    assert (second.status, second.error) == (401, "used_link")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "10.0.0.7:8765"}, 200),
        ({"Host": "cluster.example.org"}, 200),
        ({"Host": "evil.example.org"}, 421),
        ({"Host": "127.0.0.1.evil.example.org"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost:80", "Origin": "http://localhost:80"}, 200),
        ({"Host": "localhost:80", "Origin": "http://localhost:81"}, 403),
        ({"Host": "localhost:80", "Origin": "https://localhost:80"}, 403),
        ({"Host": "localhost:80", "Origin": "http://evil.example.org"}, 403),
        ({"Host": "localhost:80", "Origin": "null"}, 403),
    ],
)
async def test_other_sites_pages_and_names_are_kept_out(
    place: Place, headers: Mapping[str, str], status: int
) -> None:
    async with place.serving(names=("cluster.example.org",)):
        answer = await place.ask("/api/runs", headers=headers)
        upgraded = await place.ask("/events?after=x", headers={**headers, "Upgrade": "websocket"})
    assert answer.status == status
    assert upgraded.status == (400 if status == 200 else status), "the stream is guarded in the same way"


async def test_the_token_is_for_its_user_alone_and_outlives_the_server(place: Place) -> None:
    async with place.serving() as served:
        first = place.token
        assert served.token_file.stat().st_mode & 0o777 == 0o600
    async with place.serving():
        assert place.token == first
    served.token_file.chmod(0o644)
    async with place.serving():
        assert place.token != first, "somebody else may have read it"
        assert served.token_file.stat().st_mode & 0o777 == 0o600


async def test_every_answer_forbids_what_is_foreign(place: Place) -> None:
    async with place.serving():
        answers = [await place.ask(path) for path in ("/", "/api/runs", "/nothing")]
    for answer in answers:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/page/../server.py", "/page/..%2fserver.py", "/page/x.py", "/page/.html"])
async def test_only_the_pages_own_files_are_served(place: Place, path: str) -> None:
    async with place.serving():
        assert (await place.ask(path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_is_changed_by_a_plain_request(place: Place, method: str) -> None:
    async with place.serving():
        answer = await place.ask("/api/runs", method=method)
    assert (answer.status, answer.error) == (405, "method")


GARBAGE = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a head without end": (b"GET / HTTP/1.1\r\nA: " + b"x" * (20 << 10), 431),
    "a body": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413),
    "a body in pieces": (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", list(GARBAGE))
async def test_garbage_gets_a_status_and_the_server_goes_on(place: Place, name: str) -> None:
    data, status = GARBAGE[name]
    async with place.serving():
        async with await trio.open_tcp_stream("127.0.0.1", place.port) as stream:
            await stream.send_all(data)
            connection = h11.Connection(h11.CLIENT)
            connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            assert (await answer_of(stream, connection)).status == status
        assert (await place.ask("/api/runs")).status == 200


async def test_a_head_that_does_not_end_is_waited_for_only_so_long(autojump_clock: MockClock) -> None:
    began_at = autojump_clock.current_time()
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"GET / HTTP/1.1\r\n")
    with pytest.raises(BadRequestError) as refused:
        await read_request(ours)
    assert refused.value.status == 408
    assert trio.current_time() - began_at == pytest.approx(http_requests.HEAD_TIMEOUT_S)


async def test_so_many_clients_and_no_more(place: Place) -> None:
    async with place.serving() as served:
        served.monitor._seats.total_tokens = 2
        async with place.watching() as first, place.watching():
            assert (await place.ask("/api/runs")).status == 503
            await first.aclose()
            while served.monitor._seats.borrowed_tokens == 2:
                await trio.lowlevel.checkpoint()
            assert (await place.ask("/api/runs")).status == 200


async def test_a_port_that_is_taken_is_told_in_words(place: Place) -> None:
    async with place.serving() as served:
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {served.port}"):
            async with open_monitor(place.root, Address(port=served.port)):
                raise AssertionError


async def test_a_certificate_that_is_none_is_told_in_words(place: Place) -> None:
    path = place.root.path / "none.pem"
    with pytest.raises(UsageError, match=f"--certfile {path}"):
        async with open_monitor(place.root, Address(port=0, certificate=path)):
            raise AssertionError


async def test_an_error_on_one_connection_is_answered_and_stops_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_name: object) -> None:
        raise ZeroDivisionError

    async with place.serving():
        with monkeypatch.context() as patched:
            patched.setattr(endpoints, "page_file", broken)
            answer = await place.ask("/page/main.js")
        assert (answer.status, answer.error) == (500, "internal")
        assert (await place.ask("/api/runs")).status == 200
    assert "ZeroDivisionError" in caplog.text
