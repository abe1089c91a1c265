/**
 * CPU time of this process so far, that of the kernel for it and of all its threads included, in microseconds. Other
 * than the time on the wall it hardly depends on what else runs on the machine, and garbage collection and thread
 * pools do not hide in it.
 */
export function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
