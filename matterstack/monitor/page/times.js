// Times in the reader's zone; the UTC time is there for those who compare with logs.

import { h, setText } from "./dom.js";

/** @typedef {Intl.DateTimeFormatOptions} Options */

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
/** @type {Options} */
const MINUTE = { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
const DATE = new Intl.DateTimeFormat(undefined, MINUTE);
const OTHER_YEAR = new Intl.DateTimeFormat(undefined, { ...MINUTE, year: "numeric" });
/** @type {[number, string][]} */
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/**
 * A `<time>`; nothing where there is no time.
 *
 * @param {string | null | undefined} at
 */
export function timeElement(at) {
  if (!at) return "";
  return h("time", { datetime: at, title: `${at.slice(0, 19).replace("T", " ")} UTC (shown: ${ZONE})` }, localText(at));
}

/**
 * The clock today, with the date on other days, and the year where that is not this one.
 *
 * @param {string} at
 */
export function localText(at) {
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) return String(at);
  const now = new Date();
  if (moment.toDateString() === now.toDateString()) return CLOCK.format(moment);
  return (moment.getFullYear() === now.getFullYear() ? DATE : OTHER_YEAR).format(moment);
}

/**
 * A `<time>` with seconds and without its date, for moments that lie within minutes of each other.
 *
 * @param {string} at
 */
export function exactTimeElement(at) {
  const element = timeElement(at);
  if (element) setText(element, CLOCK.format(new Date(at)));
  return element;
}

/**
 * A length of time, to two units.
 *
 * @param {number} milliseconds
 */
export function duration(milliseconds) {
  let rest = Math.max(0, Math.round(milliseconds / 1000));
  const parts = [];
  for (const [size, unit] of UNITS) {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    if (whole) parts.push(`${whole} ${unit}`);
    else if (parts.length) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0 s";
}
