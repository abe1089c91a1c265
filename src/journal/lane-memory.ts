/** Less is not worth to be kept: the allocator has it at hand. */
const KEPT_BYTES_MIN = 64 << 10;
/** More is rare, and would lie idle. */
const KEPT_BYTES_MAX = 4 << 20;

/** A commit has two lanes at most, and mostly one commit is under way. */
const KEPT_PIECES_MAX = 3;

/**
 * Memory that goes to the journal's thread with a commit and comes back with the answer. Taken anew for each commit it
 * would keep the garbage collectors of both threads busy, which count what is let go and not what is in use.
 */
export class LaneMemory {
  #pieces: ArrayBuffer[] = [];

  /** A piece for so many bytes, perhaps the first part of a larger one. What is in it is undefined. */
  take(bytes: number): Buffer<ArrayBuffer> {
    const index = this.#pieces.findIndex((piece) => piece.byteLength >= bytes);
    if (index >= 0) return Buffer.from(this.#pieces.splice(index, 1)[0]!, 0, bytes);
    if (bytes < KEPT_BYTES_MIN) return Buffer.allocUnsafeSlow(bytes);
    // The next commit may be somewhat larger.
    const size = KEPT_BYTES_MIN * Math.ceil((1.25 * bytes) / KEPT_BYTES_MIN);
    return Buffer.from(Buffer.allocUnsafeSlow(size).buffer, 0, bytes);
  }

  /** Takes back what is used no more. The newest pieces are kept: they are of the size that is needed now. */
  give(pieces: readonly ArrayBuffer[]): void {
    const kept = pieces.filter(
      ({ byteLength }) => byteLength >= KEPT_BYTES_MIN && byteLength <= KEPT_BYTES_MAX,
    );
    this.#pieces = [...this.#pieces, ...kept].slice(-KEPT_PIECES_MAX);
  }
}
