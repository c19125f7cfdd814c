"""What lets a browser in reaches no other server of the machine, and works: in a real browser."""

from __future__ import annotations

import json
import re
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from matterstack.core.operators import ASKED
from tests.monitor.page_support import PATIENCE_S, Site, chromium, site_on, visit
from tests.support.command import CommandLine
from tests.support.states import task

expect.set_options(timeout=PATIENCE_S * 1000)
QUESTION = {"question": "Is it dense?", "fields": {"dense": {"type": "boolean"}}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(command_line: CommandLine) -> Iterator[Site]:
    with site_on(command_line) as site:
        site.start()
        yield site


@attrs.define
class OtherServer:
    """A server of somebody else on another port of this machine, which keeps what browsers send to it."""

    port: int
    page: str = ""
    heard: list[str] = attrs.field(factory=list)
    is_heard: threading.Event = attrs.field(factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@contextmanager
def other_server() -> Iterator[OtherServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            other.heard.append(f"{self.path}\n{self.headers}")
            body = other.page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as in the library
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        other = OtherServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield other
        finally:
            server.shutdown()
            thread.join()


def ask_by_hand(site: Site, path: str, *headers: str) -> bytes:
    """The answer to a request with these lines in its head."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{site.port}", *headers, "", ""]
    with sockets.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        connection.shutdown(sockets.SHUT_WR)
        return connection.recv(1 << 16)


STRANGE = """<!doctype html><title>waiting</title><script>
const settled = async (work) => { try { return await work(); } catch (error) { return String(error); } };
const overSocket = (protocols) => new Promise((done) => {
  const socket = new WebSocket("ws://127.0.0.1:PORT/events", ...protocols);
  socket.onopen = () => socket.send(JSON.stringify(
    { id: 1, command: "respond", run: "RUN", task: "ask", attempt: 1, answer: { dense: true } }));
  socket.onmessage = ({ data }) => "reply" in JSON.parse(data) && done(data);
  socket.onclose = () => done("closed");
});
(async () => {
  const told = [
    await settled(async () => (await fetch("http://127.0.0.1:PORT/api/runs",
      { credentials: "include" })).status),
    await settled(async () => (await fetch("http://127.0.0.1:PORT/api/runs",
      { credentials: "include", headers: { Authorization: "Bearer x" } })).status),
    await settled(async () => (await fetch("http://127.0.0.1:PORT/api/session",
      { method: "POST", mode: "no-cors", credentials: "include" })).status),
    await overSocket([]),
    await overSocket([["matterstack", "x"]]),
  ];
  document.title = JSON.stringify(told);
})();
</script>"""


def test_nothing_that_lets_in_reaches_another_server_of_this_machine(site: Site, browser: Browser) -> None:
    run = site.new_run("run", task("ask", operator="human", command=[], params=QUESTION))
    run.run.prepare(backend=ASKED)
    run.run.submit("ask")
    run.commit()
    site.let_go("run")
    with other_server() as other, visit(browser, site) as visitor:
        own = visitor.page
        context = own.context
        assert context.cookies() == []
        assert own.evaluate("document.cookie") == ""
        other.page = STRANGE.replace("PORT", str(site.port)).replace("RUN", run.run_id)
        with stranger_in(context, other) as page:
            expect(page).to_have_title(re.compile(r"^\["))
            told = json.loads(page.title())
            # A page that asks without credentials is not told either: no header of the answer allows it.
            assert told[3:] == ["closed", "closed"]
            assert told[:2] == ["TypeError: Failed to fetch"] * 2
            assert page.evaluate("({ ...sessionStorage, ...localStorage })") == {}
        session = own.evaluate("Object.values({ ...sessionStorage })[0]")
        assert session
        heard = "\n".join(other.heard)
        assert heard
        assert session not in heard
        assert site.token not in heard
        # Whatever the other server was sent, it sends on.
        for line in heard.splitlines():
            name, _, value = line.partition(": ")
            if name.lower() in {"cookie", "authorization", "sec-websocket-protocol"}:
                assert b" 401 " in ask_by_hand(site, "/api/runs", f"{name}: {value}")
        assert list(site.root.path.glob("workspaces/demo/runs/*/operators/ask/response.json")) == []
        # And the page itself goes on.
        expect(own.locator("#connection")).to_have_text("Live")


@contextmanager
def stranger_in(context: BrowserContext, other: OtherServer) -> Iterator[Page]:
    page = context.new_page()
    page.goto(other.url)
    yield page
    page.close()


def test_a_tab_stays_in_over_a_reload_and_links_of_the_page_open_in_new_tabs(
    site: Site, browser: Browser
) -> None:
    run = site.new_run("run", task("a"))
    with visit(browser, site) as visitor:
        page = visitor.page
        assert page.url == f"{site.url}/#/"
        page.reload()
        expect(page.locator("#connection")).to_have_text("Live")
        another = page.context.new_page()
        another.goto(f"{site.url}/#/runs/{run.run_id}")
        expect(another.get_by_role("row", name="a READY")).to_be_visible()
        another.close()
    with browser.new_context() as elsewhere:
        stranger = elsewhere.new_page()
        stranger.goto(f"{site.url}/#/runs/{run.run_id}")
        expect(stranger.locator("#content")).to_contain_text("matterstack monitor --new-link")
        expect(stranger.locator("#connection")).to_have_text("Not let in")
        assert run.run_id not in stranger.content()


def test_a_link_that_is_opened_twice_says_how_to_get_a_new_one(site: Site, browser: Browser) -> None:
    with browser.new_context() as first, browser.new_context() as second:
        page = first.new_page()
        page.goto(site.link)
        expect(page.locator("#connection")).to_have_text("Live")
        again = second.new_page()
        again.goto(site.link)
        expect(again.locator("#content")).to_contain_text("this link was used before")
        expect(again.locator("#content")).to_contain_text("matterstack monitor --new-link")
        assert "code" not in again.url
        done = site.command_line.run("monitor", "--new-link", "--port", str(site.port))
        assert done.exit_code == 0
        again.goto(done.stdout.strip())
        expect(again.locator("#connection")).to_have_text("Live")
        page.goto(site.link)  # the tab has a session still
        expect(page.locator("#alert")).to_contain_text("this link was used before")
        expect(page.locator("#connection")).to_have_text("Live")


def test_after_a_restart_a_new_link_brings_every_tab_back_to_where_it_was(
    site: Site, browser: Browser
) -> None:
    run = site.new_run("run", task("a"))
    with visit(browser, site) as visitor:
        visitor.may_complain = True  # of connections that were refused
        page = visitor.page
        page.goto(f"{site.url}/#/runs/{run.run_id}")
        expect(page.get_by_role("row", name="a READY")).to_be_visible()
        site.kill()
        site.start()
        expect(page.locator("#connection")).to_contain_text("matterstack monitor --new-link")
        other = page.context.new_page()
        other.goto(site.link)
        expect(other.locator("#connection")).to_have_text("Live")
        expect(page.locator("#connection")).to_have_text("Live")
        assert page.url == f"{site.url}/#/runs/{run.run_id}"
        other.close()


def test_a_page_is_not_opened_with_the_token(site: Site, browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{site.url}/?token={site.token}")
        expect(page.locator("body")).to_contain_text("the token is for programs, never for a page")
        expect(page.locator("body")).to_contain_text("matterstack monitor --new-link")


def test_a_new_token_and_a_new_link_come_from_the_command_line(site: Site, browser: Browser) -> None:
    old = site.token
    with visit(browser, site) as visitor:
        visitor.may_complain = True
        done = site.command_line.run("monitor", "--new-token", "--new-link", "--json")
        assert done.exit_code == 0
        (link,) = json.loads(done.stdout)["links"]
        assert site.token != old
        expect(visitor.page.locator("#connection")).to_contain_text("--new-link")
        assert b" 401 " in ask_by_hand(site, "/api/runs", f"Authorization: Bearer {old}")
        assert b" 200 " in ask_by_hand(site, "/api/runs", f"Authorization: Bearer {site.token}")
        visitor.page.goto(link["url"])
        expect(visitor.page.locator("#connection")).to_have_text("Live")


def test_for_a_monitor_that_does_not_run_there_is_no_link(command_line: CommandLine, site: Site) -> None:
    other_port = command_line.run("monitor", "--new-link", "--port", "1")
    assert (other_port.exit_code, other_port.stdout) == (3, "")
    assert "no monitor of" in other_port.stderr
    site.kill()
    left = list((site.root.private / "monitors").glob("*.json"))
    assert len(left) == 1
    assert left[0].stat().st_mode & 0o777 == 0o600
    killed = command_line.run("monitor", "--new-link")
    assert "Hint: start one: `matterstack monitor` prints a link, too" in killed.stderr
    assert not left[0].exists(), "what a killed monitor left is cleaned up"
