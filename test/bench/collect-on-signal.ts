/** Loaded into a process whose memory is to be measured without its garbage: collects it at SIGUSR2. */

declare const gc: () => void;

process.on("SIGUSR2", () => {
  // What the first one finds dead may have kept other memory.
  gc();
  gc();
});
