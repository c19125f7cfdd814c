// The event stream: every event once, in order, with the rows that it changed, over as many connections as it takes.

import { isThere } from "./api.js";
import { Incoming } from "./incoming.js";
import { session } from "./session.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const SILENCE_MS = 25_000;
const HELLO_MS = 15_000;
const BATCH_MS = 40;
const NO_SUCH_SEQ = 4004;
/** What the monitor takes as one command. */
const MOST_BYTES = 64 * 1024;
/** The protocol of monitors that send rows. */
const PROTOCOL = 2;

/**
 * @typedef {import("./dom.js").Timer} Timer
 * @typedef {object} Listener
 * @property {(change: import("./documents.js").Change) => void} onChange is given the next events, in order, and the rows that they changed.
 * @property {(state: {isLive: boolean, text: string}) => void} onState is told how things stand.
 * @property {() => void} onOtherStore is called when the store never had what was seen: everything is to be read anew.
 * @typedef {{ok: boolean, error?: any, result?: any, basis?: string}} Reply
 * @typedef {{resolve: (reply: Reply) => void, reject: (error: Error) => void}} Order
 */

/** Why a command was not carried out; `code` is that of the monitor's error, `reason` what it says without its hint. */
export class CommandError extends Error {
  /** @param {{code?: string, message: string, hint?: string}} error */
  constructor({ code = "", message, hint }) {
    super(hint ? `${message} (${hint})` : message);
    this.code = code;
    this.reason = message;
  }
}

export class Live {
  #onChange;
  #onState;
  #onOtherStore;
  #seq = 0;
  #incoming = new Incoming(0);
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Timer | 0} */
  #retry = 0;
  #waitMs = FIRST_WAIT_MS;
  #newest = Infinity;
  #heardAt = 0;
  /** @type {import("./documents.js").Change[]} */
  #batch = [];
  /** @type {Timer | 0} */
  #flush = 0;
  /** @type {Map<number, Order>} */
  #orders = new Map();
  #lastOrder = 0;
  isLive = false;

  /** @param {Listener} listener */
  constructor({ onChange, onState, onOtherStore }) {
    this.#onChange = onChange;
    this.#onState = onState;
    this.#onOtherStore = onOtherStore;
    setInterval(() => this.#lookForSilence(), 5000);
    addEventListener("online", () => this.hurry());
    addEventListener("offline", () => this.#drop("this device is offline"));
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  /** Up to where events were given out. */
  get seq() {
    return this.#seq;
  }

  /**
   * Begin after an event.
   *
   * @param {number} seq
   */
  start(seq) {
    this.#seq = seq;
    this.#connect();
  }

  #connect() {
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = 0;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    // A script can send no header with it but this one.
    const letIn = ["matterstack", session()];
    const socket = new WebSocket(`${scheme}//${location.host}/events?after=${this.#seq}&rows=1`, letIn);
    this.#socket = socket;
    this.#incoming = new Incoming(this.#seq);
    this.#newest = Infinity;
    this.#heardAt = Date.now();
    socket.onmessage = (message) => this.#socket === socket && this.#take(JSON.parse(message.data));
    socket.onclose = (closed) => {
      if (this.#socket !== socket) return;
      if (closed.code === NO_SUCH_SEQ) this.#meetOtherStore();
      else this.#lose(closed.reason || "the connection was lost");
    };
  }

  /** @param {any} document */
  #take(document) {
    this.#heardAt = Date.now();
    if ("reply" in document) {
      this.#orders.get(document.reply)?.resolve(document);
      this.#orders.delete(document.reply);
    } else if (document.type === "hello") {
      if (document.protocol !== PROTOCOL) {
        this.#drop("the monitor is another version (load this page anew)");
        return;
      }
      this.#newest = document.seq;
      this.#incoming.past = document.seq;
      this.#waitMs = FIRST_WAIT_MS;
      this.#tell();
    } else {
      const taken = this.#incoming.take(document);
      // What is missing is asked for again, and so is what the rows of did not come any more.
      if (typeof taken === "number") this.#drop(`event ${taken} is missing`);
      else if (taken) {
        this.#batch.push(taken);
        this.#flush ||= setTimeout(() => this.#giveOut(), BATCH_MS);
      }
    }
  }

  #giveOut() {
    this.#flush = 0;
    const changes = this.#batch;
    this.#batch = [];
    const last = changes.at(-1);
    if (!last) return;
    this.#seq = last.seq;
    this.#onChange({
      seq: last.seq,
      events: changes.flatMap(({ events }) => events),
      rows: changes.flatMap(({ rows }) => rows),
    });
    this.#tell();
  }

  #tell() {
    if (this.#newest === Infinity) return;
    const isLive = this.#seq >= this.#newest;
    if (this.isLive && isLive) return;
    this.isLive = isLive;
    const missing = this.#newest - this.#seq;
    this.#onState({ isLive, text: isLive ? "Live" : `Not live: ${missing.toLocaleString()} events to catch up with` });
  }

  /**
   * Give the connection up, and take another one.
   *
   * @param {string} why
   */
  #drop(why) {
    if (this.#socket === null) return;
    const socket = this.#socket;
    this.#lose(why);
    socket.close();
  }

  /** @param {string} why */
  #lose(why) {
    this.#socket = null;
    this.#giveOut();
    this.isLive = false;
    for (const { reject } of this.#orders.values()) {
      reject(new Error("the connection was lost before the reply came: the events will tell what became of it"));
    }
    this.#orders.clear();
    const waitMs = this.#waitMs * (0.5 + Math.random() / 2);
    this.#waitMs = Math.min(2 * this.#waitMs, LONGEST_WAIT_MS);
    this.#onState({ isLive: false, text: `Not live: ${why}; trying again` });
    this.#retry = setTimeout(() => this.#tryAgain(), waitMs);
  }

  async #tryAgain() {
    // A websocket does not tell why it was refused.
    const answer = await isThere();
    if (this.#socket !== null) return;
    if (answer === "yes") this.#connect();
    else {
      this.#lose(
        answer === "stranger"
          ? "the monitor does not know this page any more (open a new link: matterstack monitor --new-link)"
          : "the monitor does not answer",
      );
    }
  }

  /** Try again at once, where a connection is to be made again. */
  hurry() {
    if (!this.#retry) return;
    if (this.#retry) clearTimeout(this.#retry);
    this.#waitMs = FIRST_WAIT_MS;
    this.#retry = setTimeout(() => this.#tryAgain(), 0);
  }

  #meetOtherStore() {
    this.#lose("the store is another one");
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = 0;
    this.#onOtherStore();
  }

  async #lookForSilence() {
    // The other end may be gone without a farewell, and a script cannot send pings.
    const socket = this.#socket;
    if (socket === null) return;
    const quietMs = Date.now() - this.#heardAt;
    if (socket.readyState !== WebSocket.OPEN) {
      if (quietMs > HELLO_MS) this.#drop("the monitor does not answer");
    } else if (quietMs > SILENCE_MS) {
      if ((await isThere()) === "yes") this.#heardAt = Date.now();
      else if (this.#socket === socket) this.#drop("the monitor does not answer");
    }
  }

  /**
   * Send a command; resolves with the reply when it was carried out, and rejects with the reason when it was not.
   *
   * @param {Record<string, unknown>} command
   */
  async command(command) {
    if (this.#socket?.readyState !== WebSocket.OPEN) throw new Error("not connected: nothing was sent");
    this.#lastOrder += 1;
    const id = this.#lastOrder;
    const text = JSON.stringify({ id, ...command });
    if (new TextEncoder().encode(text).length > MOST_BYTES) {
      throw new Error("this is too much for one message: nothing was sent; say which tasks by a pattern, or by how they stand");
    }
    /** @type {Promise<Reply>} */
    const reply = new Promise((resolve, reject) => this.#orders.set(id, { resolve, reject }));
    this.#socket.send(text);
    const answer = await reply;
    if (!answer.ok) throw new CommandError(answer.error);
    return answer;
  }
}
