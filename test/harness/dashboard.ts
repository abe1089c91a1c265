import { vi } from "vitest";
import { GatewayProcess } from "./gateway.ts";
import { View, type ViewOptions } from "../dashboard/browser.ts";

export type PanelType = "system_log" | "audit_log";

/** A record to post. */
export interface GivenRecord {
  readonly message: string;
  /** OpenTelemetry's: 5 debug, 9 info, 13 warning, 17 error, 21 critical. */
  readonly severity?: number;
  readonly logger?: string;
  readonly attributes?: Readonly<Record<string, string | number>>;
  readonly timeMs?: number;
  /** The process that logged it. */
  readonly service?: string;
}

export const AUDIT = "orchestrator.audit";

/** A gateway as users start it, with browsers showing its dashboard; all end with the scope. */
export class DashboardGateway implements AsyncDisposable {
  readonly #gateway: GatewayProcess;
  readonly #headers: Readonly<Record<string, string>>;

  private constructor(gateway: GatewayProcess, headers: Readonly<Record<string, string>>) {
    this.#gateway = gateway;
    this.#headers = headers;
  }

  /** Starts the gateway with what a tailgate.yaml says. Records are posted with the headers. */
  static async start(config = "", headers = {}): Promise<DashboardGateway> {
    return new DashboardGateway(await GatewayProcess.start(config, ["--otlp-port", "0"]), headers);
  }

  get url(): string {
    return this.#gateway.url;
  }

  /** Stops the gateway, and starts another one with its journal and ports. */
  async restart(): Promise<void> {
    await this.stop();
    await this.startAgain();
  }

  async stop(): Promise<void> {
    await this.#gateway.stop();
  }

  /** Starts a gateway with the same journal and the same ports. */
  async startAgain(): Promise<void> {
    await this.#gateway.restart();
  }

  /** Resolves when the gateway has stored them. */
  async post(records: readonly GivenRecord[]): Promise<void> {
    const resourceLogs = records.map((record) => ({
      resource: { attributes: attributesOf({ "service.name": record.service }) },
      scopeLogs: [scopeOf(record)],
    }));
    const otlpUrl = await this.#gateway.endpoint("OTLP/HTTP");
    const response = await fetch(`${otlpUrl}/v1/logs`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...this.#headers },
      body: JSON.stringify({ resourceLogs }),
    });
    if (!response.ok) throw new Error(`The gateway answers HTTP ${response.status}.`);
  }

  /** System logs with the messages `NAME 1`, `NAME 2` and so on. */
  async postNumbered(name: string, from: number, to: number): Promise<void> {
    for (let first = from; first <= to; first += 1000) {
      const count = Math.min(1000, to - first + 1);
      await this.post(
        Array.from({ length: count }, (_, at) => ({ message: `${name} ${first + at}` })),
      );
    }
  }

  async open(options?: ViewOptions, path = "/"): Promise<Dashboard> {
    return new Dashboard(await View.open(this.url + path, options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#gateway[Symbol.asyncDispose]();
  }
}

/** The page in a browser, as its user sees it. */
export class Dashboard implements AsyncDisposable {
  readonly view: View;
  readonly #forgiven: RegExp[] = [];

  constructor(view: View) {
    this.view = view;
  }

  get page(): View["page"] {
    return this.view.page;
  }

  /** The messages that are in view, from top to bottom. */
  messages(type: PanelType): Promise<string[]> {
    return this.page.$eval(`[data-type=${type}] .log-list`, (list) => {
      const { top, bottom } = list.getBoundingClientRect();
      const header = list.querySelector(".column-header")!.getBoundingClientRect().height;
      return [...list.querySelectorAll(".row")]
        .map((row) => ({ row, box: row.getBoundingClientRect() }))
        .filter(({ box }) => box.bottom > top + header + 1 && box.top < bottom - 1)
        .toSorted((one, other) => one.box.top - other.box.top)
        .map(({ row }) => row.querySelector(".column-message, .gap-cell")!.textContent);
    });
  }

  /** Waits until the last message in view is this one. */
  async showsLast(type: PanelType, message: string): Promise<void> {
    const check = async (): Promise<void> => {
      const messages = await this.messages(type);
      if (messages.at(-1) !== message) throw new Error(`In view is: ${messages.join("\n")}`);
    };
    await vi.waitFor(check, WAIT);
  }

  /** The messages in view once a frame has passed without a change of them. */
  async settledMessages(type: PanelType): Promise<string[]> {
    for (let before = await this.messages(type); ;) {
      await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(done)));
      const now = await this.messages(type);
      if (now.join("\n") === before.join("\n")) return now;
      before = now;
    }
  }

  /** Scrolls up, view by view, until a message is in view; answers all that were, as they stand from top to bottom. */
  async readUpTo(type: PanelType, message: string): Promise<string[]> {
    /** Of each view what the one before did not have, the last one first. */
    const parts = [await this.messages(type)];
    for (let [top] = parts[0]!; !parts.at(-1)!.includes(message);) {
      await this.page.$eval(`[data-type=${type}] .log-list`, (list) => {
        list.scrollTop -= list.clientHeight / 2;
      });
      const now = await this.settledMessages(type);
      const overlap = now.indexOf(top!);
      if (overlap < 0) throw new Error(`The list has jumped from ${top} to ${now.join(", ")}.`);
      if (overlap > 0) parts.push(now.slice(0, overlap));
      [top] = now;
    }
    return parts.toReversed().flat();
  }

  /** Allows this browser error. */
  ignoreComplaint(complaint: RegExp): void {
    this.#forgiven.push(complaint);
  }

  /** The text of the first element that fits. */
  text(selector: string): Promise<string> {
    return this.page.$eval(selector, (element) => element.textContent ?? "");
  }

  async click(selector: string): Promise<void> {
    await this.page.locator(selector).click();
  }

  /** Turns the wheel over a panel, downwards if positive, and waits until the list has moved and stands still again. */
  async wheel(type: PanelType, byPx: number): Promise<void> {
    const list = (await this.page.$(`[data-type=${type}] .log-list`))!;
    const topAfterFrame = (): Promise<number> =>
      list.evaluate(async (element) => {
        await new Promise((done) => requestAnimationFrame(done));
        return element.scrollTop;
      });
    const box = (await list.boundingBox())!;
    await this.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    const before = await topAfterFrame();
    await this.page.mouse.wheel({ deltaY: byPx });
    // A browser may scroll smoothly, and begin a few frames later.
    for (let last = before, isStill = false; !isStill;) {
      const now = await topAfterFrame();
      isStill = now === last && now !== before;
      last = now;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.view[Symbol.asyncDispose]();
    const complaints = this.view.complaints.filter(
      (complaint) => !this.#forgiven.some((forgiven) => forgiven.test(complaint)),
    );
    if (complaints.length > 0) throw new Error(`The browser complained: ${complaints.join("\n")}`);
  }
}

const WAIT = { timeout: 15_000, interval: 30 };

function scopeOf({
  message,
  severity = 9,
  logger = "orchestrator.server",
  attributes,
  timeMs,
}: GivenRecord) {
  const timeUnixNano = `${timeMs ?? Date.now()}000000`;
  const body = { stringValue: message };
  const logRecord = {
    timeUnixNano,
    severityNumber: severity,
    body,
    attributes: attributesOf(attributes ?? {}),
  };
  return { scope: { name: logger }, logRecords: [logRecord] };
}

function attributesOf(attributes: Readonly<Record<string, string | number | undefined>>) {
  return Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ({
      key,
      value: typeof value === "number" ? { intValue: String(value) } : { stringValue: value },
    }));
}
