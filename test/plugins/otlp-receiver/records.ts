import { decodeOtlpJson, decodeOtlpProtobuf } from "../../../src/otlp/decode.ts";
import type { Ingested, Intake } from "tailgate/plugin";

/** An intake that decodes as the gateway does, counts, and returns a preset result. */
export class Records implements Intake {
  calls = 0;
  received = 0;
  /** Awaited before a result is returned. */
  gate: Promise<void> | undefined;
  error: unknown;
  rejected = 0;
  /** All bodies received, as they were passed in. */
  readonly bodies: Uint8Array[] = [];

  otlpProtobuf(body: Uint8Array): Promise<Ingested> {
    this.bodies.push(body);
    return this.#take(() => decodeOtlpProtobuf(body).length);
  }

  otlpJson(body: Uint8Array): Promise<Ingested> {
    this.bodies.push(body);
    return this.#take(() => decodeOtlpJson(body).length);
  }

  records(): Promise<Ingested> {
    throw new Error("The OTLP receiver hands over bytes.");
  }

  async #take(count: () => number): Promise<Ingested> {
    if (this.error !== undefined) throw this.error;
    const records = count();
    this.calls++;
    await this.gate;
    this.received += records;
    const reason = this.rejected > 0 ? "too odd" : "";
    return { accepted: records - this.rejected, rejected: this.rejected, reason };
  }
}
