import { expect, test } from "vitest";
import { ClientLimits } from "../../src/auth/limits/client-limits.ts";

const CI = { principal: "token:ci", address: "10.0.0.7" };

function countsOf({ metric }: ClientLimits): Record<string, number> {
  const samples = [...metric.read()].filter(({ value }) => value > 0);
  return Object.fromEntries(samples.map(({ labels, value }) => [labels["limit"], value]));
}

test("without limits nothing is refused or remembered", () => {
  const limits = new ClientLimits({});
  for (let index = 0; index < 100; index++) {
    expect(limits.charge(CI, 1e9)).toBeUndefined();
    expect(limits.begin(CI, "websocket")).toBeUndefined();
  }
  expect([...limits.metric.read()].map(({ value, labels }) => [labels["limit"], value])).toEqual([
    ["principal_connections", 0],
    ["principal_ingest", 0],
    ["address_websockets", 0],
    ["address_ingest", 0],
  ]);
});

test("a principal that sends too much waits as long as it is told, at whatever addresses it is", () => {
  const limits = new ClientLimits({ principalIngestBytesPerSecond: 1_000 });
  expect(limits.charge(CI, 7_500, 0)).toBeUndefined();
  const other = { ...CI, address: "10.0.0.8" };
  expect(limits.charge(other, 0, 1)).toEqual({
    status: 429,
    text: "token:ci sends more than 1000 bytes per second on average (auth.max_ingest_bytes_per_second_per_principal). Retry in 3 s.",
    headers: { "Retry-After": "3" },
  });
  expect(limits.charge({ ...CI, principal: "token:edge" }, 100, 1)).toBeUndefined();
  expect(limits.charge(other, 100, 3_000)).toBeUndefined();
  expect(countsOf(limits)).toEqual({ principal_ingest: 1 });
});

test("an address has a limit of its own, with or without authentication", () => {
  const limits = new ClientLimits({ addressIngestBytesPerSecond: 1_000 });
  const stranger = { principal: undefined, address: "2001:db8::1" };
  expect(limits.charge(stranger, 6_000, 0)).toBeUndefined();
  // The same network.
  const refused = limits.charge({ principal: "token:ci", address: "2001:db8:0:0:ffff::2" }, 0, 1);
  expect(refused?.text).toBe(
    "The address 2001:db8:0:0:ffff::2 sends more than 1000 bytes per second on average (http.max_ingest_bytes_per_second_per_address). Retry in 1 s.",
  );
  expect(limits.charge({ ...stranger, address: undefined }, 1e9, 1)).toBeUndefined();
  expect(countsOf(limits)).toEqual({ address_ingest: 1 });
});

test("what is refused is not charged: whoever retries too early does not wait longer", () => {
  const limits = new ClientLimits({
    principalIngestBytesPerSecond: 1_000,
    addressIngestBytesPerSecond: 500,
  });
  limits.charge(CI, 3_000, 0);
  for (let nowMs = 0; nowMs < 1_000; nowMs += 10) {
    expect(limits.charge(CI, 5_000, nowMs)?.headers).toEqual({ "Retry-After": "1" });
  }
  expect(limits.charge(CI, 5_000, 1_000)).toBeUndefined();
});

test("connections of a principal and WebSockets of an address are counted until they end", () => {
  const limits = new ClientLimits({ principalConnectionsMax: 2, addressWebSocketsMax: 1 });
  expect(limits.begin(CI, "request")).toBeUndefined();
  expect(limits.begin(CI, "websocket")).toBeUndefined();
  expect(limits.begin(CI, "request")?.text).toBe(
    "All 2 connections of token:ci are in use (auth.max_connections_per_principal). Retry in 5 s.",
  );
  const neighbor = { ...CI, principal: "token:edge" };
  expect(limits.begin(neighbor, "websocket")?.text).toBe(
    "All 1 WebSockets of the address 10.0.0.7 are in use (http.max_websockets_per_address). Retry in 5 s.",
  );
  expect(limits.begin(neighbor, "request")).toBeUndefined();
  limits.end(CI, "websocket");
  expect(limits.begin(neighbor, "websocket")).toBeUndefined();
  expect(limits.begin(CI, "request")).toBeUndefined();
  expect(countsOf(limits)).toEqual({ principal_connections: 1, address_websockets: 1 });
});
