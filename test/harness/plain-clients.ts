/** What tests of viewers without the subprotocol share. */

import { expect, vi } from "vitest";
import type { LogRecord } from "tailgate/plugin";
import type { Viewer } from "./websocket.ts";

/** So many numbers as texts. */
export function numbers(from: number, count: number): string[] {
  return Array.from({ length: count }, (_, offset) => `${from + offset}`);
}

export function scope(name: string): LogRecord["scope"] {
  return { name, version: "", attributes: new Map() };
}

export function twice(...messages: string[]): string[] {
  return [...messages, ...messages];
}

/** The numbers before the padding. */
export function firstWords(messages: readonly string[]): string[] {
  return messages.map((message) => message.split(" ")[0]!);
}

/** Resolves when the viewer has that many frames. */
export async function untilReceived(viewer: Viewer, count: number): Promise<void> {
  await vi.waitFor(() => expect(viewer.texts.length).toBeGreaterThanOrEqual(count), 10_000);
}

export const LARGE = "x".repeat(60_000);
