// YAML 1.2 text as a plain value and the places of what is in it. Of YAML, only what JSON could say
// too: no tags, no directives, no second document, no keys but text. Aliases are allowed and what
// they stand for in all is bounded, so that a small text cannot become a large value.

import { LineCounter, isAlias, isMap, isScalar, isSeq, parseDocument, visit } from "yaml";
import type { Document, Node, Pair, YAMLError } from "yaml";
import { pointerSteps } from "./fault-list.ts";

const DEPTH_MAX = 64;
/** Values that aliases may stand for in all. */
const ALIASED_MAX = 100_000;
const TROUBLES_MAX = 100;

/** Something that keeps a text from being a configuration's; the offset counts UTF-16 units. */
export type YamlTrouble = {
  readonly code: "syntax" | "duplicate";
  readonly message: string;
  readonly offset: number;
};

export type YamlText = {
  readonly value: unknown;
  /** Offset of a JSON pointer's key or value, or of the last step that the text has. */
  find(pointer: string, at: "key" | "value"): number;
};

/** Parses, or says everything that is wrong with the syntax. */
export function readYaml(text: string): YamlText | readonly YamlTrouble[] {
  let document: Document;
  try {
    document = parseDocument(text, {
      lineCounter: new LineCounter(),
      version: "1.2",
      schema: "core",
      // Compares every key with every other: the converter below does it in linear time.
      uniqueKeys: false,
      prettyErrors: false,
      stringKeys: true,
    });
  } catch (error) {
    // The parser recurses: a text nested thousands deep exhausts the stack before it is refused.
    const message = error instanceof RangeError ? TOO_DEEP : String(error);
    return [{ code: "syntax", message, offset: 0 }];
  }
  const troubles: YamlTrouble[] = [...document.errors, ...document.warnings].map((error) => ({
    code: "syntax",
    message: wordsOf(error.code, error.message),
    offset: offsetOf(error, document),
  }));
  if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== "1.2") {
    const offset = Math.max(0, text.search(/^%YAML/m));
    troubles.push({ code: "syntax", message: "only YAML 1.2 is read", offset });
  }
  if (troubles.length > 0) return troubles.slice(0, TROUBLES_MAX);
  const converter = new Converter();
  const value = converter.convert(document.contents, 0);
  if (converter.troubles.length > 0) return converter.troubles;
  return { value, find: (pointer, at) => findOffset(document, pointer, at) };
}

const TOO_DEEP = `nested deeper than ${DEPTH_MAX} levels`;

function wordsOf(code: string, message: string): string {
  // What the parser says once its stack is exhausted.
  if (code === "RESOURCE_EXHAUSTION") return TOO_DEEP;
  if (code === "MULTIPLE_DOCS") return "the text holds several documents; one is read";
  if (code === "TAB_AS_INDENT") return "a tab cannot indent; use spaces";
  const firstLine = message.split("\n", 1)[0];
  return firstLine.charAt(0).toLowerCase() + firstLine.slice(1);
}

// A quote that nothing closes is missed at the end of the text, but seen where it opens.
function offsetOf({ code, message, pos }: YAMLError, document: Document): number {
  let [offset] = pos;
  if (code !== "MISSING_CHAR" || !/closing ['"]quote/.test(message)) return offset;
  visit(document, {
    Scalar(_key, { range }) {
      if (range?.[2] !== pos[0]) return undefined;
      [offset] = range;
      return visit.BREAK;
    },
  });
  return offset;
}

class Converter {
  readonly troubles: YamlTrouble[] = [];
  readonly #anchors = new Map<string, unknown>();
  /** The node that each alias stands for, settled when it is met: anchors may be given anew. */
  readonly #targets = new Map<unknown, unknown>();
  /** Anchored nodes that are being converted: an alias of one, inside of it, would never end. */
  readonly #open = new Set<unknown>();
  #aliased = 0;
  #insideAlias = 0;
  #isOverrun = false;

  convert(node: unknown, depth: number): unknown {
    if (this.#insideAlias > 0 && ++this.#aliased > ALIASED_MAX) return null;
    if (depth > DEPTH_MAX) return this.#refuse(node, TOO_DEEP);
    if (isAlias(node)) return this.#follow(node, depth);
    const { tag, anchor } = (node ?? {}) as { tag?: string; anchor?: string };
    const isAnchored = anchor !== undefined && this.#insideAlias === 0;
    if (isAnchored) this.#anchors.set(anchor, node);
    const isTagged = isScalar(node) ? tag !== undefined : tag !== undefined && !isPlainTag(tag);
    if (isTagged) return this.#refuse(node, `the tag ${tag} is not read; leave tags out`);
    if (isAnchored) this.#open.add(node);
    const value = this.#content(node, depth);
    this.#open.delete(node);
    return value;
  }

  #content(node: unknown, depth: number): unknown {
    if (isScalar(node)) {
      this.#countText(node.source ?? "");
      return node.value;
    }
    if (isSeq(node)) return node.items.map((item) => this.convert(item, depth + 1));
    if (!isMap(node)) return null;
    const value: Record<string, unknown> = {};
    const keys = new Set<string>();
    for (const { key, value: child } of node.items as Pair[]) {
      const name = keyText(key);
      if (keys.has(name)) {
        this.#refuse(key, `the key ${JSON.stringify(name)} is given twice`, "duplicate");
      }
      keys.add(name);
      this.#countText(name);
      const converted = this.convert(child, depth + 1);
      // Assigning to __proto__ would set the prototype; the schema refuses the key later.
      if (name !== "__proto__") value[name] = converted;
      else Object.defineProperty(value, name, { value: converted, enumerable: true });
    }
    return value;
  }

  // A long text that is repeated counts as so many values as would be as large.
  #countText(text: string): void {
    if (this.#insideAlias > 0) this.#aliased += text.length >> 6;
  }

  #follow(alias: Node & { source: string }, depth: number): unknown {
    if (!this.#targets.has(alias)) this.#targets.set(alias, this.#targetOf(alias));
    const target = this.#targets.get(alias);
    if (target === null) return null;
    this.#insideAlias++;
    const value = this.convert(target, depth);
    this.#insideAlias--;
    if (this.#aliased > ALIASED_MAX && this.#insideAlias === 0 && !this.#isOverrun) {
      this.#isOverrun = true;
      this.#refuse(alias, `aliases stand for more than ${ALIASED_MAX} values`);
    }
    return value;
  }

  // Null after refusing.
  #targetOf(alias: Node & { source: string }): unknown {
    const target = this.#anchors.get(alias.source);
    if (target === undefined) {
      return this.#refuse(alias, `the alias *${alias.source} names nothing before it`);
    }
    if (this.#open.has(target)) {
      return this.#refuse(alias, `the alias *${alias.source} stands within what it names`);
    }
    return target;
  }

  #refuse(node: unknown, message: string, code: YamlTrouble["code"] = "syntax"): null {
    const offset = startOf(node) ?? 0;
    // What an alias repeats was refused where it is written.
    const isSaid = this.troubles.some((one) => one.offset === offset && one.message === message);
    if (!isSaid && this.troubles.length < TROUBLES_MAX) {
      this.troubles.push({ code, message, offset });
    }
    return null;
  }
}

// Maps and lists say their own tag once they were written with it; that changes nothing.
function isPlainTag(tag: string): boolean {
  return tag === "tag:yaml.org,2002:map" || tag === "tag:yaml.org,2002:seq";
}

function findOffset(document: Document, pointer: string, at: "key" | "value"): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  const steps = pointerSteps(pointer);
  for (const [index, step] of steps.entries()) {
    if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = startOf(node) ?? offset;
    } else if (isMap(node)) {
      const pair = (node.items as Pair[]).find(({ key }) => keyText(key) === step);
      if (pair === undefined) break;
      const isKey = at === "key" && index === steps.length - 1;
      node = pair.value;
      // A key without a value has a value without a place.
      const isEmpty = isScalar(node) && node.value === null && node.source === "";
      offset = (isKey || isEmpty ? undefined : startOf(node)) ?? startOf(pair.key) ?? offset;
    } else {
      break;
    }
  }
  return offset;
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}
