// What lets this tab in.  No cookie: a browser sends those to every server of a machine, whatever its port.

const KEY = "matterstack-session";
const CHANNEL = "matterstack-session";
const PATIENCE_MS = 400;
const CODE = /^#code=([\w.-]+)$/;

/** Of tabs in which nothing may be kept. */
let unkept = "";
/** @type {BroadcastChannel | null} */
let channel = null;

/** The secret of this tab's session; empty before a link was opened in it. */
export function session() {
  try {
    return sessionStorage.getItem(KEY) ?? unkept;
  } catch {
    return unkept;
  }
}

/** @param {string} secret */
function keep(secret) {
  unkept = secret;
  try {
    sessionStorage.setItem(KEY, secret);
  } catch {
    // Then it is kept until the tab is loaded anew.
  }
}

/** The monitor does not know it any more. */
export function forget() {
  keep("");
}

/** What a request has to carry. */
export const credentials = () => ({ Authorization: `Bearer ${session()}` });

/** Whether the address holds the code of a link, which is still to be used. */
export const hasCode = () => CODE.exec(location.hash) !== null;

/**
 * Use up the link in the address, which is then the address of the page alone: neither the history nor a bookmark
 * keeps the code.
 *
 * @param {string} where what the address shows instead, behind `#`.
 * @returns {Promise<string>} why it was not taken; empty when it was.
 */
export async function useLink(where) {
  const code = CODE.exec(location.hash)?.[1] ?? "";
  history.replaceState(null, "", location.pathname + where);
  try {
    const response = await fetch("/api/session", {
      method: "POST",
      headers: { Authorization: `Link ${code}` },
      credentials: "omit",
    });
    const told = await response.json();
    if (!response.ok) return `${told.error.message}: ${told.error.hint}`;
    keep(told.session);
    channel?.postMessage({ session: told.session, isNew: true });
    return "";
  } catch {
    return "the monitor did not answer: open the link once more";
  }
}

/**
 * Give the session to other tabs of this page that ask for one, and take that of a link that was opened in one of them.
 *
 * @param {() => void} onNew is called when this tab has one that it did not have.
 */
export function shareSession(onNew) {
  if (typeof BroadcastChannel === "undefined") return;
  channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data }) => {
    if (data === "ask") {
      if (session()) channel?.postMessage({ session: session(), isNew: false });
    } else if (typeof data?.session === "string" && (data.isNew || !session())) {
      keep(data.session);
      onNew();
    }
  };
}

/** Ask the other tabs for a session, and give them a moment: links of the page may be opened in new tabs. */
export async function askOtherTabs() {
  channel?.postMessage("ask");
  const end = Date.now() + PATIENCE_MS;
  while (!session() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
}
