import type { Config } from "../config/config.ts";
import { ControlSocket } from "../gateway/control-socket.ts";
import { hostLogger, writeToStderr } from "../gateway/host-log.ts";
import type { ReloadCause, ReloadResult } from "../gateway/reloader.ts";
import type { RunningTailgate } from "../gateway/start.ts";
import { ConfigWatch } from "./config-watch.ts";

export interface Control {
  close(): void;
}

/** Opens the control socket, and watches the files of the configuration if it is given its own `watched` file. */
export async function openControl(
  { logDir }: Config,
  reloader: NonNullable<RunningTailgate["reloader"]>,
  watched: string | undefined,
): Promise<Control> {
  const log = hostLogger("tailgate.control", writeToStderr);
  const reload = (cause: ReloadCause): Promise<ReloadResult> => reloader.reload(cause);
  const socket = await ControlSocket.open({ logDir, log, reload });
  const watch =
    watched === undefined
      ? undefined
      : new ConfigWatch({
          files: () => [watched, ...reloader.files],
          changed: async () => void (await reloader.reload({ by: "--watch", isSilent: true })),
        });
  await watch?.ready;
  return {
    close() {
      socket?.close();
      watch?.close();
    },
  };
}
