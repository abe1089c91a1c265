import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { Program, requireInstalled, skipAnywhere, skipTest } from "./program.ts";

const BOOT_TIMEOUT_MS = 60_000;

/** As that of root after a login. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * A Debian machine that runs systemd, booted by systemd-nspawn. It has its own network with nothing but loopback, and what
 * is written to it is discarded at the end of its scope.
 */
export class BootedMachine implements AsyncDisposable {
  readonly #container: Program;
  #init = "";

  private constructor(container: Program) {
    this.#container = container;
  }

  /** `mounts`: directories of this machine by their path in the other one, where they are read-only. */
  static async boot(mounts: Readonly<Record<string, string>>): Promise<BootedMachine> {
    const root = await machineRoot();
    const args = [
      ...["--register=no", "--keep-unit", `--machine=tailgate-${randomUUID()}`],
      ...["-D", root, "--volatile=overlay", "--private-network", "--console=pipe", "--boot"],
      ...Object.entries(mounts).map(([at, from]) => `--bind-ro=${from}:${at}`),
    ];
    const machine = new BootedMachine(new Program("systemd-nspawn", args, { cwd: "/" }));
    try {
      await machine.#untilRunning();
      return machine;
    } catch (error) {
      const { stdout, stderr } = machine.#container;
      await machine[Symbol.asyncDispose]();
      // Not a missing program: nothing that CI could install would help.
      return skipAnywhere(
        `systemd-nspawn cannot boot Debian on this machine: ${String(error)}\n${stdout}${stderr}`,
      );
    }
  }

  async #untilRunning(): Promise<void> {
    const { pid } = this.#container.process;
    const find = async (): Promise<void> => {
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
      this.#init = children.trim();
      if (this.#init === "") throw new Error("systemd-nspawn has not started systemd yet.");
      await this.run("systemctl is-system-running --wait");
    };
    await vi.waitFor(find, { timeout: BOOT_TIMEOUT_MS, interval: 100 });
  }

  /** Runs a script as root, which must succeed; returns what it writes to stdout. */
  run(script: string): Promise<string> {
    const enter = [
      "-t",
      this.#init,
      "-a",
      "env",
      "-i",
      `PATH=${PATH}`,
      "HOME=/root",
      "LANG=C.UTF-8",
    ];
    return Program.run("nsenter", [...enter, "bash", "-ec", script], { cwd: "/" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The end of its init ends all of its processes, and then systemd-nspawn.
    if (this.#init !== "") process.kill(Number(this.#init), "SIGKILL");
    else this.#container.process.kill("SIGKILL");
    await this.#container.ended;
  }
}

/** Where the scripts in test/setup-docs put what they build. */
export function cacheDirectory(): string {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return process.env["TAILGATE_CACHE"] || join(cache, "tailgate");
}

/** Returns the Debian root file system of test/setup-docs/systemd.sh; skips the running test without it. */
export async function machineRoot(): Promise<string> {
  if (process.getuid?.() !== 0) skipTest("Only root can boot a machine with systemd-nspawn.");
  await requireInstalled("systemd-nspawn", "systemd-container");
  const root = join(cacheDirectory(), "debian-machine-1");
  if (existsSync(root)) return root;
  return skipTest("The file system that systemd-nspawn boots is missing: npm run setup:docs");
}
