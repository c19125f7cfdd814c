// The connection to the monitor, and the list of runs that it keeps up to date.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";

import { Live } from "../../matterstack/monitor/page/live.js";
import { Runs } from "../../matterstack/monitor/page/runs.js";
import { FakeSocket, fakeBrowser } from "./fake-browser.js";

const event = (seq) => ({ seq, type: "RunPaused", run: "r", data: {} });
const rows = (seq) => ({ type: "rows", seq, run: "r", row: { status: "PAUSED" }, tasks: [], attempts: [] });
const asOf = (seq) => ({ type: "as_of", seq });

describe("the connection", () => {
  let browser;
  let status = 200;
  let heard;
  let states;
  let others;
  let live;

  beforeEach(() => {
    status = 200;
    browser = fakeBrowser(() => ({ status, body: {} }));
    [heard, states, others] = [[], [], 0];
    live = new Live({
      onChange: (change) => heard.push(change),
      onState: (state) => states.push(state),
      onOtherStore: () => (others += 1),
    });
    live.start(7);
  });
  afterEach(() => browser.restore());

  const greet = (seq = 7) => FakeSocket.last.say({ type: "hello", protocol: 2, seq });

  it("asks for rows from where it begins, and is live when it has caught up", async () => {
    assert.equal(FakeSocket.last.url, "ws://monitor/events?after=7&rows=1");
    greet(9);
    assert.deepEqual(states.at(-1), { isLive: false, text: "Not live: 2 events to catch up with" });
    for (const document of [event(8), event(9), rows(9), asOf(9)]) FakeSocket.last.say(document);
    assert.deepEqual(heard, [], "what comes together is given together");
    await browser.pass(50);
    assert.deepEqual(heard, [{ seq: 9, events: [event(8), event(9)], rows: [rows(9)] }]);
    assert.deepEqual(states.at(-1), { isLive: true, text: "Live" });
    assert.equal(live.seq, 9);
  });

  it("gives out nothing of which the rows have not come, and asks for it again", async () => {
    greet();
    for (const document of [event(8), rows(8), asOf(8), event(9)]) FakeSocket.last.say(document);
    FakeSocket.last.end();
    assert.equal(heard.length, 1, "at once when the connection is lost");
    assert.equal(live.seq, 8);
    assert.match(states.at(-1).text, /^Not live: the connection was lost; trying again/);
    await browser.pass(600);
    assert.equal(FakeSocket.last.url, "ws://monitor/events?after=8&rows=1");
  });

  it("is made again ever less often while nobody answers, and soon when the device is back", async () => {
    greet();
    status = 0;
    FakeSocket.last.end();
    await browser.pass(60_000);
    const tries = browser.asked.length;
    assert.ok(tries >= 6 && tries <= 16, `${tries} tries`);
    assert.equal(FakeSocket.all.length, 1);
    assert.match(states.at(-1).text, /the monitor does not answer/);
    status = 200;
    await browser.happens("online");
    await browser.pass(0);
    assert.equal(FakeSocket.all.length, 2);
  });

  it("shows its session in a header alone, and is made again at once with another one", async () => {
    assert.deepEqual(FakeSocket.last.protocols, ["matterstack", "s3cret"]);
    status = 401;
    FakeSocket.last.end();
    await browser.pass(600);
    assert.match(states.at(-1).text, /does not know this page any more \(open a new link: matterstack monitor --new-link\)/);
    status = 200;
    browser.kept.set("matterstack-session", "0ther");
    live.hurry();
    await browser.pass(0);
    assert.deepEqual(FakeSocket.last.protocols, ["matterstack", "0ther"]);
    const [path, options] = browser.requests.at(-1);
    assert.equal(path, "/api/session");
    assert.equal(options.headers.Authorization, "Bearer 0ther");
    assert.equal(options.credentials, "omit");
  });

  it("is given up when an event is missing, and nothing of the old one counts", async () => {
    greet();
    const old = FakeSocket.last;
    old.say(event(9));
    assert.ok(old.isClosed);
    assert.match(states.at(-1).text, /event 8 is missing/);
    old.say(event(8));
    await browser.pass(600);
    assert.deepEqual(heard, []);
    assert.equal(FakeSocket.last.url, "ws://monitor/events?after=7&rows=1");
  });

  it("is kept where events of the past are missing: their run was deleted", async () => {
    greet(9);
    for (const document of [event(9), rows(9), asOf(9)]) FakeSocket.last.say(document);
    await browser.pass(50);
    assert.deepEqual(heard.map((change) => change.seq), [9]);
    assert.deepEqual(states.at(-1), { isLive: true, text: "Live" });
  });

  it("begins anew where the store never had what was seen", async () => {
    FakeSocket.last.end(4004, "the newest event has seq 3");
    await browser.pass(60_000);
    assert.equal(others, 1);
    assert.equal(FakeSocket.all.length, 1, "whoever is told of it starts it");
  });

  it("is no use with a monitor that sends no rows", async () => {
    FakeSocket.last.say({ type: "hello", protocol: 1, seq: 7 });
    assert.match(states.at(-1).text, /another version \(load this page anew\)/);
    assert.ok(FakeSocket.last.isClosed);
  });

  it("is tried when nothing was heard for long, and kept where the monitor is there", async () => {
    greet();
    await browser.pass(31_000);
    assert.equal(FakeSocket.last.isClosed, false);
    assert.equal(browser.asked.length, 1);
    status = 0;
    await browser.pass(31_000);
    assert.ok(FakeSocket.all[0].isClosed);
  });

  it("carries commands out, and says why not", async () => {
    await assert.rejects(live.command({ command: "pause" }), /not connected/);
    greet();
    const done = live.command({ command: "pause", run: "r" });
    assert.deepEqual(FakeSocket.last.sent, [{ id: 1, command: "pause", run: "r" }]);
    FakeSocket.last.say({ reply: 1, ok: true });
    await done;
    const refused = live.command({ command: "resume", run: "r" });
    FakeSocket.last.say({ reply: 2, ok: false, error: { message: "it is RUNNING", hint: "wait" } });
    await assert.rejects(refused, /it is RUNNING \(wait\)/);
    const lost = live.command({ command: "pause", run: "r" });
    FakeSocket.last.end();
    await assert.rejects(lost, /before the reply came/);
  });
});

describe("the list of runs", () => {
  let browser;
  let status;
  let view;
  let drawn;
  let runs;

  beforeEach(async () => {
    view = { seq: 5, jobs: { local: 1 }, runs: [{ run_id: "a", status: "RUNNING" }, { run_id: "b", status: "PENDING" }] };
    status = 200;
    browser = fakeBrowser(() => ({ status, body: structuredClone(view) }));
    drawn = 0;
    runs = new Runs(() => (drawn += 1));
    assert.equal(await runs.load(), 5);
  });
  afterEach(() => browser.restore());

  const change = (seq, run, row = {}) => ({
    seq,
    events: [{ seq, run, type: "RunPaused", data: {} }],
    rows: [{ type: "rows", seq, run, row, tasks: [], attempts: [] }],
  });

  it("has the newest first", () => {
    assert.deepEqual(runs.list.map((run) => run.run_id), ["b", "a"]);
  });

  it("shows what rows say at once, and asks for what is to be counted once a second", async () => {
    runs.take(change(6, "a", { status: "PAUSED" }));
    assert.deepEqual([runs.byId.get("a").status, runs.byId.get("a").version], ["PAUSED", 2]);
    for (let seq = 7; seq < 20; seq += 1) runs.take(change(seq, "a", { status: "PAUSED" }));
    assert.deepEqual(browser.asked, ["/api/runs"]);
    view = { seq: 19, jobs: {}, runs: [{ run_id: "a", status: "PAUSED", questions: 3 }] };
    await browser.pass(1000);
    assert.deepEqual(browser.asked, ["/api/runs", "/api/runs?runs=a"]);
    assert.equal(runs.byId.get("a").questions, 3);
    await browser.pass(10_000);
    assert.equal(browser.asked.length, 2);
  });

  it("does not go back to rows that are older than what was read", () => {
    runs.take(change(5, "a", { status: "PAUSED" }));
    assert.equal(runs.byId.get("a").status, "RUNNING");
  });

  it("has no run that was deleted, whatever was read of it before", async () => {
    runs.take({ seq: 6, events: [{ seq: 6, run: "a", type: "RunDeleted", data: {} }], rows: [] });
    assert.deepEqual(runs.list.map((run) => run.run_id), ["b"]);
    await browser.pass(1000);
    assert.deepEqual(runs.list.map((run) => run.run_id), ["b"], "this was read as of event 5");
    runs.take(change(7, "a"));
    view = { seq: 7, jobs: {}, runs: [{ run_id: "a", status: "RUNNING" }] };
    await browser.pass(1000);
    assert.deepEqual(runs.list.map((run) => run.run_id), ["b", "a"], "it was put back");
  });

  it("asks for runs that it does not know", async () => {
    runs.take(change(6, "new"));
    view = { seq: 6, jobs: {}, runs: [{ run_id: "new", status: "PENDING" }] };
    await browser.pass(1000);
    assert.equal(runs.byId.get("new").status, "PENDING");
  });

  it("asks again for what it could not be told", async () => {
    status = 0;
    runs.take(change(6, "a"));
    await browser.pass(5000);
    assert.ok(browser.asked.length > 2);
    status = 200;
    view = { seq: 6, jobs: { local: 0 }, runs: [{ run_id: "a", status: "RUNNING", questions: 1 }] };
    await browser.pass(1000);
    assert.equal(runs.byId.get("a").questions, 1);
    assert.deepEqual(runs.jobs, { local: 0 });
  });
});
