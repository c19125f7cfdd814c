// Which rows of a long table are in sight, and where a key leads.

const MORE_ROWS = 8;

/**
 * The first row to be drawn, and the one behind the last.
 *
 * @param {{scrollTop: number, clientHeight: number}} frame
 * @param {number} height of a row, in pixels.
 * @param {number} count how many rows there are.
 */
export function rowsInSight({ scrollTop, clientHeight }, height, count) {
  const first = Math.max(0, Math.floor(scrollTop / height) - MORE_ROWS);
  const last = Math.min(count, first + Math.ceil(clientHeight / height) + 2 * MORE_ROWS);
  return { first, last };
}

/**
 * How far down a frame must be scrolled for a row to be in sight.
 *
 * @param {{scrollTop: number, clientHeight: number}} frame
 * @param {number} height of a row, in pixels.
 * @param {number} index which row.
 */
export function scrolledTo({ scrollTop, clientHeight }, height, index) {
  const [top, bottom] = [index * height, (index + 1) * height];
  if (top < scrollTop) return top;
  return bottom > scrollTop + clientHeight ? bottom - clientHeight : scrollTop;
}

/**
 * The row to which a key leads; undefined where it leads nowhere.  It may be beyond the ends.
 *
 * @param {string} key
 * @param {number} index of the row from which it leads.
 * @param {{clientHeight: number}} frame
 * @param {number} height of a row, in pixels.
 * @param {number} count how many rows there are.
 * @returns {number | undefined}
 */
export function rowAfterKey(key, index, { clientHeight }, height, count) {
  const page = Math.max(1, Math.floor(clientHeight / height) - 1);
  /** @type {Record<string, number>} */
  const targets = {
    ArrowDown: index + 1,
    ArrowUp: index - 1,
    PageDown: index + page,
    PageUp: index - page,
    Home: 0,
    End: count - 1,
  };
  return targets[key];
}
