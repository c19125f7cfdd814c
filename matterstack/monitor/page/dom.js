// Elements are made, never parsed: whatever a user or a job wrote stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An element; functions listen to events, `true` is an empty attribute, `null` and `false` are none. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set text only where it differs, so that screen readers and selections are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Call `draw` soon, and once, however often this is asked for; also in a tab that is not shown. */
export function coalesced(draw, waitMs = 50) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      draw();
    }, waitMs);
  };
}

/** A number as the reader writes it. */
export const number = (value) => value.toLocaleString();

/** A number of things. */
export const count = (value, what) => `${number(value)} ${what}${value === 1 ? "" : "s"}`;

/** Text that is not longer than so many characters. */
export const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

let ids = 0;
/** An id that nothing else on the page has. */
export const freshId = (stem) => `${stem}-${(ids += 1)}`;
