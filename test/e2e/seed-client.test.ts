/**
 * The clients of the system before Tailgate: the snippet of the seed's log-streaming.md, and a client that behaves like
 * its React hook. Neither knows that the gateway is a different one.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { LoggingManager, type LoggingOptions } from "tailgate";

async function startManager(options: LoggingOptions = {}): Promise<LoggingManager> {
  const logDir = await mkdtemp(join(tmpdir(), "tailgate-seed-"));
  const manager = await LoggingManager.start({
    port: 0,
    logDir,
    logLevel: "DEBUG",
    exporters: { websocket: {} },
    write: () => {},
    ...options,
  });
  onTestFinished(async () => {
    await manager.stop();
    await rm(logDir, { recursive: true, force: true });
  });
  return manager;
}

function portOf(manager: LoggingManager): number {
  return Number(new URL(manager.url).port);
}

type Data = Record<string, unknown>;

describe("the snippet of log-streaming.md", () => {
  test("gets system and audit logs, distinguished by type", async () => {
    const manager = await startManager();
    const systemLogs: Data[] = [];
    const auditLogs: Data[] = [];
    const addSystemLog = (data: Data): void => void systemLogs.push(data);
    const addAuditLog = (data: Data): void => void auditLogs.push(data);

    const ws = new WebSocket(`ws://localhost:${portOf(manager)}/ws/logs`);

    // oxlint-disable unicorn/prefer-add-event-listener, typescript/no-unsafe-member-access -- as the seed has it
    ws.onmessage = (event) => {
      const message = JSON.parse(event.data);

      switch (message.type) {
        case "system_log":
          // Handle system log
          addSystemLog(message.data);
          break;

        case "audit_log":
          // Handle audit log
          addAuditLog(message.data);
          break;
      }
    };
    // oxlint-enable unicorn/prefer-add-event-listener, typescript/no-unsafe-member-access

    onTestFinished(() => ws.close());
    await new Promise((resolve) => ws.addEventListener("open", resolve));
    const logger = manager.getLogger("orchestrator.instance_manager");
    logger.info("Instance spawned successfully", { instance_id: "abc123" });
    manager.logAuditEvent({
      eventType: "instance_spawn",
      instanceId: "97847539",
      details: { role: "general", model: null },
    });
    logger.warning("High memory usage detected", { memory_mb: 512 });

    await vi.waitFor(() => expect(systemLogs.length + auditLogs.length).toBe(3));
    expect(systemLogs).toMatchObject([
      {
        level: "INFO",
        logger: "orchestrator.instance_manager",
        message: "Instance spawned successfully",
        instance_id: "abc123",
      },
      {
        level: "WARNING",
        message: "High memory usage detected",
        module: "seed-client.test",
        memory_mb: 512,
      },
    ]);
    expect(auditLogs).toEqual([
      {
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
        level: "INFO",
        logger: "orchestrator.audit",
        message: "instance_spawn",
        action: "instance_spawn",
        metadata: { instance_id: "97847539", details: { role: "general", model: null } },
      },
    ]);
  });
});

interface SystemRow {
  id: string;
  timestamp: string;
  level: string;
  logger: string;
  message: string;
  module: string;
  function: string;
  line: number;
}

interface AuditRow {
  id: string;
  timestamp: string;
  level: string;
  logger: string;
  message: string;
  action?: string;
  metadata?: Record<string, unknown>;
}

const LEVELS = new Set(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]);
const RECONNECT_DELAY_MS = 3000;
const RECONNECT_DELAY_MS_MAX = 30_000;

/** What original.md lists under "What the browser client relies on", without React. */
class DualPanelClient {
  systemLogs: SystemRow[] = [];
  auditLogs: AuditRow[] = [];
  /** Messages that the hook would have dropped silently. */
  readonly malformed: unknown[] = [];
  readonly delaysMs: number[] = [];
  status = "disconnected";
  readonly #url: string;
  readonly #wait: (delayMs: number) => Promise<void>;
  #socket: WebSocket | undefined;
  #delayMs = RECONNECT_DELAY_MS;
  #mounted = true;

  constructor(url: string, wait: (delayMs: number) => Promise<void> = async () => {}) {
    this.#url = url;
    this.#wait = wait;
    this.#connect();
  }

  #connect(): void {
    if (!this.#mounted) return;
    this.status = "connecting";
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.status = "connected";
      this.#delayMs = RECONNECT_DELAY_MS;
    });
    socket.addEventListener("message", (event) => this.#receive(event.data as string));
    socket.addEventListener("close", () => void this.#reconnect());
  }

  #receive(text: string): void {
    try {
      const message = JSON.parse(text) as { type: string; data: never };
      const id = `${Date.now()}-${Math.random().toString(36).slice(2, 11)}`;
      switch (message.type) {
        case "system_log":
          this.systemLogs = [
            { id: `sys-${id}`, ...(message.data as Omit<SystemRow, "id">) },
            ...this.systemLogs,
          ];
          break;
        case "audit_log":
          this.auditLogs = [
            { id: `audit-${id}`, ...(message.data as Omit<AuditRow, "id">) },
            ...this.auditLogs,
          ];
          break;
        default:
          break;
      }
    } catch {
      this.malformed.push(text);
    }
  }

  async #reconnect(): Promise<void> {
    if (!this.#mounted) return;
    this.status = "disconnected";
    const delayMs = this.#delayMs;
    this.delaysMs.push(delayMs);
    this.#delayMs = Math.min(delayMs * 1.5, RECONNECT_DELAY_MS_MAX);
    await this.#wait(delayMs);
    this.#connect();
  }

  /** The system log panel: filtered by level, then searched in four fields. */
  searchSystem(text: string): SystemRow[] {
    const query = text.toLowerCase();
    return this.systemLogs.filter(
      (log) =>
        LEVELS.has(log.level) &&
        (log.message.toLowerCase().includes(query) ||
          log.logger.toLowerCase().includes(query) ||
          log.module.toLowerCase().includes(query) ||
          log.function.toLowerCase().includes(query)),
    );
  }

  searchAudit(text: string): AuditRow[] {
    const query = text.toLowerCase();
    return this.auditLogs.filter(
      (log) =>
        LEVELS.has(log.level) &&
        (log.message.toLowerCase().includes(query) ||
          (log.action ?? "").toLowerCase().includes(query)),
    );
  }

  unmount(): void {
    this.#mounted = false;
    this.#socket?.close();
  }
}

async function connected(client: DualPanelClient): Promise<void> {
  onTestFinished(() => client.unmount());
  await vi.waitFor(() => expect(client.status).toBe("connected"));
}

describe("a client that behaves like the React hook", () => {
  test("shows all kinds of records, newest first", async () => {
    const manager = await startManager();
    const client = new DualPanelClient(`ws://localhost:${portOf(manager)}/ws/logs`);
    await connected(client);
    const logger = manager.getLogger("orchestrator.server");
    const strange: unknown[] = [
      Number.NaN,
      Infinity,
      10n ** 30n,
      undefined,
      "\ud800",
      new Map([["a", 1]]),
      () => {},
    ];
    for (const level of ["debug", "info", "warning", "error", "critical"] as const) {
      logger[level](`Message at ${level}`, {
        id: "same",
        type: "forged",
        level: "TRACE",
        function: null,
        strange,
      });
    }
    manager.logAuditEvent({ eventType: "state_change", instanceId: "i", details: { strange } });
    manager.logAuditEvent({ eventType: "error", id: "same" });

    await vi.waitFor(() => expect(client.systemLogs.length + client.auditLogs.length).toBe(7));
    expect(client.malformed).toEqual([]);
    const shown = client.searchSystem("MESSAGE AT");
    expect(shown.map(({ level }) => level)).toEqual([
      "CRITICAL",
      "ERROR",
      "WARNING",
      "INFO",
      "DEBUG",
    ]);
    expect(client.searchAudit("").map(({ action }) => action)).toEqual(["error", "state_change"]);
    const rows = [...shown, ...client.auditLogs];
    expect(new Set(rows.map(({ id }) => id)).size).toBe(7);
    expect(rows.filter(({ timestamp }) => Number.isNaN(new Date(timestamp).getTime()))).toEqual([]);
  });

  test("reconnects after a restart, and gets every record once", async () => {
    const first = await startManager();
    const port = portOf(first);
    let restarted = Promise.resolve();
    const client = new DualPanelClient(`ws://localhost:${port}/ws/logs`, () => restarted);
    await connected(client);
    first.getLogger("orchestrator.server").info("before");
    await vi.waitFor(() => expect(client.systemLogs).toHaveLength(1));

    const { promise, resolve } = Promise.withResolvers<void>();
    restarted = promise;
    await first.stop();
    await vi.waitFor(() => expect(client.status).toBe("disconnected"));
    const second = await startManager({ port });
    resolve();
    await connected(client);
    second.getLogger("orchestrator.server").info("after");
    await vi.waitFor(() => expect(client.systemLogs).toHaveLength(2));
    expect(client.systemLogs.map(({ message }) => message)).toEqual(["after", "before"]);
    expect(client.delaysMs).toEqual([3000]);
  });

  test("is rejected beyond the maximum, retries with backoff, and connects once there is capacity", async () => {
    const manager = await startManager({ exporters: { websocket: { max_connections: 1 } } });
    const url = `ws://localhost:${portOf(manager)}/ws/logs`;
    const first = new DualPanelClient(url);
    await connected(first);
    const { promise: room, resolve } = Promise.withResolvers<void>();
    const second: DualPanelClient = new DualPanelClient(url, async () => {
      if (second.delaysMs.length === 8) await room;
    });
    await vi.waitFor(() => expect(second.delaysMs).toHaveLength(8));
    first.unmount();
    resolve();
    await connected(second);
    expect(second.delaysMs.slice(0, 8)).toEqual([
      3000, 4500, 6750, 10_125, 15_187.5, 22_781.25, 30_000, 30_000,
    ]);
    manager.getLogger("orchestrator.server").error("hello");
    await vi.waitFor(() => expect(second.searchSystem("hello")).toHaveLength(1));
  });
});
