// Parts of the page that make something of something, and draw nothing.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { piecesOf, plainStyle } from "../../matterstack/monitor/page/ansi.js";
import { visible } from "../../matterstack/monitor/page/dom.js";
import { Incoming } from "../../matterstack/monitor/page/incoming.js";
import { MOST_NODES, graphOf } from "../../matterstack/monitor/page/layers.js";
import { RunTasks } from "../../matterstack/monitor/page/run-tasks.js";
import { rowAfterKey, rowsInSight, scrolledTo } from "../../matterstack/monitor/page/sight.js";
import { duration, localText } from "../../matterstack/monitor/page/times.js";

const text = (line, style = plainStyle()) => piecesOf(line, style).map((piece) => piece.text).join("");

describe("what a terminal would show", () => {
  it("keeps colours, and goes on with them on the next line", () => {
    const style = plainStyle();
    assert.deepEqual(piecesOf("plain \x1b[1;31mbad", style), [
      { text: "plain ", className: "" },
      { text: "bad", className: "ansi-red ansi-bold" },
    ]);
    assert.deepEqual(piecesOf("still\x1b[0m over", style), [
      { text: "still", className: "ansi-red ansi-bold" },
      { text: " over", className: "" },
    ]);
  });

  it("knows bright colours, and passes over those of a palette", () => {
    assert.equal(piecesOf("\x1b[92mx", plainStyle())[0].className, "ansi-green");
    assert.equal(piecesOf("\x1b[38;5;1mx", plainStyle())[0].className, "");
    assert.equal(piecesOf("\x1b[38;2;31;31;31;32mx", plainStyle())[0].className, "ansi-green");
    assert.equal(piecesOf("\x1b[1m\x1b[22m\x1b[31m\x1b[39mx", plainStyle())[0].className, "");
  });

  it("takes out titles, cursor movements and direction marks", () => {
    assert.equal(text("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b[2Jc\x1b(B\u202ed\x00e\x9b"), "abcde");
    assert.equal(text("\x1bPq...\x1b\\after"), "after");
    assert.equal(text("cut \x1b"), "cut ");
  });

  it("shows the last writing of a line that is written over", () => {
    assert.equal(text("10 %\r50 %\r100 %\r"), "100 %");
    assert.equal(text("windows\r"), "windows");
  });
});

describe("what people and jobs wrote", () => {
  it("is shown, and turns nothing around", () => {
    assert.equal(visible("a\x1b]52;c;x\x07b\u202ec\u0085\u061c\u{e0041}\ud800d"),
      "a\\x1b]52;c;x\\x07b\\u202ec\\x85\\u061c\\U000e0041\\ud800d");
    const plain = "ann said:\n\t10\u202f°C, नमस्ते, 👩\u200d🔬";
    assert.equal(visible(plain), plain);
  });
});

describe("lengths of time", () => {
  const lengths = [[0, "0 s"], [-5, "0 s"], [499, "0 s"], [61_000, "1 min 1 s"], [3_600_000, "1 h"],
    [90_061_000, "1 d 1 h"], [3_605_000, "1 h"], [172_800_000, "2 d"]];
  for (const [milliseconds, words] of lengths) {
    it(`${milliseconds} ms are ${words}`, () => assert.equal(duration(milliseconds), words));
  }

  it("a moment of today has no date, others do, and what is no time stays", () => {
    const now = new Date();
    assert.doesNotMatch(localText(now.toISOString()), new RegExp(String(now.getFullYear())));
    assert.match(localText("1999-06-15T12:00:00Z"), /1999/);
    assert.equal(localText("soon"), "soon");
  });
});

const task = (id, dependsOn = [], more = {}) => ({
  task_id: id, position: 0, iteration: 1, status: "WAITING", reason: "", depends_on: dependsOn, may_fail: false,
  operator: "compute", retriable: false, attempts: [], ...more,
});
const numbered = (tasks) => tasks.map((one, position) => ({ ...one, position }));
const viewOf = (tasks, more = {}) => ({ seq: 10, run: { run_id: "r" }, tasks: numbered(tasks), left_out: 0, ...more });
const graph = (tasks) => graphOf(new RunTasks(viewOf(tasks)));

describe("the graph", () => {
  it("has each task in the layer behind the last one that it depends on", () => {
    const { nodes, edges, columns, rows } = graph([
      task("sum", ["a", "long"]), task("a"), task("b", ["a"]), task("long", ["b"]), task("alone", ["of another round"]),
    ]);
    const columnOf = Object.fromEntries(nodes.map((node) => [node.name, node.column]));
    assert.deepEqual(columnOf, { sum: 3, a: 0, b: 1, long: 2, alone: 0 });
    assert.deepEqual([edges.length, columns, rows], [4, 4, 2]);
  });

  it("is empty without tasks", () => {
    assert.deepEqual(graph([]), { nodes: [], edges: [], columns: 0, rows: 0, layers: [] });
  });

  it("shows tasks that are alike as one, where there are many", () => {
    const many = Array.from({ length: 2000 }, (_, n) => [task(`relax-${n}`), task(`energy-${n}`, [`relax-${n}`])]).flat();
    const { nodes, edges } = graph([...many, task("sum", ["energy-0"])]);
    assert.deepEqual(nodes.map((node) => [node.name, node.tasks.length]), [["relax-*", 2000], ["energy-*", 2000], ["sum", 1]]);
    assert.deepEqual(edges.map(({ from, to }) => [from.name, to.name]), [["relax-*", "energy-*"], ["energy-*", "sum"]]);
  });

  it("is drawn however long a chain is", () => {
    const chain = Array.from({ length: 40 * MOST_NODES }, (_, n) => task(`${n}`, n ? [`${n - 1}`] : []));
    const { nodes, columns } = graph(chain);
    assert.ok(nodes.length <= MOST_NODES);
    assert.equal(columns, nodes.length);
    assert.equal(nodes.reduce((sum, node) => sum + node.tasks.length, 0), chain.length);
  });

  it("puts nodes near those that they depend on", () => {
    const { layers } = graph([task("a"), task("b"), task("of b", ["b"]), task("of a", ["a"])]);
    assert.deepEqual(layers.map((column) => column.map((node) => node.name)), [["a", "b"], ["of a", "of b"]]);
  });
});

describe("rows in sight", () => {
  const frame = { scrollTop: 1000, clientHeight: 300 };

  it("are drawn with some more above and below", () => {
    assert.deepEqual(rowsInSight(frame, 30, 10_000), { first: 25, last: 51 });
    assert.deepEqual(rowsInSight({ scrollTop: 0, clientHeight: 300 }, 30, 5), { first: 0, last: 5 });
    assert.deepEqual(rowsInSight(frame, 30, 0), { first: 25, last: 0 });
  });

  it("come into sight with as little movement as is needed", () => {
    assert.equal(scrolledTo(frame, 30, 35), 1000);
    assert.equal(scrolledTo(frame, 30, 3), 90);
    assert.equal(scrolledTo(frame, 30, 100), 101 * 30 - 300);
  });

  it("are reached by keys", () => {
    const keys = ["ArrowDown", "ArrowUp", "PageDown", "PageUp", "Home", "End", "x"];
    assert.deepEqual(keys.map((key) => rowAfterKey(key, 50, frame, 30, 200)), [51, 49, 59, 41, 0, 199, undefined]);
    assert.equal(rowAfterKey("PageDown", 0, { clientHeight: 10 }, 30, 200), 1);
  });
});

const rows = (tasks, attempts = [], more = {}) => ({ type: "rows", seq: 11, run: "r", row: {}, tasks, attempts, ...more });
const attempt = (n, more = {}) => ({ n, token: `t${n}`, backend: "local", prepared_at: "2026-01-01T00:00:00Z", ...more });

describe("tasks of a run", () => {
  it("are set, counted, and found by what events say", () => {
    const known = new RunTasks(viewOf([task("a"), task("b", ["a"])]));
    known.setRows(rows([task("a", [], { status: "ACTIVE" })], [{ task_id: "a", ...attempt(1) }]));
    assert.equal(known.byId.get("a").status, "ACTIVE");
    assert.deepEqual([known.counts.WAITING, known.counts.ACTIVE], [1, 1]);
    assert.deepEqual([...known.live.keys()], ["t1"]);
    assert.equal(known.taskOf({ data: { token: "t1" } }), known.byId.get("a"));
    assert.equal(known.taskOf({ data: { task_id: "b" } }), known.byId.get("b"));
    assert.equal(known.taskOf({ data: {} }), undefined);
    known.setRows(rows([], [{ task_id: "a", ...attempt(1, { ended_at: "2026-01-01T00:00:01Z" }) }], { seq: 12 }));
    assert.equal(known.live.size, 0);
    assert.deepEqual(known.byId.get("a").attempts, [attempt(1, { ended_at: "2026-01-01T00:00:01Z" })]);
  });

  it("do not change by what they had, nor by other runs", () => {
    const known = new RunTasks(viewOf([task("a")]));
    known.setRows(rows([task("a", [], { status: "FAILED" })], [], { seq: 10 }));
    known.setRows(rows([task("a", [], { status: "FAILED" })], [], { run: "other" }));
    assert.equal(known.byId.get("a").status, "WAITING");
  });

  it("come in planned order, whatever order they are told in, and so do attempts", () => {
    const known = new RunTasks(viewOf([task("a")]));
    const shape = known.shape;
    known.setRows(rows(
      [task("c", [], { position: 2 }), task("b", [], { position: 1 })],
      [{ task_id: "b", ...attempt(2) }, { task_id: "b", ...attempt(1) }],
    ));
    assert.deepEqual(known.tasks.map((one) => one.task_id), ["a", "b", "c"]);
    assert.deepEqual(known.byId.get("b").attempts.map((one) => one.n), [1, 2]);
    assert.equal(known.shape, shape + 2);
  });

  it("take attempts that come before their task", () => {
    const known = new RunTasks(viewOf([]));
    known.setRows(rows([], [{ task_id: "a", ...attempt(1) }]));
    assert.equal(known.live.size, 0);
    known.setRows(rows([task("a")], [], { seq: 12 }));
    assert.deepEqual([...known.live.keys()], ["t1"]);
  });

  it("leave out for good what the document left out", () => {
    const known = new RunTasks(viewOf([task("a")], { left_out: 1 }));
    known.setRows(rows([task("b", [], { position: 1 })], [{ task_id: "b", ...attempt(1) }]));
    assert.equal(known.tasks.length, 1);
    assert.equal(known.live.size, 0);
  });
});

describe("what comes in", () => {
  const event = (seq) => ({ seq, type: "RunPaused", run: "r", data: {} });

  it("is given when all of it is there", () => {
    const incoming = new Incoming(3);
    assert.equal(incoming.take(event(4)), null);
    assert.equal(incoming.take(event(5)), null);
    assert.equal(incoming.take(rows([])), null);
    assert.deepEqual(incoming.take({ type: "as_of", seq: 5 }), { seq: 5, events: [event(4), event(5)], rows: [rows([])] });
    assert.equal(incoming.seq, 5);
  });

  it("is given once, and a gap is noticed", () => {
    const incoming = new Incoming(3);
    assert.equal(incoming.take(event(3)), null);
    assert.equal(incoming.take({ type: "as_of", seq: 3 }), null);
    assert.equal(incoming.take(event(6)), 4);
  });

  it("passes over numbers of the past that the store has no more, and over none that come now", () => {
    const incoming = new Incoming(3);
    incoming.past = 7;
    assert.equal(incoming.take(event(6)), null);
    assert.equal(incoming.take(event(8)), 7);
    assert.deepEqual(incoming.take({ type: "as_of", seq: 6 }), { seq: 6, events: [event(6)], rows: [] });
  });
});
