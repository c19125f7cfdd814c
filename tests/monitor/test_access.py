"""Who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import h11
import pytest
import trio
import trio.testing
from trio.testing import MockClock
from trio_websocket import ConnectionClosed

from matterstack.core.errors import UsageError
from matterstack.monitor import endpoints, http_requests
from matterstack.monitor.access import Access, Refusal
from matterstack.monitor.browser_sessions import LONGEST_S, UNUSED_S
from matterstack.monitor.http_requests import BadRequestError, Request, read_request
from matterstack.monitor.links import LINK_S
from matterstack.monitor.running_monitors import RunningMonitor, new_link, recorded, running_monitors
from matterstack.monitor.secret import replace_token
from matterstack.monitor.server import Address, open_monitor
from tests.monitor.conftest import PATIENCE_S, Answer, Place, answer_of, next_document

PAGE = {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("path", ["/api/runs", "/api/session", "/events", "/metrics", "/nothing"])
async def test_nothing_of_the_root_is_served_without_the_token(place: Place, path: str) -> None:
    async with place.serving():
        answer = await place.ask(path, known=False)
    assert (answer.status, answer.error) == (401, "no_token")


@pytest.mark.parametrize("path", ["/", "/page/index.html", "/page/main.js", "/page/icon.svg"])
async def test_the_files_of_the_page_are_the_same_for_everybody(place: Place, path: str) -> None:
    async with place.serving():
        answers = [await place.ask(path, known=known) for known in (False, True)]
        foreign = await place.ask(path, known=False, headers={"Host": "evil.example.org"})
    assert answers[0] == answers[1]
    assert answers[0].status == 200
    assert "set-cookie" not in answers[0].headers
    assert foreign.status == 421
    assert str(place.root.path).encode() not in answers[0].body


async def test_the_token_counts_as_bearer_and_in_the_query_of_the_stream_alone(place: Place) -> None:
    async with place.serving():
        answers = [
            await place.ask("/api/runs", known=False, headers={"Authorization": f"bearer {place.token}"}),
            await place.ask(f"/events?token={place.token}", known=False),
            await place.ask(f"/api/runs?token={place.token}", known=False),
            await place.ask("/api/runs", known=False, headers={"Cookie": f"token={place.token}"}),
        ]
        page = await place.ask(f"/?token={place.token}", known=False)
    assert [answer.status for answer in answers] == [200, 426, 401, 401]
    assert (page.status, page.error) == (403, "token_in_browser")
    assert place.token.encode() not in page.body


@pytest.mark.parametrize("told", list(PAGE))
async def test_the_token_is_refused_from_a_browser(place: Place, told: str) -> None:
    async with place.serving():
        headers = {told: PAGE[told].format(port=place.port)}
        answers = [
            await place.ask("/api/runs", headers=headers),
            await place.ask(f"/events?token={place.token}", headers=headers, known=False),
            await place.ask(
                "/events",
                headers={**headers, "Sec-WebSocket-Protocol": f"matterstack, {place.token}"},
                known=False,
            ),
        ]
    assert [(answer.status, answer.error) for answer in answers] == [(403, "token_in_browser")] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {token}"},
        {"Authorization": "Link {token}"},
        {"Authorization": "Bearer {code}"},
        {"Sec-WebSocket-Protocol": "matterstack, {token}"},
    ],
)
async def test_what_is_not_quite_the_token_is_none(place: Place, headers: Mapping[str, str]) -> None:
    async with place.serving() as served:
        names = {"token": place.token, "code": served.link.partition("=")[2]}
        sent = {name: value.format(**names) for name, value in headers.items()}
        answer = await place.ask("/api/runs", known=False, headers=sent)
    assert answer.status == 401


async def begin_session(place: Place, link: str) -> Answer:
    """What the page does with a link."""
    headers = {**PAGE, "Origin": f"http://127.0.0.1:{place.port}"}
    code = link.partition("#code=")[2]
    return await place.ask(
        "/api/session", method="POST", known=False, headers={**headers, "Authorization": f"Link {code}"}
    )


async def stands(place: Place, session: str) -> int:
    """The status with which somebody is answered who has this session."""
    answer = await place.ask("/api/session", known=False, headers={"Authorization": f"Bearer {session}"})
    return answer.status


async def test_the_link_begins_one_session_and_the_second_time_it_is_said_what_to_do(place: Place) -> None:
    async with place.serving() as served:
        first = await begin_session(place, served.link)
        second = await begin_session(place, served.link)
        session = first.json["session"]
        of_page = {"Authorization": f"Bearer {session}", "Sec-Fetch-Site": "same-origin"}
        inside = await place.ask("/api/runs", known=False, headers=of_page)
        in_query = await place.ask(f"/api/runs?token={session}", known=False)
        link = new_link(place.root, RunningMonitor(served.url, served.port, "", served.monitor.access.key))
        another = await begin_session(place, link)
    assert "set-cookie" not in first.headers
    assert place.token not in served.link
    assert place.token not in session
    assert (inside.status, in_query.status) == (200, 401)
    assert (second.status, second.error) == (401, "used_link")
    assert "used before" in second.json["error"]["message"]
    assert "matterstack monitor --new-link" in second.json["error"]["hint"]
    assert another.status == 200
    assert another.json["session"] != session


async def test_sessions_and_links_are_of_one_start_and_one_port(place: Place) -> None:
    async with place.serving() as served:
        session = (await begin_session(place, served.link)).json["session"]
        unused = new_link(place.root, RunningMonitor(served.url, served.port, "", served.monitor.access.key))
        first = place.served
        async with place.serving():
            assert (await stands(place, session), (await begin_session(place, unused)).status) == (401, 401)
        place.served = first
        assert await stands(place, session) == 200
    async with open_monitor(place.root, Address(port=served.port)) as place.served:
        assert (await stands(place, session), (await begin_session(place, unused)).status) == (401, 401)


@attrs.define
class Clock:
    """Seconds that only a test lets pass."""

    now: float = 1e9

    def __call__(self) -> float:
        return self.now


def asking(session: str = "", code: str = "") -> Request:
    """The head of a request, as a page sends it."""
    told = f"Link {code}" if code else f"Bearer {session}"
    headers = {"host": "127.0.0.1", "sec-fetch-site": "same-origin", "authorization": told}
    return Request(method="GET", path="/api/runs", query={}, headers=headers, is_upgrade=False, raw=b"")


def test_a_session_ends_when_it_is_not_used_and_in_any_case() -> None:
    clock = Clock()
    access = Access("t" * 43, now=clock)
    sessions = [str(access.take_link(asking(code=access.new_link_code()))) for _ in range(2)]
    began = clock.now
    while clock.now - began < LONGEST_S - UNUSED_S:
        clock.now += UNUSED_S - 60
        assert access.refusal(asking(sessions[0])) is None
    assert access.refusal(asking(sessions[1])) is not None, "nobody used it"
    clock.now = began + LONGEST_S
    refused = access.refusal(asking(sessions[0]))
    assert refused is not None
    assert "--new-link" in refused.hint


def test_a_link_that_lay_about_too_long_lets_nobody_in() -> None:
    clock = Clock()
    access = Access("t" * 43, now=clock)
    code, other = access.new_link_code(), access.new_link_code()
    clock.now += LINK_S - 1
    assert isinstance(access.take_link(asking(code=other)), str)
    clock.now += 1
    refused = access.take_link(asking(code=code))
    assert isinstance(refused, Refusal)
    assert refused.message == "this link is too old"
    used = access.take_link(asking(code=other))
    assert isinstance(used, Refusal), "also when it is forgotten that it was used"


async def test_a_private_monitor_has_a_token_of_its_own_and_no_file(place: Place) -> None:
    async with open_monitor(place.root, Address(port=0), is_private=True) as place.served:
        headers = {"Authorization": f"Bearer {place.served.monitor.access.token}"}
        assert (await place.ask("/api/runs", known=False, headers=headers)).status == 200
        assert not place.served.token_file.exists()
        assert running_monitors(place.root) == []


async def test_a_monitor_listens_also_where_it_cannot_say_so(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    (place.root.private / "monitors").write_text("in the way")
    with recorded(place.root, "http://127.0.0.1:1", 1, "key"):
        assert running_monitors(place.root) == []
    assert "no new links can be made" in caplog.text


async def test_a_session_counts_in_no_query(place: Place) -> None:
    async with place.serving() as served:
        session = (await begin_session(place, served.link)).json["session"]
        assert (await place.ask(f"/events?token={session}", known=False)).status == 401


async def test_a_new_token_makes_the_old_one_invalid_and_sends_everybody_away(place: Place) -> None:
    async with place.serving() as served:
        old = place.token
        session = (await begin_session(place, served.link)).json["session"]
        unused = RunningMonitor(served.url, served.port, "", served.monitor.access.key)
        link = new_link(place.root, unused)
        async with place.watching() as listening:
            await next_document(listening)
            await trio.to_thread.run_sync(replace_token, served.token_file)
            assert (await place.ask("/api/runs")).status == 200
            with pytest.raises(ConnectionClosed), trio.fail_after(PATIENCE_S):
                await listening.get_message()
        refused = await place.ask("/api/runs", known=False, headers={"Authorization": f"Bearer {old}"})
        assert (refused.status, await stands(place, session)) == (401, 401)
        assert (await begin_session(place, link)).status == 401
        assert (await begin_session(place, new_link(place.root, unused))).status == 200
        served.token_file.chmod(0o644)
        assert (await place.ask("/api/runs")).status == 401, "somebody else may have read it"


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
        ({"Host": "localhost:80", "Origin": "http://localhost:81"}, 403),
        ({"Host": "cluster.example.org", "Origin": "http://cluster.example.org:81"}, 403),
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


@pytest.mark.parametrize(
    "origin", ["http://localhost:80", "http://cluster.example.org", "https://cluster.example.org"]
)
async def test_its_own_page_may_ask_also_through_a_proxy_that_speaks_tls(place: Place, origin: str) -> None:
    async with place.serving(names=("cluster.example.org",)) as served:
        session = (await begin_session(place, served.link)).json["session"]
        headers = {"Host": origin.partition("//")[2], "Origin": origin, "Authorization": f"Bearer {session}"}
        assert (await place.ask("/api/runs", known=False, headers=headers)).status == 200


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
        answers = [await place.ask(path, method=method) for path in ("/api/runs", "/")]
    assert [(answer.status, answer.error) for answer in answers] == [(405, "method")] * 2


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
