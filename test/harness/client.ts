import { expect, vi } from "vitest";
import type { EnvelopeType } from "tailgate";

const TIMEOUT_MS = 15_000;

/** What a client knows of a message before it has looked. */
export interface Envelope {
  readonly type: EnvelopeType;
  readonly data: {
    readonly timestamp: string;
    readonly level: string;
    readonly logger: string;
    readonly message: string;
    readonly [name: string]: unknown;
  };
}

/** A browser's WebSocket that collects what it receives. */
export interface Collected {
  readonly received: readonly Envelope[];
  /** Waits for that many envelopes in total, and returns exactly those. */
  receive(count: number): Promise<readonly Envelope[]>;
  /** Waits for a matching envelope, and returns those before it. */
  receiveUntil(isLast: (envelope: Envelope) => boolean): Promise<readonly Envelope[]>;
  close(): void;
}

/** Connects, as a dashboard does. */
export async function collect(url: string): Promise<Collected> {
  const received: Envelope[] = [];
  const socket = new WebSocket(url);
  socket.addEventListener("message", ({ data }) => {
    received.push(JSON.parse(data as string) as Envelope);
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error(`No connection to ${url}`)));
  });
  return {
    received,
    receive: async (count) => {
      await vi.waitFor(() => expect(received.length).toBeGreaterThanOrEqual(count), TIMEOUT_MS);
      expect(received).toHaveLength(count);
      return received;
    },
    receiveUntil: async (isLast) => {
      await vi.waitFor(() => expect(received.some(isLast)).toBe(true), TIMEOUT_MS);
      return received.slice(0, received.findIndex(isLast));
    },
    close: () => socket.close(),
  };
}
