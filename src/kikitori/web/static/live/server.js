/** What the page asks the server over HTTP. Addresses are relative to the page, so a proxy may put it below a path. */

export function socketUrl() {
  const url = new URL("stt/websocket", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** ``{status, models, message}``; status: ok, key (one is needed), refused, unreachable. */
export async function askModels(apiKey) {
  const headers = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  let answer;
  let body;
  try {
    answer = await fetch(new URL("v1/models", document.baseURI), { headers, cache: "no-store" });
    body = await answer.json();
  } catch {
    return { status: "unreachable", models: [] };
  }
  if (answer.ok) return { status: "ok", models: body.data };
  return { status: answer.status === 401 ? "key" : "refused", models: [], message: body.error?.message ?? "" };
}

/** Codes of the languages that models may know. */
export async function askLanguages() {
  try {
    return await (await fetch(new URL("./languages.json", import.meta.url))).json();
  } catch {
    return [];
  }
}
