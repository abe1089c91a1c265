/** Follows docs/deployment/container.md with buildah; without an engine, which test machines cannot run. */

import { chown, copyFile, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { Program, requireInstalled, skipTest } from "../harness/program.ts";
import { cacheDirectory, machineRoot } from "../harness/booted-machine.ts";
import { Workspace } from "../harness/workspace.ts";
import { Document, repositoryPath } from "./document.ts";

const page = await Document.read("docs/deployment/container.md");

const CONTEXT = "examples/container";
const USER_ID = 65_532;

/** Debian's bundle, which may have a certificate authority of this machine's own. */
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt";

/** Copying file systems and installing packages takes most of it. */
const BUILD_TIMEOUT_MS = 400_000;

/** What an engine does on `run`: own namespaces, read-only root, a volume, a tmpfs, the image's user, no new privileges. */
const RUN = `
ip link set lo up
ip address add "$ADDRESS" dev lo
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount --bind "$DATA" "$ROOT/data"
[[ -z "$CONFIG" ]] || mount --bind "$CONFIG" "$ROOT/etc/tailgate/tailgate.yaml"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
exec setpriv --no-new-privs --bounding-set -all,+sys_chroot,+setuid,+setgid chroot --userspec="$USER_IDS" "$ROOT" env -i "$@"
`;

/** The container's address, as another container would reach it. */
const ADDRESS = "10.88.0.2";

interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly StopSignal: string;
  readonly Volumes: Readonly<Record<string, object>>;
  readonly Healthcheck: { readonly Test: readonly string[] };
}

/** The image that the page builds, in a storage that the test deletes. */
class Image {
  readonly #workspace: Workspace;

  private constructor(workspace: Workspace) {
    this.#workspace = workspace;
  }

  static async build(): Promise<Image> {
    await requireInstalled("buildah", "buildah");
    const workspace = await Workspace.create();
    const { directory } = workspace;
    await workspace.write(
      "storage.conf",
      `[storage]\ndriver = "overlay"\ngraphroot = "${directory}/images"\nrunroot = "${directory}/run"\n`,
    );
    const image = new Image(workspace);
    onTestFinished(async () => {
      await image.run("buildah umount --all; buildah rm --all");
      await workspace[Symbol.asyncDispose]();
    });
    const context = workspace.path("context");
    await mkdir(context);
    for (const name of await readdir(repositoryPath(CONTEXT))) {
      await copyFile(repositoryPath(`${CONTEXT}/${name}`), join(context, name));
    }
    await image.#createBase(await machineRoot());
    await image.run(page.example("container-build").replaceAll(CONTEXT, context));
    return image;
  }

  /** Nothing can be pulled here: Debian with this machine's Node.js and npm stands for the base image. */
  async #createBase(root: string): Promise<void> {
    const npm = `$(realpath "$(dirname "$(realpath "$(command -v npm)")")/..")`;
    await this.run(`
container=$(buildah from scratch)
buildah add --quiet $container ${root} /
buildah add --quiet $container ${process.execPath} /usr/local/bin/node
buildah add --quiet $container ${npm} /usr/local/lib/node_modules/npm
ln --symbolic ../lib/node_modules/npm/bin/npm-cli.js $(buildah mount $container)/usr/local/bin/npm
buildah add --quiet $container ${CERTIFICATES} ${CERTIFICATES}
buildah config --env NODE_EXTRA_CA_CERTS=${CERTIFICATES} $container
buildah commit --quiet $container docker.io/library/node:24-bookworm-slim
buildah rm $container`);
  }

  /** Runs a script in the repository, with this storage. */
  run(script: string): Promise<string> {
    const env = {
      CONTAINERS_STORAGE_CONF: this.#workspace.path("storage.conf"),
      BUILDAH_ISOLATION: "chroot",
      npm_config_ignore_scripts: "true",
    };
    return Program.run("bash", ["-ec", script], { cwd: repositoryPath("."), env });
  }

  async config(): Promise<ImageConfig> {
    const text = await this.run("buildah inspect --type image tailgate:0.1.0");
    return (JSON.parse(text) as { Docker: { config: ImageConfig } }).Docker.config;
  }

  async mount(): Promise<string> {
    return (await this.run("buildah mount $(buildah from tailgate:0.1.0)")).trim();
  }
}

class Container {
  readonly program: Program;
  readonly #config: ImageConfig;
  #init = "";

  private constructor(program: Program, config: ImageConfig) {
    this.program = program;
    this.#config = config;
  }

  /** `file`: the configuration to mount over that of the image. */
  static async start(
    root: string,
    data: string,
    config: ImageConfig,
    file = "",
  ): Promise<Container> {
    const args = ["--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-ec", RUN, "run"];
    const command = [...config.Env, ...config.Entrypoint, ...config.Cmd];
    const env = { ROOT: root, DATA: data, USER_IDS: config.User, CONFIG: file, ADDRESS };
    const program = new Program("unshare", [...args, ...command], { cwd: "/", env });
    const container = new Container(program, config);
    onTestFinished(() => container.#kill());
    await program.untilStderr(/listening on .*gRPC/);
    const { pid } = program.process;
    container.#init = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim();
    return container;
  }

  /** Its first process does not end with unshare: it has another user. */
  async #kill(): Promise<void> {
    if (this.#init !== "" && this.program.process.exitCode === null) {
      process.kill(Number(this.#init), "SIGKILL");
    }
    await this.program[Symbol.asyncDispose]();
  }

  /** Runs a command in it, as `podman exec` does. */
  exec(command: readonly string[]): Promise<string> {
    const enter = ["-t", this.#init, "--net", "--mount", "--pid", "--root", "--wdns=/"];
    return Program.run("nsenter", [...enter, "env", "-i", ...this.#config.Env, ...command], {
      cwd: "/",
    });
  }

  /** Resolves with the exit code. */
  stop(): Promise<number | NodeJS.Signals> {
    process.kill(Number(this.#init), this.#config.StopSignal);
    return this.program.ended;
  }
}

test.each([
  ["container-file", "Containerfile"],
  ["config-container", "tailgate.yaml"],
  ["container-sidecar", "sidecar.yaml"],
  ["container-tokens", "gateway.yaml"],
])("%s is an excerpt of %s", async (example, name) => {
  const file = await readFile(repositoryPath(`${CONTEXT}/${name}`), "utf8");
  expect(file).toContain(page.example(example));
});

test(
  "the image runs unprivileged on a read-only root, stops gracefully and keeps its records",
  async () => {
    if (process.getuid?.() !== 0) skipTest("Only root can run containers without an engine.");
    const image = await Image.build();
    const config = await image.config();
    expect(config).toMatchObject({
      User: `${USER_ID}:${USER_ID}`,
      StopSignal: "SIGTERM",
      Volumes: { "/data": {} },
    });
    const root = await image.mount();
    await using volume = await Workspace.create();
    // As Kubernetes prepares a volume with fsGroup.
    await chown(volume.directory, 0, USER_ID);
    await Program.run("chmod", ["2775", volume.directory], { cwd: "/" });

    const first = await Container.start(root, volume.directory, config);
    const [kind, ...check] = config.Healthcheck.Test;
    expect(kind).toBe("CMD");
    await first.exec(check);
    const record = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"Hello from the container"}}]}]}]}`;
    const post = ["curl", "--fail", "--silent", "--json", record, "http://127.0.0.1:4318/v1/logs"];
    expect(await first.exec(post)).toBe("{}");
    // The root is read-only, and the user is not root.
    await expect(first.exec(["touch", "/etc/probe"])).rejects.toThrow("Read-only file system");
    expect(await first.stop()).toBe(0);

    const second = await Container.start(root, volume.directory, config);
    const [, , , ...tail] = page.command("podman exec tailgate tailgate tail").split(" ");
    expect(await second.exec([...tail, "--replay", "1", "--no-follow"])).toContain(
      "Hello from the container",
    );
    expect(await second.stop()).toBe(0);

    await using files = await Workspace.create();
    await files.write("tailgate.yaml", page.example("config-container-published"));
    await Program.run("chmod", ["-R", "a+rX", files.directory], { cwd: "/" });
    const path = files.path("tailgate.yaml");
    const published = await Container.start(root, volume.directory, config, path);
    expect(published.program.stderr).toContain("insecure: true");
    expect(published.program.stderr).toContain(page.command("/data/key/login-link"));
    await published.exec(check);
    const [, , , ...create] = page
      .command(
        "podman exec tailgate tailgate token create --config /etc/tailgate/tailgate.yaml --name ci --scope ingest",
      )
      .split(" ");
    const token = (await published.exec(create)).trim();
    const send = (...headers: string[]): Promise<string> =>
      published.exec([
        ...["curl", "--silent", "--show-error", "--json", record, "--write-out", " %{http_code}"],
        ...headers,
        `http://${ADDRESS}:4318/v1/logs`,
      ]);
    expect(await send()).toMatch(/ 401$/);
    await vi.waitFor(
      async () => expect(await send("-H", `Authorization: Bearer ${token}`)).toBe("{} 200"),
      { timeout: 10_000, interval: 200 },
    );
    expect(await published.stop()).toBe(0);
  },
  BUILD_TIMEOUT_MS,
);

test.each(["sidecar.yaml", "gateway.yaml"])("Kubernetes accepts %s", async (name) => {
  const program = join(cacheDirectory(), "kubernetes-validate-1.37.0/bin/kubernetes-validate");
  await readFile(program).catch((error: unknown) =>
    skipTest("kubernetes-validate is missing: npm run setup:docs", error),
  );
  const manifest = repositoryPath(`${CONTEXT}/${name}`);
  const shown = await Program.run(program, ["--strict", manifest], { cwd: "/" });
  expect(shown).toContain("INFO");
});
