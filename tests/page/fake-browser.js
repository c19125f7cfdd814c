// As much of a browser as modules of the page need that draw nothing, with a clock that only tests move.

/** A socket to a monitor that tests play. */
export class FakeSocket {
  static OPEN = 1;
  /** @type {FakeSocket[]} */
  static all = [];
  readyState = 0;
  sent = [];
  isClosed = false;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  /** The newest one. */
  static get last() {
    return FakeSocket.all.at(-1);
  }

  open() {
    this.readyState = FakeSocket.OPEN;
  }

  say(document) {
    this.open();
    this.onmessage?.({ data: JSON.stringify(document) });
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  /** The monitor closes it, or is gone. */
  end(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
  }
}

/** Replace what the modules ask of the browser; `answers` gives what a path is answered with. */
export function fakeBrowser(answers = () => ({ status: 200, body: {} })) {
  const clock = { now: 1_000_000, timers: [], ids: 0 };
  const listeners = new Map();
  const asked = [];
  const requests = [];
  const kept = new Map([["matterstack-session", "s3cret"]]);
  const later = (call, wait, every) => {
    clock.ids += 1;
    clock.timers.push({ id: clock.ids, at: clock.now + wait, call, every });
    return clock.ids;
  };
  const forget = (id) => (clock.timers = clock.timers.filter((timer) => timer.id !== id));
  const settle = async () => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  FakeSocket.all = [];
  const fakes = {
    WebSocket: FakeSocket,
    location: { protocol: "http:", host: "monitor" },
    document: { hidden: false, addEventListener: (name, call) => listeners.set(name, call) },
    addEventListener: (name, call) => listeners.set(name, call),
    setTimeout: (call, wait = 0) => later(call, wait),
    clearTimeout: forget,
    setInterval: (call, wait) => later(call, wait, wait),
    clearInterval: forget,
    performance: { now: () => clock.now },
    sessionStorage: { getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value) },
    fetch: async (path, options) => {
      asked.push(path);
      requests.push([path, options]);
      const { status, body } = answers(path);
      if (status === 0) throw new TypeError("refused");
      return { status, ok: status < 400, json: async () => body };
    },
  };
  const real = Object.fromEntries(Object.keys(fakes).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  for (const [name, value] of Object.entries(fakes)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  const realNow = Date.now;
  Date.now = () => clock.now;
  return {
    asked,
    requests,
    kept,
    settle,
    /** Something happens to the window or the document. */
    happens: async (name) => {
      listeners.get(name)();
      await settle();
    },
    /** Let time pass. */
    pass: async (milliseconds) => {
      const end = clock.now + milliseconds;
      for (;;) {
        const [due] = clock.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
        if (!due) break;
        clock.now = Math.max(clock.now, due.at);
        if (due.every) due.at += due.every;
        else forget(due.id);
        due.call();
        await settle();
      }
      clock.now = end;
      await settle();
    },
    restore: () => {
      for (const [name, descriptor] of Object.entries(real)) {
        if (descriptor) Object.defineProperty(globalThis, name, descriptor);
        else delete globalThis[name];
      }
      Date.now = realNow;
    },
  };
}
