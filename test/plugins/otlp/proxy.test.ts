import { beforeEach, afterEach, describe, expect, test, vi } from "vitest";
import { findProxy } from "../../../plugins/http-client/proxy.ts";
import spans from "../../../plugins/spans.ts";
import { ForwardProxy } from "./forward-proxy.ts";
import { auditEvent } from "../spans/events.ts";
import { TracePeer } from "../spans/trace-peer.ts";
import { Peer } from "./peer.ts";
import { Sending } from "./sending.ts";

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^OTEL_|_proxy$/i.test(name)) vi.stubEnv(name, undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

function proxyOf(target: string, env: Record<string, string>): string | undefined {
  const proxy = findProxy(new URL(target), env);
  return proxy && `${proxy.value.href} ${proxy.source}`;
}

describe("through a proxy", () => {
  test("sends records and spans, with the proxy's password", async () => {
    await using peer = await Peer.open();
    await using proxy = await ForwardProxy.open();
    vi.stubEnv("HTTP_PROXY", ` ${proxy.url.replace("//", "//me:secret@")} `);
    {
      await using sending = await Sending.open({ endpoint: peer.url });
      await sending.send("a");
      await sending.send("b");
      expect(peer.messages).toEqual(["a", "b"]);
      const target = `POST ${peer.url}/v1/logs`;
      expect(proxy.targets).toEqual([target, target]);
    }
    const basic = `Basic ${Buffer.from("me:secret").toString("base64")}`;
    expect(proxy.authorizations).toEqual([basic, basic]);
    expect(peer.received[0]!.headers).not.toHaveProperty("proxy-authorization");
    await using traces = await TracePeer.open();
    await using sending = await Sending.open({ endpoint: traces.url }, { definition: spans });
    await sending.log(
      auditEvent(0, "instance_spawn", "a"),
      auditEvent(1, "instance_terminate", "a"),
    );
    await sending.delivery.drain(new AbortController().signal);
    expect(proxy.targets[2]).toBe(`POST ${traces.url}/v1/traces`);
    expect(traces.received).toHaveLength(1);
  });

  test("handles a response from the proxy itself without showing its password", async () => {
    await using proxy = await ForwardProxy.open();
    vi.stubEnv("http_proxy", proxy.url.replace("//", "//me:secret@"));
    await using sending = await Sending.open({ endpoint: "http://collector.invalid:4318" });
    await sending.log({ body: "a" });
    expect(await sending.lastError()).toContain(
      "http://collector.invalid:4318/v1/logs responded with 502",
    );
    expect(sending.host.lines.join()).not.toContain("secret");
  });

  test("NO_PROXY excludes a destination, including loopback", async () => {
    await using peer = await Peer.open();
    await using proxy = await ForwardProxy.open();
    vi.stubEnv("HTTP_PROXY", proxy.url);
    vi.stubEnv("NO_PROXY", "example.com, 127.0.0.0/8");
    await using sending = await Sending.open({ endpoint: peer.url });
    await sending.send("a");
    expect([peer.messages, proxy.targets]).toEqual([["a"], []]);
  });
});

describe("proxy selection", () => {
  const HTTP_PROXY = "http://one:1";
  const HTTPS_PROXY = "http://two:2";

  test("uses the destination's scheme, then ALL_PROXY, lower case before upper case", () => {
    const env = { HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: "http://three:3" };
    expect(proxyOf("http://a", env)).toBe("http://one:1/ HTTP_PROXY");
    expect(proxyOf("https://a", env)).toBe("http://two:2/ HTTPS_PROXY");
    expect(proxyOf("https://a", { ...env, https_proxy: "https://four" })).toBe(
      "https://four/ https_proxy",
    );
    expect(proxyOf("https://a", { ...env, HTTPS_PROXY: " " })).toBe("http://three:3/ ALL_PROXY");
    expect(proxyOf("https://a", { HTTP_PROXY })).toBe(undefined);
    expect(proxyOf("http://a", { http_proxy: "proxy:3128" })).toBe("http://proxy:3128/ http_proxy");
  });

  test.each([
    ["http://a.example.com", "example.com", true],
    ["http://example.com", ".example.com", true],
    ["http://a.example.com", "*.Example.com", true],
    ["http://anexample.com", "example.com", false],
    ["http://example.com.", "other, example.com", true],
    ["http://example.com", "example.com:80", true],
    ["http://example.com:4318", "example.com:80", false],
    ["http://example.com:4318", "x example.com:4318", true],
    ["http://anything", "*", true],
    ["http://127.0.0.1:4318", "localhost", false],
    ["http://localhost:4318", "localhost,127.0.0.1", true],
    ["http://10.1.2.3", "10.0.0.0/8", true],
    ["http://11.1.2.3", "10.0.0.0/8", false],
    ["http://10.1.2.3", "10.0.0.0/99", false],
    ["http://10.1.2.3", "10.1.2.3:80", true],
    ["http://[::1]:4318", "::1", true],
    ["http://[::1]:4318", "[::1]:4318", true],
    ["http://[fd00::1]", "fd00::/8", true],
    ["http://10.1.2.3", "0.1.2.3", false],
    ["http://example.com", "", false],
    ["http://example.com", ".", false],
  ])("for %s with NO_PROXY=%s: direct is %s", (target, noProxy, isDirect) => {
    const env = { HTTP_PROXY, NO_PROXY: noProxy };
    expect(proxyOf(target, env) === undefined).toBe(isDirect);
  });

  test.each(["http://", "socks5://me:secret@proxy:1080", "http://me:sec ret@[x", "://secret"])(
    "%s is rejected, and not shown",
    (value) => {
      const name = "HTTP_PROXY is not the URL of an HTTP proxy such as http://127.0.0.1:3128";
      const refused = (): unknown => proxyOf("http://a.example", { HTTP_PROXY: value });
      expect(refused).toThrow(name);
      expect(refused).not.toThrow("sec");
      expect(proxyOf("http://a.example", { HTTP_PROXY: value, NO_PROXY: "a.example" })).toBe(
        undefined,
      );
    },
  );
});
