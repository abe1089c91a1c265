import { setTimeout as wait } from "node:timers/promises";
import { LogHistory } from "tailgate/client";
import { expect, test, vi } from "vitest";
import { Proxy } from "../client/proxy.ts";
import { View } from "./browser.ts";
import { AUDIT, Dashboard, DashboardGateway, type PanelType } from "../harness/dashboard.ts";
import { shownSequences } from "./shown-sequences.ts";

const CUTS = 20;

/** One per panel. */
const STREAMS = 2;

/** The records around each disconnect, sent as fast as possible. Those of all disconnects fit into a panel. */
const POSTS = 5;
const POST_RECORDS = 100;

/** About the duration of a post. */
const POST_MS = 10;

const WAIT = { timeout: 15_000, interval: 20 };

test(`${CUTS} disconnects while records arrive lose and duplicate nothing`, async () => {
  await using gateway = await DashboardGateway.start('allowed_hosts: ["127.0.0.1"]');
  await using proxy = await Proxy.start(Number(new URL(gateway.url).port));
  // A tall window shows many rows at once, which are read faster.
  await using dashboard = new Dashboard(await View.open(proxy.url, { height: 3000 }));
  await gateway.post([{ message: "the first" }]);
  await dashboard.showsLast("system_log", "the first");

  for (let cut = 0; cut < CUTS; cut++) {
    const { handshakes } = proxy;
    await sendAround(gateway, cut, () => proxy.cut());
    await vi.waitFor(async () => {
      // A network that comes back triggers an online event, so that the page does not wait longer.
      await dashboard.page.evaluate(() => dispatchEvent(new Event("online")));
      expect(proxy.handshakes).toBeGreaterThanOrEqual(handshakes + STREAMS);
    }, WAIT);
  }
  await gateway.post([{ message: "the last" }, { message: "the last event", logger: AUDIT }]);
  await dashboard.showsLast("system_log", "the last");
  await dashboard.showsLast("audit_log", "the last event");

  for (const type of ["system_log", "audit_log"] as const) {
    const stored = await storedSequences(gateway, type);
    expect(stored.length).toBeGreaterThan((CUTS * POSTS * POST_RECORDS) / 5);
    expect(await shownSequences(dashboard.page, type)).toEqual(stored);
  }
  // Caused by the closed connections.
  dashboard.ignoreComplaint(/WebSocket connection|Failed to load resource/);
}, 120_000);

/** Records of both types, and a disconnect at a random time among them. */
async function sendAround(gateway: DashboardGateway, name: number, cut: () => void): Promise<void> {
  const cutAt = Math.floor(POSTS * Math.random());
  for (let post = 0; post < POSTS; post++) {
    const stored = gateway.post(
      Array.from({ length: POST_RECORDS }, (_, at) => ({
        message: `message ${at} of ${post} around ${name}`,
        ...(at % 4 === 0 && { logger: AUDIT }),
      })),
    );
    if (post === cutAt) await wait(POST_MS * Math.random()).then(cut);
    await stored;
  }
}

async function storedSequences(gateway: DashboardGateway, type: PanelType): Promise<number[]> {
  const history = new LogHistory({ url: gateway.url });
  const sequences: number[] = [];
  let cursor: string | null = null;
  do {
    const query = { filter: { type }, order: "asc", limit: 1000 } as const;
    const page = await history.page(cursor === null ? query : { ...query, cursor });
    expect(page.gaps).toEqual([]);
    sequences.push(...page.entries.map(({ sequence }) => sequence));
    cursor = page.nextCursor;
  } while (cursor !== null);
  return sequences;
}
