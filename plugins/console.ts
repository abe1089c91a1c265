import { defineExporter, z, type Batch, type Exporter } from "tailgate/plugin";
import { ConsoleText } from "./console/console-text.ts";
import { StandardStream } from "./console/standard-stream.ts";
import { FramedData } from "./system-logs/framed-data.ts";

const options = z.strictObject({
  stream: z.enum(["stderr", "stdout"]).default("stderr").describe("Where the lines go."),
  color: z
    .enum(["auto", "always", "never"])
    .default("auto")
    .describe("Colours of levels; `auto`: on a terminal, unless NO_COLOR is set."),
});

export default defineExporter({
  name: "console",
  description:
    "Shows system logs, with their attributes as `key=value`, as lines for people on standard error.",
  live: true,
  type: "system_log",
  options,
  async open({ stream, color }) {
    const output = await StandardStream.open(stream);
    const isAutoColored = output.isTerminal && !process.env["NO_COLOR"];
    return new Console(output, color === "always" || (color === "auto" && isAutoColored));
  },
});

class Console implements Exporter {
  readonly #output: StandardStream;
  readonly #text: ConsoleText;
  /** The sequence of the newest record whose text the output has. */
  #sequence = 0;

  constructor(output: StandardStream, isColored: boolean) {
    this.#output = output;
    this.#text = new ConsoleText(isColored);
  }

  /** Goes on where an attempt before stopped, in the middle of a line too. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#output.flush(signal);
    this.#text.clear();
    for (const part of batch.parts ?? [batch]) await this.#add(part, signal);
    await this.#show(batch.sequence(batch.length - 1), signal);
  }

  writeSync(batch: Batch): void {
    this.#output.flushSync();
    this.#text.clear();
    for (const part of batch.parts ?? [batch]) {
      const data = new FramedData(part);
      for (let index = 0; index < part.length; index++) {
        data.goTo(index);
        if (part.sequence(index) <= this.#sequence) continue;
        this.#text.add(data.frames, data.start, data.end, part.level(index));
        if (this.#text.isFull) this.#showSync(part.sequence(index));
      }
    }
    this.#showSync(batch.sequence(batch.length - 1));
  }

  #showSync(sequence: number): void {
    this.#sequence = Math.max(sequence, this.#sequence);
    this.#output.writeSync(this.#text.bytes);
    this.#text.clear();
  }

  async #add(batch: Batch, signal: AbortSignal): Promise<void> {
    const data = new FramedData(batch);
    for (let index = 0; index < batch.length; index++) {
      data.goTo(index);
      const sequence = batch.sequence(index);
      if (sequence <= this.#sequence) continue;
      this.#text.add(data.frames, data.start, data.end, batch.level(index));
      if (this.#text.isFull) await this.#show(sequence, signal);
    }
  }

  /** `sequence`: that of the newest record whose lines were gathered. */
  async #show(sequence: number, signal: AbortSignal): Promise<void> {
    this.#sequence = Math.max(sequence, this.#sequence);
    await this.#output.write(this.#text.bytes, signal);
    this.#text.clear();
  }

  async close(): Promise<void> {
    await this.#output.close();
  }
}
