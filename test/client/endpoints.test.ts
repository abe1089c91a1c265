import { expect, onTestFinished, test, vi } from "vitest";
import { parseGatewayUrl } from "../../src/client/endpoints.ts";

test.each([
  ["http://127.0.0.1:8001", "ws://127.0.0.1:8001", ""],
  ["https://example.com/tailgate", "wss://example.com", "/tailgate"],
  ["https://example.com/tailgate/", "wss://example.com", "/tailgate"],
  ["https://example.com/a/b/ws/logs", "wss://example.com", "/a/b"],
  ["wss://example.com/tailgate/", "wss://example.com", "/tailgate"],
  ["wss://example.com/tailgate/ws/logs", "wss://example.com", "/tailgate"],
])("%s is a gateway at %s%s", (url, origin, prefix) => {
  const { socket, probe, history } = parseGatewayUrl(url);
  const http = origin.replace("ws", "http");
  expect(socket.href).toBe(`${origin}${prefix}/ws/logs`);
  expect(probe.href).toBe(`${http}${prefix}/ws/logs`);
  expect(history.href).toBe(`${http}${prefix}/api/logs`);
});

test("a ws URL with another path is the WebSocket of a gateway without a prefix", () => {
  const { socket, history } = parseGatewayUrl("ws://127.0.0.1:8001/live");
  expect(socket.href).toBe("ws://127.0.0.1:8001/live");
  expect(history.href).toBe("http://127.0.0.1:8001/api/logs");
});

test("a page under a path prefix finds its gateway with ./", () => {
  vi.stubGlobal("location", { href: "https://example.com/tailgate/?q=level:ERROR#epoch=1" });
  onTestFinished(() => void vi.unstubAllGlobals());
  expect(parseGatewayUrl("./").socket.href).toBe("wss://example.com/tailgate/ws/logs");
});
