import { expect, vi } from "vitest";

interface JaegerTrace {
  readonly traceID: string;
  readonly spans: readonly { readonly operationName: string; readonly duration: number }[];
}

/** The traces of a service, by the query API at this URL; resolves when there is one. */
export async function foundInJaeger(url: string, service: string): Promise<JaegerTrace[]> {
  const ask = async (): Promise<JaegerTrace[]> => {
    const response = await fetch(`${url}/api/traces?service=${service}`);
    const { data } = (await response.json()) as { data: JaegerTrace[] | null };
    expect(data?.length).toBeGreaterThan(0);
    return data!;
  };
  return vi.waitFor(ask, { timeout: 30_000, interval: 100 });
}
