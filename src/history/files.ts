import { join } from "node:path";

export function historyPath(directory: string): string {
  return join(directory, "history.db");
}
