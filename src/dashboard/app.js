/**
 * The page: two panels, each with a WebSocket of its own, so that each one starts with the newest records of its type.
 * Log texts reach the document as text nodes only.
 *
 * @typedef {{ timestamp: string, level: string, logger: string, message: string, [extra: string]: unknown }} Log
 */

const ROWS_MAX = 1000;
const REPLAY = 200;

const RETRY_MS_MIN = 1000;
const RETRY_MS_MAX = 30_000;
const RETRY_GROWTH = 1.5;

/** A panel this close to its end follows what arrives. */
const FOLLOW_PX = 40;

/** In the viewer's own zone. */
const TIME = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

class Panel {
  #type;
  #state;
  #list;
  /** Arrived, not shown yet: until the next frame, or until the end of a pause. @type {Log[]} */
  #waiting = [];
  /** True where the rows are from an earlier connection: they go when what the new one replays is shown. */
  #isStale = false;
  #frame = 0;
  #isPaused = false;
  #connection = new AbortController();
  #retryMs = RETRY_MS_MIN;
  #stateText = "";

  /**
   * @param {HTMLElement} section
   * @param {"system_log" | "audit_log"} type
   */
  constructor(section, type) {
    this.#type = type;
    this.#state = /** @type {HTMLElement} */ (section.querySelector(".state"));
    this.#list = /** @type {HTMLOListElement} */ (section.querySelector("ol"));
  }

  /**
   * Starts anew with the records that match.
   * @param {Record<string, string>} filter
   */
  connect(filter) {
    this.#connection.abort();
    this.#connection = new AbortController();
    const { signal } = this.#connection;
    const query = new URLSearchParams({ ...filter, type: this.#type, replay: `${REPLAY}` });
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}/ws/logs?${query}`);
    socket.addEventListener("open", () => this.#begin(), { signal });
    socket.addEventListener("message", ({ data }) => this.#take(JSON.parse(data)), { signal });
    socket.addEventListener("close", ({ reason }) => this.#retry(filter, reason), { signal });
    signal.addEventListener("abort", () => socket.close());
    this.#say("connecting");
  }

  #begin() {
    this.#retryMs = RETRY_MS_MIN;
    this.#waiting = [];
    this.#isStale = true;
    this.#say("live");
    this.#showSoon();
  }

  /**
   * @param {Record<string, string>} filter
   * @param {string} reason
   */
  #retry(filter, reason) {
    const { signal } = this.#connection;
    const delayMs = this.#retryMs * (0.5 + Math.random() / 2);
    setTimeout(() => signal.aborted || this.connect(filter), delayMs);
    this.#retryMs = Math.min(this.#retryMs * RETRY_GROWTH, RETRY_MS_MAX);
    this.#say(`${reason || "not connected"}, next try in ${Math.ceil(delayMs / 1000)} s`);
  }

  /** @param {{ type: string, data: Log }} envelope */
  #take({ type, data }) {
    if (type !== this.#type) return;
    this.#waiting.push(data);
    if (this.#waiting.length > ROWS_MAX) this.#waiting.shift();
    if (this.#isPaused) this.#showState();
    this.#showSoon();
  }

  #showSoon() {
    if (!this.#isPaused) this.#frame ||= requestAnimationFrame(() => this.#show());
  }

  #show() {
    this.#frame = 0;
    const list = this.#list;
    if (this.#isStale) list.replaceChildren();
    this.#isStale = false;
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < FOLLOW_PX;
    list.append(...this.#waiting.splice(0).map(rowOf));
    while (list.childElementCount > ROWS_MAX) list.firstElementChild?.remove();
    if (follows) list.scrollTop = list.scrollHeight;
  }

  /** @param {boolean} isPaused */
  pause(isPaused) {
    this.#isPaused = isPaused;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#showSoon();
    this.#showState();
  }

  clear() {
    this.#waiting = [];
    this.#list.replaceChildren();
    this.#showState();
  }

  /** @param {string} text */
  #say(text) {
    this.#stateText = text;
    this.#showState();
  }

  #showState() {
    const count = this.#waiting.length;
    this.#state.textContent = this.#isPaused
      ? `${this.#stateText}, paused${count ? `: ${count} waiting` : ""}`
      : this.#stateText;
  }
}

/** @param {Log} log */
function rowOf({ timestamp, level, logger, message, ...rest }) {
  const row = document.createElement("li");
  const time = part("time", "", TIME.format(new Date(timestamp)));
  time.setAttribute("datetime", timestamp);
  row.append(time, " ", part("span", `level ${level}`, level), " ");
  row.append(part("span", "logger", logger), ` ${message} `, part("span", "rest", restText(rest)));
  return row;
}

/**
 * What follows the message: where it was logged, and all other fields as `name=value`.
 * @param {{ module?: string, function?: string, line?: number, metadata?: object, [extra: string]: unknown }} rest
 */
function restText({ module, function: name, line, metadata, ...extras }) {
  const place = line ? [`${module}.${name}:${line}`] : [];
  const fields = Object.entries({ ...extras, ...metadata }).map(
    ([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return [...place, ...fields].join(" ");
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} text
 */
function part(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {string} id */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

const panels = [new Panel(byId("system"), "system_log"), new Panel(byId("audit"), "audit_log")];
const form = /** @type {HTMLFormElement} */ (byId("filter"));
const level = /** @type {HTMLSelectElement} */ (byId("level"));
const query = /** @type {HTMLInputElement} */ (byId("query"));

/** The filter that was asked for last: the answer about an earlier one may come later. @type {object | undefined} */
let wanted;

/** A refused WebSocket hides its reason from the page, so that the history is asked first whether it takes the filter. */
async function applyFilter() {
  const filter = { level: level.value, q: query.value.trim() };
  wanted = filter;
  const problem = await problemOf(filter);
  if (wanted !== filter) return;
  byId("problem").textContent = problem;
  if (!problem) for (const panel of panels) panel.connect(filter);
}

/** @param {Record<string, string>} filter */
async function problemOf(filter) {
  try {
    // Nothing is to be searched for: no record is that old.
    const parameters = new URLSearchParams({ ...filter, until: "0" });
    const response = await fetch(`/api/logs?${parameters}`);
    return response.status === 400 ? (await response.json()).error.message : "";
  } catch {
    return ""; // Not reachable: the panels say so, and try again.
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void applyFilter();
});
level.addEventListener("change", () => void applyFilter());
byId("clear").addEventListener("click", () => {
  for (const panel of panels) panel.clear();
});
byId("pause").addEventListener("click", ({ currentTarget }) => {
  const button = /** @type {HTMLElement} */ (currentTarget);
  const isPaused = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", `${isPaused}`);
  for (const panel of panels) panel.pause(isPaused);
});

void applyFilter();
