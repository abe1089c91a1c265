import { readFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { buffer } from "node:stream/consumers";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { parse } from "yaml";

const DOCUMENT = new URL("../../docs/reference/openapi.yaml", import.meta.url);

/** Beside those of JSON Schema, documents and their media types have these. */
const VOCABULARY = ["openapi", "info", "servers", "security", "tags", "paths", "components"];

/** Headers of every response, and those of HTTP itself; all others must be documented. */
const COMMON_HEADERS = new Set([
  "cache-control",
  "connection",
  "content-encoding",
  "content-length",
  "content-security-policy",
  "content-type",
  "cross-origin-opener-policy",
  "cross-origin-resource-policy",
  "date",
  "keep-alive",
  "referrer-policy",
  "transfer-encoding",
  "vary",
  "x-content-type-options",
]);

interface Reference {
  readonly $ref?: string;
}

interface Content {
  readonly schema?: object;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

interface Header extends Reference {
  readonly required?: boolean;
  readonly schema?: object;
  readonly content?: Readonly<Record<string, Content>>;
}

interface ResponseObject extends Reference {
  readonly headers?: Readonly<Record<string, Header>>;
  readonly content?: Readonly<Record<string, Content>>;
}

interface Bounds {
  readonly minimum?: number;
  readonly maximum?: number;
}

export interface Parameter extends Reference {
  readonly name: string;
  readonly in: "query" | "header" | "path";
  readonly example?: string | number | readonly string[];
  readonly schema: Bounds & { readonly anyOf?: readonly Bounds[] };
}

export interface Operation {
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: ResponseObject;
  readonly responses: Readonly<Record<string, ResponseObject>>;
}

/** A response as it was received. */
export interface Received {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** The OpenAPI document of the gateway, and which of its responses have been seen. */
export class OpenApiContract {
  readonly document: object;
  readonly #schemas = new Ajv2020({ strict: true, strictRequired: false, allErrors: true });
  readonly #validators = new Map<string, ValidateFunction>();
  readonly #seen = new Set<string>();

  private constructor(document: object) {
    this.document = document;
    addFormats.default(this.#schemas);
    for (const word of VOCABULARY) this.#schemas.addKeyword(word);
    this.#schemas.addSchema(document, "api");
  }

  static async read(): Promise<OpenApiContract> {
    return new OpenApiContract(parse(await readFile(DOCUMENT, "utf8")) as object);
  }

  /** Returns why it is not a valid OpenAPI document; undefined if it is. */
  async problems(): Promise<unknown> {
    const { valid, errors } = await new Validator().validate(
      structuredClone(this.document) as never,
    );
    return valid ? undefined : errors;
  }

  get paths(): Readonly<Record<string, Readonly<Record<string, Operation>>>> {
    return this.#at("#/paths") as never;
  }

  operation(path: string, method: string): Operation {
    const operation = this.paths[path]?.[method];
    if (operation === undefined) throw new Error(`${method} ${path} is not documented.`);
    return operation;
  }

  parameters(path: string, method: string): Parameter[] {
    const { parameters = [] } = this.operation(path, method);
    return parameters.map((parameter) => this.#resolve(parameter));
  }

  /** Throws unless the response is documented. */
  check(path: string, method: string, { status, headers, body }: Received): void {
    const { responses } = this.operation(path, method);
    const key = status in responses ? String(status) : "default";
    const response = this.#resolve(responses[key]!);
    const where = `${method} ${path} ${status}`;
    this.#seen.add(`${method} ${path} ${key}`);
    this.#checkHeaders(where, response, headers);
    if (response.content === undefined) {
      if (body !== "") throw new Error(`${where} has a body: ${body}`);
      return;
    }
    const type = (headers["content-type"] ?? "").split(";", 1)[0]!;
    const content = response.content[type];
    if (content === undefined) throw new Error(`${where} has the undocumented type "${type}".`);
    this.#seen.add(`${method} ${path} ${key} ${type}`);
    if (type === "application/x-protobuf") return;
    const pointer = `${this.#pointerOf(path, method, key)}/content/${escaped(type)}/schema`;
    this.validate(where, pointer, type === "application/json" ? JSON.parse(body) : body);
  }

  #checkHeaders(
    where: string,
    { headers: documented = {} }: ResponseObject,
    headers: IncomingMessage["headers"],
  ): void {
    for (const [name, header] of Object.entries(documented)) {
      const { required, schema, content } = this.#resolve(header);
      const text = headers[name.toLowerCase()];
      if (text === undefined) {
        if (required) throw new Error(`${where} lacks the header ${name}.`);
        continue;
      }
      const json = content?.["application/json"]?.schema;
      const value = json ? JSON.parse(String(text)) : numberIfNeeded(schema!, String(text));
      this.#validateInline(`${where}, header ${name}`, json ?? schema!, value);
    }
    const known = new Set(Object.keys(documented).map((name) => name.toLowerCase()));
    const unknown = Object.keys(headers).filter(
      (name) => !COMMON_HEADERS.has(name) && !known.has(name),
    );
    if (unknown.length > 0) throw new Error(`${where} has undocumented headers: ${unknown.join()}`);
  }

  /** Throws unless the value matches the schema at this JSON pointer. */
  validate(what: string, pointer: string, value: unknown): void {
    this.#run(what, pointer, () => this.#schemas.compile({ $ref: `api${pointer}` }), value);
  }

  #validateInline(what: string, schema: object, value: unknown): void {
    const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/')) as object;
    this.#run(what, JSON.stringify(schema), () => this.#schemas.compile(absolute), value);
  }

  #run(what: string, key: string, compile: () => ValidateFunction, value: unknown): void {
    let validator = this.#validators.get(key);
    if (validator === undefined) this.#validators.set(key, (validator = compile()));
    if (validator(value)) return;
    throw new Error(
      `${what}: ${this.#schemas.errorsText(validator.errors)}: ${JSON.stringify(value)}`,
    );
  }

  /** All operations. A path has other members, too. */
  get operations(): { readonly path: string; readonly method: string }[] {
    return Object.entries(this.paths).flatMap(([path, item]) =>
      ["get", "post", "delete"]
        .filter((method) => method in item)
        .map((method) => ({ path, method })),
    );
  }

  /** Returns the documented responses and media types that were not seen. */
  get unseen(): string[] {
    const documented: string[] = [];
    for (const { path, method } of this.operations) {
      for (const [status, reference] of Object.entries(this.operation(path, method).responses)) {
        const name = `${method} ${path} ${status}`;
        documented.push(name);
        const { content = {} } = this.#resolve(reference);
        documented.push(...Object.keys(content).map((type) => `${name} ${type}`));
      }
    }
    return documented.filter((name) => !this.#seen.has(name));
  }

  /** Calls `visit` with each example value and the pointer to its schema. */
  forEachExample(visit: (pointer: string, value: unknown) => void): void {
    const walk = (node: unknown, pointer: string): void => {
      if (typeof node !== "object" || node === null) return;
      const { examples, example, schema } = node as Content & { readonly example?: unknown };
      if (schema !== undefined) {
        for (const { value } of Object.values(examples ?? {})) visit(`${pointer}/schema`, value);
        if (example !== undefined) visit(`${pointer}/schema`, example);
      }
      for (const [key, inner] of Object.entries(node)) walk(inner, `${pointer}/${escaped(key)}`);
    };
    walk(this.document, "#");
  }

  #pointerOf(path: string, method: string, status: string): string {
    const { $ref } = this.operation(path, method).responses[status]!;
    return $ref ?? `#/paths/${escaped(path)}/${method}/responses/${status}`;
  }

  #resolve<T extends Reference>(node: T): T {
    return node.$ref === undefined ? node : (this.#at(node.$ref) as T);
  }

  #at(pointer: string): unknown {
    let node: unknown = this.document;
    for (const part of pointer.split("/").slice(1)) {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      node = (node as Record<string, unknown>)[key];
    }
    return node;
  }
}

/** A part of a JSON pointer in a URI. */
function escaped(part: string): string {
  return part
    .replaceAll("~", "~0")
    .replaceAll("/", "~1")
    .replaceAll("{", "%7B")
    .replaceAll("}", "%7D");
}

function numberIfNeeded(schema: object, text: string): unknown {
  const isInteger = JSON.stringify(schema).includes('"integer"');
  return isInteger ? Number(text) : text;
}

export interface Sent {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array;
  /** False: without a Host header. */
  readonly setHost?: boolean;
}

/** Sends a request with exactly these headers. Resolves also with the response of an upgrade. */
export function exchange(url: string, sent: Sent = {}): Promise<Received> {
  const { method = "GET", headers = {}, body, setHost = true } = sent;
  const { promise, resolve, reject } = Promise.withResolvers<Received>();
  const request = httpRequest(url, { method, headers, setHost, agent: false });
  request.on("error", reject);
  request.on("upgrade", (response, socket) => {
    socket.destroy();
    resolve({ status: response.statusCode!, headers: response.headers, body: "" });
  });
  request.on("response", (response) => {
    buffer(response).then(
      (bytes) =>
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: bytes.toString(),
        }),
      reject,
    );
  });
  request.end(body);
  return promise;
}
