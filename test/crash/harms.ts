import { copyFile, open, readdir, readFile, rm, stat, truncate } from "node:fs/promises";

/** Returns numbers from 0 up to 1, the same for the same seed (mulberry32). */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SECTOR_BYTES = 512;
const LOG_HEADER_BYTES = 32;

/** Damages the files of a killed journal; returns a description. */
export type Harm = (directory: string, random: Random) => Promise<string>;

/** How many lines at the end of the newest audit file may not have been written before the kill. */
const LATE_LINES = 30;

async function dropLines(directory: string, random: Random): Promise<string> {
  const names = await readdir(`${directory}/audit`);
  const path = `${directory}/audit/${names
    .filter((name) => name.startsWith("audit_"))
    .sort()
    .at(-1)}`;
  const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
  const kept = lines.slice(0, -1 - below(LATE_LINES, random));
  await truncate(path, Buffer.byteLength(kept.map((line) => `${line}\n`).join("")));
  return `${lines.length - kept.length} audit lines not written`;
}

/** Returns all kinds of damage; `olderLog` is an earlier log of the same journal. */
export function harms(olderLog: string): Harm[] {
  const onLog = (harm: FileHarm): Harm => on("journal.db-wal", harm);
  const onDatabase = (harm: FileHarm): Harm => on("journal.db", harm);
  const isOlder: FileHarm = async (path) => {
    await copyFile(olderLog, path);
    return "replaced by an older one";
  };
  return [
    onLog(flipBits),
    onDatabase(flipBits),
    both(onLog(flipBits), dropLines),
    onLog(remove),
    onLog(isOlder),
    both(on("journal.mark", flipBits), onLog(flipBits)),
    both(onLog(flipBits), onDatabase(flipBits)),
    onLog(flipInHeader),
    onLog(zeroSector),
    onDatabase(zeroSector),
    onLog(cut),
    onDatabase(cut),
    onDatabase(remove),
    both(onLog(remove), dropLines),
    both(onDatabase(remove), dropLines),
  ];
}

type FileHarm = (path: string, random: Random) => Promise<string>;

function on(name: string, harm: FileHarm): Harm {
  return async (directory, random) => `${name} ${await harm(`${directory}/${name}`, random)}`;
}

function both(one: Harm, other: Harm): Harm {
  return async (directory, random) =>
    `${await one(directory, random)}, ${await other(directory, random)}`;
}

async function flipBits(path: string, random: Random): Promise<string> {
  const { size } = await stat(path);
  const bits = Array.from({ length: 1 + below(3, random) }, () => below(8 * size, random));
  for (const bit of bits) await flip(path, bit);
  return `with flipped bits ${bits.join(" ")}`;
}

async function flipInHeader(path: string, random: Random): Promise<string> {
  const bit = below(8 * LOG_HEADER_BYTES, random);
  await flip(path, bit);
  return `with flipped bit ${bit}`;
}

async function zeroSector(path: string, random: Random): Promise<string> {
  const { size } = await stat(path);
  const start = SECTOR_BYTES * below(Math.floor(size / SECTOR_BYTES), random);
  await using file = await open(path, "r+");
  await file.write(Buffer.alloc(SECTOR_BYTES), 0, SECTOR_BYTES, start);
  return `with zeros at ${start}`;
}

async function cut(path: string, random: Random): Promise<string> {
  const length = below((await stat(path)).size, random);
  await truncate(path, length);
  return `cut to ${length} bytes`;
}

async function remove(path: string): Promise<string> {
  await rm(path);
  return "removed";
}

async function flip(path: string, bit: number): Promise<void> {
  await using file = await open(path, "r+");
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, bit >> 3);
  buffer[0]! ^= 1 << (bit & 7);
  await file.write(buffer, 0, 1, bit >> 3);
}

function below(limit: number, random: Random): number {
  return Math.floor(random() * limit);
}
