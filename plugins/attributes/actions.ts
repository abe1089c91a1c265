import { z, type LogRecord, type RecordView, type Value, type ValueMap } from "tailgate/plugin";

/** The members of an action that tell where the value comes from. */
const SOURCES = ["value", "from_attribute", "from_resource", "from_env"] as const;

type Source = (typeof SOURCES)[number];

const ANY_SOURCE: readonly Source[] = SOURCES;

/** The sources of which each action needs one. */
const SOURCES_OF = {
  insert: ANY_SOURCE,
  update: ANY_SOURCE,
  upsert: ANY_SOURCE,
  copy: ["from_attribute"],
  rename: ["from_attribute"],
  delete: [],
} as const satisfies Record<string, readonly Source[]>;

type ActionName = keyof typeof SOURCES_OF;

const name = z.string().min(1);

export const actionSchema = z
  .strictObject({
    key: name.describe("Name of the attribute that is set or deleted."),
    action: z
      .enum(Object.keys(SOURCES_OF) as [ActionName, ...ActionName[]])
      .describe("What to do with it."),
    value: z.union([z.string(), z.number(), z.boolean()]).optional().describe("The value itself."),
    from_attribute: name.optional().describe("Name of the attribute that has the value."),
    from_resource: name
      .optional()
      .describe("Name of the attribute of the resource that has the value."),
    from_env: name
      .optional()
      .describe("Name of the environment variable that has the value at the start."),
  })
  .superRefine((action, context) => {
    const problem = problemOf(action);
    if (problem !== undefined) {
      context.addIssue({ code: "custom", path: problem.path, message: problem.text });
    }
  });

type ActionOptions = {
  readonly key: string;
  readonly action: ActionName;
  readonly value?: string | number | boolean | undefined;
} & { readonly [S in Exclude<Source, "value">]?: string | undefined };

interface Problem {
  readonly path: string[];
  readonly text: string;
}

function problemOf(options: ActionOptions): Problem | undefined {
  const { key, action } = options;
  const allowed: readonly Source[] = SOURCES_OF[action];
  const given = SOURCES.filter((source) => options[source] !== undefined);
  const wrong = given.find((source) => !allowed.includes(source));
  if (wrong !== undefined) {
    const needed = allowed.length === 0 ? "no value" : allowed.join(", ");
    return { path: [wrong], text: `${action} takes ${needed}` };
  }
  if (allowed.length > 0 && given.length !== 1) {
    return { path: ["action"], text: `${action} needs ${listed(allowed)}` };
  }
  if (options.from_attribute === key) {
    return { path: ["from_attribute"], text: "it is the same attribute as key" };
  }
  return undefined;
}

function listed(sources: readonly Source[]): string {
  return sources.length === 1 ? sources[0]! : `exactly one of ${sources.join(", ")}`;
}

/** What an action reads of a record, decoded or not. */
type Fields = Pick<RecordView, "attribute" | "attributeNames" | "resourceAttribute">;

/** One step of the processor. */
export interface Action {
  /** Whether it would change a record with these fields. */
  isNeeded(fields: Fields): boolean;
  /** Changes the attributes; does nothing if it is not needed. `fields` are those of the same record. */
  apply(attributes: ValueMap, fields: Fields): void;
}

/** Returns the fields of a decoded record, which follow its changes. */
export function fieldsOf({ attributes, resource }: LogRecord): Fields {
  return {
    attribute: (key) => attributes.get(key),
    attributeNames: () => [...attributes.keys()],
    resourceAttribute: (key) => resource?.attributes.get(key),
  };
}

/** @throws Error if an environment variable is missing; it names the variable. */
export function createAction(options: ActionOptions, env: NodeJS.ProcessEnv): Action {
  const { key, action, from_attribute: from } = options;
  if (action === "delete") return key.includes("*") ? deleteMatching(key) : deletion(key);
  const read = reader(options, env);
  const isNeeded = (fields: Fields): boolean => {
    const value = read(fields);
    if (value === undefined) return false;
    if (action === "rename") return true;
    const old = fields.attribute(key);
    if (action === "insert") return old === undefined;
    return !(action === "update" && old === undefined) && !Object.is(old, value);
  };
  return {
    isNeeded,
    apply(attributes, fields) {
      if (!isNeeded(fields)) return;
      attributes.set(key, copyOf(read(fields)!));
      if (action === "rename") attributes.delete(from!);
    },
  };
}

function reader(
  options: ActionOptions,
  env: NodeJS.ProcessEnv,
): (fields: Fields) => Value | undefined {
  const { from_attribute: attribute, from_resource: resource, from_env: variable } = options;
  if (attribute !== undefined) return (fields) => fields.attribute(attribute);
  if (resource !== undefined) return (fields) => fields.resourceAttribute(resource);
  const value = variable === undefined ? options.value! : environmentValue(variable, env);
  return () => value;
}

function environmentValue(variable: string, env: NodeJS.ProcessEnv): string {
  const value = env[variable];
  if (value) return value;
  throw new Error(
    `The environment variable ${variable}, which an action takes its value from, is not set. Set it, or give a value instead of from_env.`,
  );
}

function deletion(key: string): Action {
  return {
    isNeeded: (fields) => fields.attribute(key) !== undefined,
    apply: (attributes) => void attributes.delete(key),
  };
}

function deleteMatching(glob: string): Action {
  const isMatch = matcher(glob);
  return {
    isNeeded: (fields) => fields.attributeNames().some(isMatch),
    apply(attributes) {
      for (const key of [...attributes.keys()].filter(isMatch)) attributes.delete(key);
    },
  };
}

/** Returns the test for a name with `*`, which stands for any characters. It takes linear time for each `*`. */
function matcher(glob: string): (name: string) => boolean {
  const [first, ...rest] = glob.split("*") as [string, ...string[]];
  const last = rest.pop()!;
  return (key) => {
    if (!key.startsWith(first)) return false;
    let position = first.length;
    for (const part of rest) {
      const found = key.indexOf(part, position);
      if (found < 0) return false;
      position = found + part.length;
    }
    return key.length - last.length >= position && key.endsWith(last);
  };
}

/** Copies lists and maps, which belong to another attribute, or to the resource, which records share. */
function copyOf(value: Value): Value {
  if (Array.isArray(value)) return value.map(copyOf);
  if (value instanceof Map) return new Map([...value].map(([key, inner]) => [key, copyOf(inner)]));
  return value instanceof Uint8Array ? value.slice() : value;
}
