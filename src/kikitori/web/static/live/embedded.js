/**
 * The page in a frame of a console, which says how it shall be, and is told of every session.
 *
 * Only consoles may show it in a frame (the policy of the page says so), so its parent is one of them.
 */

/** A console that says nothing for so long has nothing to say. */
const SETUP_MS = 5000;
const READY = "kikitori.ready";
const SETUP = "kikitori.setup";
const SESSION = "kikitori.session";

export const isEmbedded = window.parent !== window;
let origin = "";

/** Resolves with the first ``{apiKey, language, record}``, or null; ``changed`` gets every one after it. */
export function awaitSetup(changed) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, SETUP_MS, null);
    let first = true;
    window.addEventListener("message", (event) => {
      if (event.source !== window.parent || event.data?.type !== SETUP) return;
      origin = event.origin;
      clearTimeout(timer);
      if (first) resolve(event.data);
      else changed(event.data);
      first = false;
    });
    window.parent.postMessage({ type: READY }, "*"); // whom it reaches is not known yet; there is nothing in it
  });
}

/** ``session``: at (milliseconds since 1970), seconds, entries, recorded. */
export function tellSession(session) {
  if (origin) window.parent.postMessage({ type: SESSION, session }, origin);
}
