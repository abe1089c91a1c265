import { requireProgram } from "../harness/program.ts";

/** The system calls that touch the journal's files. */
export type JournalCall = "fsync" | "pwrite64" | "ftruncate";

/**
 * Returns a command that injects faults into the calls of one kind on the journal's files only.
 * `what` and `when` are in strace's syntax: `signal=SIGKILL`, `error=EIO`; `3`, `5..8`, `4+2`.
 */
export async function withFault(
  logDir: string,
  call: JournalCall,
  what: string,
  when: string,
): Promise<string[]> {
  await requireProgram("strace", "strace");
  const paths = ["journal.db", "journal.db-wal"].flatMap((name) => ["-P", `${logDir}/${name}`]);
  // SQLite syncs with either, depending on its build.
  const calls = call === "fsync" ? "fsync,fdatasync" : call;
  const inject = `inject=${calls}:${what}:when=${when}`;
  // With -D, the process started is the gateway and not strace.
  return ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", ...paths, "-e", inject];
}
