import { Program, type ProgramOptions } from "./program.ts";

/** A command of bash in a process group of its own, which a terminal's Ctrl-C would reach. */
export class Pipeline extends Program {
  constructor(command: string, options: ProgramOptions) {
    super("setsid", ["bash", "-c", command], options);
  }

  /** Sends a signal to all its processes. */
  signal(signal: NodeJS.Signals): void {
    process.kill(-this.process.pid!, signal);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.signal("SIGKILL");
    } catch {
      // All have ended.
    }
    await this.ended;
  }
}
