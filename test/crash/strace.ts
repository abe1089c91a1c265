import { requireProgram } from "../harness/program.ts";

/** What the journal's files are touched with. */
export type JournalCall = "fsync" | "pwrite64" | "ftruncate";

/**
 * The command that does something to the calls of one kind on the journal's files, and to no others. `what` and
 * `when` are strace's: `signal=SIGKILL`, `error=EIO`; `3`, `5..8`, `4+2`.
 */
export async function meddling(
  logDir: string,
  call: JournalCall,
  what: string,
  when: string,
): Promise<string[]> {
  await requireProgram("strace", "strace");
  const paths = ["journal.db", "journal.db-wal"].flatMap((name) => ["-P", `${logDir}/${name}`]);
  // SQLite syncs with either, as it was built.
  const calls = call === "fsync" ? "fsync,fdatasync" : call;
  const inject = `inject=${calls}:${what}:when=${when}`;
  // With -D the process that is started is the gateway and not strace.
  return ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", ...paths, "-e", inject];
}
