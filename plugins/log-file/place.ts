import { LEVELS, z } from "tailgate/plugin";

/**
 * A place in a file and in the journal: before `offset` are the lines of all records up to `sequence`, behind it those
 * that follow from `level` on. What lies before it is on the disk.
 */
const place = z.object({
  device: z.number(),
  inode: z.number(),
  offset: z.number(),
  sequence: z.number(),
  level: z.enum(LEVELS),
  /** Whether the file ends there, and is to be deleted next. */
  isEnd: z.boolean(),
});

export type Place = z.infer<typeof place>;

export function textOfPlace(given: Place): string {
  return JSON.stringify(given);
}

/** Undefined where the text tells no place. */
export function placeOf(text: string): Place | undefined {
  try {
    return place.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
