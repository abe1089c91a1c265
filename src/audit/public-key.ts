import { createHash, createPublicKey, verify, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { TailgateError, textOf } from "../wire/errors.ts";
import { signedText, type Checkpoint } from "./checkpoint.ts";

const ID_DIGITS = 16;

/** The key that checks checkpoints. */
export class PublicKey {
  /** The first 16 hex digits of SHA-256 over the key in DER (SPKI). */
  readonly id: string;
  readonly #key: KeyObject;

  constructor(key: KeyObject) {
    this.#key = key;
    const der = key.export({ type: "spki", format: "der" });
    this.id = createHash("sha256").update(der).digest("hex").slice(0, ID_DIGITS);
  }

  /** @throws TailgateError AUDIT_UNREADABLE */
  static read(path: string): PublicKey {
    let key: KeyObject;
    try {
      key = createPublicKey(readFileSync(path));
    } catch (error) {
      const text = `The public key ${path} cannot be read (${textOf(error)}): without it no checkpoint can be checked.`;
      throw new TailgateError("AUDIT_UNREADABLE", text, { cause: error });
    }
    if (key.asymmetricKeyType !== "ed25519") {
      throw new TailgateError("AUDIT_UNREADABLE", `The public key ${path} is no Ed25519 key.`);
    }
    return new PublicKey(key);
  }

  get pem(): string {
    return this.#key.export({ type: "spki", format: "pem" }) as string;
  }

  hasSigned(checkpoint: Checkpoint): boolean {
    const text = Buffer.from(signedText(checkpoint));
    return verify(null, text, this.#key, Buffer.from(checkpoint.signature, "base64"));
  }
}
