import { defineExporter, z, type Batch, type Exporter } from "tailgate/plugin";
import { consoleLine } from "./console/console-line.ts";
import { StandardStream } from "./console/standard-stream.ts";

const options = z.strictObject({
  stream: z.enum(["stderr", "stdout"]).default("stderr").describe("Stream to write to."),
  color: z
    .enum(["auto", "always", "never"])
    .default("auto")
    .describe("Color the levels; `auto`: if the stream is a terminal and NO_COLOR is not set."),
});

export default defineExporter({
  name: "console",
  description:
    "Prints system logs to standard error as readable lines, with attributes as `key=value`.",
  live: true,
  type: "system_log",
  options,
  async open({ stream, color }) {
    const output = await StandardStream.open(stream);
    const isAutoColored = output.isTerminal && !process.env["NO_COLOR"];
    return new ConsoleExporter(output, color === "always" || (color === "auto" && isAutoColored));
  },
});

/** Lines are written once there are this many characters, so that a large batch does not block the event loop. */
const CHUNK_CHARACTERS = 128 << 10;

class ConsoleExporter implements Exporter {
  readonly #output: StandardStream;
  readonly #isColored: boolean;
  /** The sequence of the newest record that was passed to the output. */
  #sequence = 0;

  constructor(output: StandardStream, isColored: boolean) {
    this.#output = output;
    this.#isColored = isColored;
  }

  /** Resumes where a previous attempt stopped, even within a line. */
  async write(batch: Batch, signal: AbortSignal): Promise<void> {
    await this.#output.flush(signal);
    for (const { text, last } of this.#chunks(batch)) {
      this.#sequence = last;
      await this.#output.write(Buffer.from(text), signal);
    }
  }

  writeSync(batch: Batch): void {
    this.#output.flushSync();
    for (const { text, last } of this.#chunks(batch)) {
      this.#sequence = last;
      this.#output.writeSync(Buffer.from(text));
    }
  }

  /** Yields the lines of the records after `#sequence`; `last` is the sequence of a chunk's last record. */
  *#chunks(batch: Batch): Generator<{ readonly text: string; readonly last: number }> {
    let text = "";
    let last = this.#sequence;
    for (let index = 0; index < batch.length; index++) {
      const sequence = batch.sequence(index);
      if (sequence <= last) continue;
      last = sequence;
      text += consoleLine(batch.envelope(index), this.#isColored);
      if (text.length < CHUNK_CHARACTERS) continue;
      yield { text, last };
      text = "";
    }
    if (text !== "") yield { text, last };
  }

  async close(): Promise<void> {
    await this.#output.close();
  }
}
