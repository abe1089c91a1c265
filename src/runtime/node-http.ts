/**
 * Node's module for HTTP, not imported: as an ES module it would load the classes of `fetch`, too, as each of its
 * exports is read then (20 ms and 4 MB of every start).
 */
export const { createServer, maxHeaderSize, Server, STATUS_CODES } =
  process.getBuiltinModule("node:http");
