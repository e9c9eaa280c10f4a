/** The id of this tab: kept by the browser for as long as the tab is there, however often its page is loaded anew. */

const NAME = "kikitori.console.tab";

/** ``data.id`` is the id of a new tab; ``data.strange`` one that the console does not know (any more). */
export default function ({ data, setStateValue }) {
  try {
    const kept = sessionStorage.getItem(NAME);
    if (kept && kept !== data.id && kept !== data.strange) setStateValue("id", kept);
    else sessionStorage.setItem(NAME, data.id);
  } catch {
    // forbidden: then a page that is loaded anew begins anew
  }
}
