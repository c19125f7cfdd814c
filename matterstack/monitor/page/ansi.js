// What a terminal would show of a job's output: colours stay, all other control is taken out.

import { UNSEEN } from "./dom.js";

const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
// CSI, OSC (ended by BEL or ST), other strings, and short sequences of ESC.
const ESCAPE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[PX^_][^\x1b]*(?:\x1b\\|$)|[ -/]*[0-~])|\x1b/g;

/** @typedef {{colour: string, isBold: boolean}} Style */

/**
 * Start with nothing on.
 *
 * @returns {Style}
 */
export const plainStyle = () => ({ colour: "", isBold: false });

/**
 * Split a line into pieces {text, className}; `style` goes on to the next line.
 *
 * @param {string} line
 * @param {Style} style
 */
export function piecesOf(line, style) {
  const shown = lastOverwrite(line);
  /** @type {{text: string, className: string}[]} */
  const pieces = [];
  let end = 0;
  /** @param {string} text */
  const add = (text) => {
    const clean = text.replace(UNSEEN, "");
    if (clean) pieces.push({ text: clean, className: classOf(style) });
  };
  for (const found of shown.matchAll(ESCAPE)) {
    add(shown.slice(end, found.index));
    end = (found.index ?? 0) + found[0].length;
    if (found[2] === "m") restyle(style, found[1]);
  }
  add(shown.slice(end));
  return pieces;
}

/**
 * A progress bar writes over its own line: the last writing is what is seen.
 *
 * @param {string} line
 */
function lastOverwrite(line) {
  const parts = line.replace(/\r+$/, "").split("\r");
  return parts.at(-1) ?? "";
}

/**
 * @param {Style} style
 * @param {string} codes
 */
function restyle(style, codes) {
  const numbers = codes.split(/[;:]/).map(Number);
  for (let index = 0; index < numbers.length; index += 1) {
    const code = numbers[index];
    if (code === 0) Object.assign(style, plainStyle());
    else if (code === 1) style.isBold = true;
    else if (code === 22) style.isBold = false;
    else if (code === 39) style.colour = "";
    else if (code >= 30 && code <= 37) style.colour = COLOURS[code - 30];
    else if (code >= 90 && code <= 97) style.colour = COLOURS[code - 90];
    else if (code === 38 || code === 48) index += numbers[index + 1] === 5 ? 2 : 4;
  }
}

/** @param {Style} style */
const classOf = ({ colour, isBold }) => [colour && `ansi-${colour}`, isBold && "ansi-bold"].filter(Boolean).join(" ");
