import { setTimeout as wait } from "node:timers/promises";
import { LogHistory } from "tailgate/client";
import { expect, test, vi } from "vitest";
import { Proxy } from "../client/proxy.ts";
import { View } from "./browser.ts";
import { AUDIT, Dashboard, Rig, type Lane } from "./rig.ts";

const CUTS = 20;

/** One for each panel. */
const STREAMS = 2;

/** Around each cut so many records, at 2 000 a second or as many as the machine takes. All cuts' fit into a panel. */
const POSTS = 5;
const POST_RECORDS = 100;
const POST_MS = 50;

const WAIT = { timeout: 15_000, interval: 20 };

test(`${CUTS} cuts of the connection while records flow lose and double nothing`, async () => {
  await using rig = await Rig.start('allowed_hosts: ["127.0.0.1"]');
  await using proxy = await Proxy.start(Number(new URL(rig.url).port));
  // A high window shows many rows at a time, which are read faster.
  await using dashboard = new Dashboard(await View.open(proxy.url, { height: 3000 }));
  await rig.post([{ message: "the first" }]);
  await dashboard.showsLast("system_log", "the first");

  for (let cut = 0; cut < CUTS; cut++) {
    const flow = sendAround(rig, cut);
    await wait(POSTS * POST_MS * Math.random());
    const { handshakes } = proxy;
    proxy.cut();
    await vi.waitFor(async () => {
      // Who cuts a network in practice gives it back, too: the page does not wait longer then.
      await dashboard.page.evaluate(() => dispatchEvent(new Event("online")));
      expect(proxy.handshakes).toBeGreaterThanOrEqual(handshakes + STREAMS);
    }, WAIT);
    await flow;
  }
  await rig.post([{ message: "the last" }, { message: "the last event", logger: AUDIT }]);
  await dashboard.showsLast("system_log", "the last");
  await dashboard.showsLast("audit_log", "the last event");

  for (const lane of ["system_log", "audit_log"] as const) {
    const stored = await storedSequences(rig, lane);
    expect(stored.length).toBeGreaterThan((CUTS * POSTS * POST_RECORDS) / 5);
    expect(await shownSequences(dashboard, lane)).toEqual(stored);
  }
  // Of the connections that were cut.
  dashboard.forgive(/WebSocket connection|Failed to load resource/);
}, 120_000);

/** Records of both lanes. */
async function sendAround(rig: Rig, cut: number): Promise<void> {
  for (let post = 0; post < POSTS; post++) {
    const next = wait(POST_MS);
    await rig.post(
      Array.from({ length: POST_RECORDS }, (_, at) => ({
        message: `message ${at} of ${post} around ${cut}`,
        ...(at % 4 === 0 && { logger: AUDIT }),
      })),
    );
    await next;
  }
}

async function storedSequences(rig: Rig, lane: Lane): Promise<number[]> {
  const history = new LogHistory({ url: rig.url });
  const sequences: number[] = [];
  let cursor: string | null = null;
  do {
    const query = { filter: { type: lane }, order: "asc", limit: 1000 } as const;
    const page = await history.page(cursor === null ? query : { ...query, cursor });
    expect(page.gaps).toEqual([]);
    sequences.push(...page.entries.map(({ sequence }) => sequence));
    cursor = page.nextCursor;
  } while (cursor !== null);
  return sequences;
}

/** Of all rows of a panel, from the top to the bottom as they stand, gaps as -1; it is scrolled through upwards. */
function shownSequences(dashboard: Dashboard, lane: Lane): Promise<number[]> {
  return dashboard.page.$eval(`[data-lane=${lane}] .log-list`, async (list) => {
    const frame = (): Promise<number> => new Promise((done) => requestAnimationFrame(done));
    /** By the ordinal of the row in the list, which its id ends with. */
    const byOrdinal = new Map<number, number>();
    for (let isAtTop = false; !isAtTop;) {
      isAtTop = list.scrollTop === 0;
      for (let drawn = 0; drawn < 3; drawn++) await frame();
      for (const row of list.querySelectorAll<HTMLElement>(".row")) {
        byOrdinal.set(Number(row.id.split(":")[1]), Number(row.dataset["sequence"] ?? -1));
      }
      list.scrollTop -= list.clientHeight / 2;
    }
    return [...byOrdinal].sort(([one], [other]) => one - other).map(([, sequence]) => sequence);
  });
}
