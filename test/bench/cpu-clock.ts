/**
 * Returns the CPU time of this process so far, including the kernel and all threads, in microseconds. Unlike wall time
 * it hardly depends on other load on the machine, and it includes garbage collection and thread pools.
 */
export function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
