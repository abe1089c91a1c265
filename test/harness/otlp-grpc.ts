import { onTestFinished } from "vitest";
import otlpReceiver from "../../plugins/otlp-receiver.ts";
import type { Receiver } from "tailgate/plugin";
import { testHost, type TestHost } from "tailgate/testing";
import { Records } from "../plugins/otlp-receiver/records.ts";

export interface Opened {
  readonly host: TestHost;
  readonly intake: Records;
  readonly receiver: Receiver;
  /** `http://127.0.0.1:PORT` of the gRPC port. */
  readonly url: string;
}

/** The receiver with gRPC on a free port, until the end of the test. */
export async function open(given: object = {}): Promise<Opened> {
  const host = await testHost("otlp");
  onTestFinished(() => host.close());
  const intake = new Records();
  const options = otlpReceiver.options.parse({ port: null, grpc_port: 0, ...given });
  const receiver = await otlpReceiver.open(options, Object.assign(host, { intake }));
  onTestFinished(() => receiver.close?.(AbortSignal.timeout(1000)));
  const line = host.lines.find((text) => text.endsWith(" (OTLP/gRPC)"));
  return { host, intake, receiver, url: line?.replace(" (OTLP/gRPC)", "") ?? "" };
}
