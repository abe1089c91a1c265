/** Evaluates the nodes of filters on a block's columns. */

import { isSameOrChild } from "../../wire/envelope.ts";
import type { FieldNode, FilterNode, LoggerNode } from "../../wire/query/ast.ts";
import { compileNode } from "../../filter/compile.ts";
import type { RecordFields } from "../../filter/records.ts";
import { wildcardTest } from "../../filter/text-search.ts";
import type { BlockView } from "../block-view.ts";
import { BlockFields, type Sources } from "./block-fields.ts";
import { bothOf, eitherOf, known, negated, RecordSet, type Verdict } from "./record-set.ts";
import { resourceFieldsOf, scopeFieldsOf } from "./shared-parts.ts";
import { fieldMatcher, textMatcher, type ValueMatcher } from "./value-matcher.ts";

/** The matchers of a search's nodes, made once for all blocks. */
export class Matchers {
  readonly #texts = new Map<FilterNode, ValueMatcher>();
  readonly #fields = new Map<FilterNode, ValueMatcher>();

  /** Of a text, or of what a field's term is as text. */
  text(node: FilterNode): ValueMatcher | undefined {
    let matcher = this.#texts.get(node);
    if (!matcher) {
      if (node.kind === "text") matcher = textMatcher(node.pattern);
      else if (node.kind === "field" && node.alsoText !== undefined) {
        matcher = textMatcher({ kind: "literal", text: node.alsoText });
      } else return undefined;
      this.#texts.set(node, matcher);
    }
    return matcher;
  }

  field(node: FieldNode): ValueMatcher {
    let matcher = this.#fields.get(node);
    if (!matcher) this.#fields.set(node, (matcher = fieldMatcher(node.test)));
    return matcher;
  }
}

const RESOURCE_PREFIX = "resource.";
const SCOPE_PREFIX = "scope.";

export class NodeEvaluator {
  readonly fields: BlockFields;
  readonly #view: BlockView;
  readonly #matchers: Matchers;

  constructor(view: BlockView, matchers: Matchers) {
    this.fields = new BlockFields(view);
    this.#view = view;
    this.#matchers = matchers;
  }

  /** Returns what is known of the records of `within`; of the others, it may be anything. */
  evaluate(node: FilterNode, within: RecordSet): Verdict {
    switch (node.kind) {
      case "all":
        return known(RecordSet.all(this.#view.length));
      case "and":
        return this.#and(node.nodes, within);
      case "or":
        return this.#or(node.nodes, within);
      case "not":
        return negated(this.evaluate(node.node, within));
      case "type":
        return known(node.type === this.#view.type ? this.#all() : this.#none());
      case "level":
        return known(
          this.#selected(this.#view.ranks, (rank) => rank >= node.min && rank <= node.max),
        );
      case "logger":
        return this.#logger(node);
      case "text":
        return this.#text(this.#matchers.text(node)!, within);
      default:
        return this.#field(node, within);
    }
  }

  #and(nodes: readonly FilterNode[], within: RecordSet): Verdict {
    let verdict = known(within);
    for (const node of byCost(nodes)) {
      verdict = bothOf(verdict, this.evaluate(node, verdict.perhaps));
      if (verdict.perhaps.isEmpty) break;
    }
    return verdict;
  }

  #or(nodes: readonly FilterNode[], within: RecordSet): Verdict {
    let verdict = known(this.#none());
    let rest = within;
    for (const node of byCost(nodes)) {
      verdict = eitherOf(verdict, this.evaluate(node, rest));
      rest = rest.copy().subtract(verdict.surely);
      if (rest.isEmpty) break;
    }
    return verdict;
  }

  #logger({ test }: LoggerNode): Verdict {
    const isWanted = this.#view.directory.loggers.map(loggerTest(test));
    return known(this.#selected(this.#view.loggers, (logger) => isWanted[logger]!));
  }

  #selected(of: ArrayLike<number>, isWanted: (value: number) => boolean): RecordSet {
    const records = this.#none();
    for (let record = 0; record < of.length; record++) {
      if (isWanted(of[record]!)) records.add(record);
    }
    return records;
  }

  #text(matcher: ValueMatcher, within: RecordSet): Verdict {
    return this.#found(this.fields.texts, matcher, within);
  }

  #found({ sources, unsure, unknown }: Sources, matcher: ValueMatcher, within: RecordSet): Verdict {
    const found = this.#none();
    const inexact = unknown.copy();
    for (const source of sources) {
      source.search(matcher, within, found);
      source.addInexact?.(matcher, inexact);
    }
    if (inexact.isEmpty && unsure.isEmpty) return known(found);
    return {
      surely: found.copy().subtract(unsure),
      perhaps: found.union(inexact),
    };
  }

  #field(node: FieldNode, within: RecordSet): Verdict {
    const matcher = this.#matchers.field(node);
    const sources = this.fields.field(node.name);
    let verdict = this.#found(sources, matcher, within);
    if (matcher.isExistence) verdict = eitherOf(verdict, known(sources.containers));
    else {
      if (matcher.may.list) verdict = orPerhaps(verdict, sources.lists);
      if (matcher.may.map) verdict = orPerhaps(verdict, sources.maps);
    }
    if (node.name.startsWith(RESOURCE_PREFIX)) {
      verdict = eitherOf(verdict, this.#shared(node, this.#view.resources.of, resourceFieldsOf));
    } else if (node.name.startsWith(SCOPE_PREFIX)) {
      verdict = eitherOf(verdict, this.#shared(node, this.#view.scopes.of, scopeFieldsOf));
    }
    const text = this.#matchers.text(node);
    if (text === undefined) return verdict;
    const rest = within.copy().subtract(verdict.surely);
    return rest.isEmpty ? verdict : eitherOf(verdict, this.#text(text, rest));
  }

  /** Evaluates a field of what records share, of records that have nothing else. */
  #shared(
    { name, test }: FieldNode,
    of: ArrayLike<number>,
    fieldsOf: (view: BlockView) => readonly RecordFields[],
  ): Verdict {
    const { matches } = compileNode({ kind: "field", name, test });
    const isWanted = fieldsOf(this.#view).map((fields) => matches(fields, 0));
    return known(this.#selected(of, (part) => isWanted[part]!));
  }

  #all(): RecordSet {
    return RecordSet.all(this.#view.length);
  }

  #none(): RecordSet {
    return RecordSet.none(this.#view.length);
  }
}

function loggerTest(test: LoggerNode["test"]): (name: string) => boolean {
  if (test.kind === "family") return (name) => isSameOrChild(name, test.name);
  return wildcardTest(test.parts);
}

function orPerhaps(verdict: Verdict, records: RecordSet): Verdict {
  if (records.isEmpty) return verdict;
  return { surely: verdict.surely, perhaps: verdict.perhaps.copy().union(records) };
}

/** What nodes cost, the cheapest first. */
function byCost(nodes: readonly FilterNode[]): readonly FilterNode[] {
  return nodes.toSorted((one, other) => costOf(one) - costOf(other));
}

function costOf(node: FilterNode): number {
  switch (node.kind) {
    case "all":
    case "type":
      return 0;
    case "level":
    case "logger":
      return 1;
    case "field":
      return node.alsoText === undefined ? costOfTest(node) : 100;
    case "text":
      return node.pattern.kind === "regex" ? 1000 : 100;
    case "not":
      return costOf(node.node);
    default:
      return node.nodes.reduce((sum, inner) => sum + costOf(inner), 0);
  }
}

function costOfTest({ test }: FieldNode): number {
  return test.kind === "regex" ? 20 : 2;
}
