import { once } from "node:events";
import { connect } from "node:net";

/** The system's limit for the path of a socket, without the final NUL (unix(7)). */
export const SOCKET_PATH_BYTES_MAX = process.platform === "linux" ? 107 : 103;

/** Returns whether a program listens on the socket; false for one that was left behind, and if there is none. */
export async function hasListener(path: string): Promise<boolean> {
  const client = connect({ path });
  try {
    await once(client, "connect");
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ECONNREFUSED") return false;
    throw error;
  } finally {
    client.destroy();
  }
}
