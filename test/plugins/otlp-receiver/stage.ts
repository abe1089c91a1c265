import { onTestFinished } from "vitest";
import otlpReceiver from "../../../plugins/otlp-receiver.ts";
import { decodeOtlpProtobuf } from "../../../src/encode/otlp-protobuf.ts";
import type { Ingested, Intake, Receiver } from "../../../src/plugin.ts";
import { testHost, type TestHost } from "../../../src/testing/host.ts";

/** An intake that decodes as the gateway does, counts, and answers what it is told to. */
class Records implements Intake {
  calls = 0;
  received = 0;
  /** What is waited for before an answer is given. */
  gate: Promise<void> | undefined;
  error: unknown;
  rejected = 0;

  async otlpProtobuf(body: Uint8Array): Promise<Ingested> {
    if (this.error !== undefined) throw this.error;
    const records = decodeOtlpProtobuf(body).length;
    this.calls++;
    await this.gate;
    this.received += records;
    const reason = this.rejected > 0 ? "too odd" : "";
    return { accepted: records - this.rejected, rejected: this.rejected, reason };
  }

  otlpJson(): Promise<Ingested> {
    throw new Error("gRPC is protobuf.");
  }

  records(): Promise<Ingested> {
    throw new Error("The OTLP receiver hands over bytes.");
  }
}

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
