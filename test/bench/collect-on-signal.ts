/** Loaded into a process whose memory is measured without garbage: collects it on SIGUSR2. */

declare const gc: () => void;

process.on("SIGUSR2", () => {
  // Objects freed by the first run may have retained other memory.
  gc();
  gc();
});
