import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A user's directory with its files, removed at the end of its scope. */
export class Workspace implements AsyncDisposable {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(files: Readonly<Record<string, string>> = {}): Promise<Workspace> {
    const workspace = new Workspace(await realpath(await mkdtemp(join(tmpdir(), "tailgate-"))));
    for (const [path, text] of Object.entries(files)) await workspace.write(path, text);
    return workspace;
  }

  path(path: string): string {
    return join(this.directory, path);
  }

  async write(path: string, text: string | Uint8Array): Promise<void> {
    await mkdir(dirname(this.path(path)), { recursive: true });
    await writeFile(this.path(path), text);
  }

  /** Installs this repository, as it was built, or one of its dependencies. */
  async install(name: string): Promise<void> {
    await mkdir(this.path("node_modules"), { recursive: true });
    const target = name === "tailgate" ? ROOT : join(ROOT, "node_modules", name);
    await symlink(target, this.path(`node_modules/${name}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A directory of its own, deleted by the clean-up that it adds. */
export async function temporaryDirectory(
  cleanUps: (() => Promise<unknown> | void)[],
): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "tailgate-test-"));
  cleanUps.push(() => rm(path, { recursive: true, force: true }));
  return path;
}
