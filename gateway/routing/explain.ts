// Why a request takes the route it takes, or none: the slow sibling of match.ts. It visits the same
// places in the same order and tests the same conditions, and writes down what it sees.

import { firstMissed, firstMissedValue } from "./conditions.ts";
import { visitPlaces } from "./match.ts";
import type { MatchRequest } from "./match.ts";
import { EXACT, PREFIX } from "./shape.ts";
import type { RouteNode, RouteTree } from "./tree.ts";

const STEPS_MAX = 200;

/** Why no route was found: the method alone was wrong, or nothing fits. */
export type NoMatch =
  | { readonly kind: "wrong-method"; readonly allow: readonly string[] }
  | { readonly kind: "none" };

export type ExplainStep = {
  readonly route: string;
  readonly host: string;
  readonly path: string;
  readonly outcome: "matched" | "rejected";
  readonly reason: string;
};

export type MatchExplanation = {
  /** Routes that fit host and path, in the order they were looked at; at most 200. */
  readonly steps: readonly ExplainStep[];
  readonly winner: string | null;
  readonly reason: string;
};

/** Says why `matchRoute` found nothing. */
export function whyNoMatch<T>(tree: RouteTree<T>, request: MatchRequest): NoMatch {
  const allow = new Set<string>();
  tree.beginLookup();
  visitPlaces(tree, request, (_tree, head) => {
    for (let node: RouteNode<T> | null = head; node !== null; node = node.next) {
      if (node.methods === null || firstMissedValue(node, request) !== null) continue;
      for (const method of node.methods) allow.add(method);
    }
    return false;
  });
  return allow.size === 0 ? { kind: "none" } : { kind: "wrong-method", allow: [...allow].sort() };
}

/** Repeats a lookup and tells what it saw. */
export function explainMatch<T>(tree: RouteTree<T>, request: MatchRequest): MatchExplanation {
  const steps: ExplainStep[] = [];
  let best: RouteNode<T> | null = null;
  tree.beginLookup();
  visitPlaces(tree, request, (_tree, head) => {
    for (let node: RouteNode<T> | null = head; node !== null; node = node.next) {
      if (best !== null && node.priority <= best.priority) return false;
      const reason = whyRejected(node, request);
      if (steps.length < STEPS_MAX) steps.push(stepOf(node, reason));
      if (reason !== null) continue;
      best = node;
      return node.priority === tree.priorityMax;
    }
    return false;
  });
  const winner = best as RouteNode<T> | null;
  if (winner !== null) {
    return { steps, winner: winner.input.name, reason: whyMatched(winner) };
  }
  const why = whyNoMatch(tree, request);
  const reason =
    why.kind === "wrong-method"
      ? `host and path match, but the method ${request.method} does not: ${why.allow.join(", ")}`
      : `no route fits host ${JSON.stringify(request.host)} and path ${request.path}`;
  return { steps, winner: null, reason };
}

function stepOf<T>(node: RouteNode<T>, rejected: string | null): ExplainStep {
  return {
    route: node.input.name,
    host: hostText(node),
    path: pathText(node),
    outcome: rejected === null ? "matched" : "rejected",
    reason: rejected ?? whyMatched(node),
  };
}

function whyRejected<T>(node: RouteNode<T>, request: MatchRequest): string | null {
  const missed = firstMissed(node, request);
  if (missed === null) return null;
  if (missed.part === "method") return `method ${request.method} is not ${listOf(node.methods)}`;
  const tests = missed.part === "header" ? node.input.headers : node.input.query;
  const label = missed.part === "header" ? "header" : "query parameter";
  return `${label} ${JSON.stringify(tests[missed.index].name)} does not match`;
}

function whyMatched<T>(node: RouteNode<T>): string {
  const parts = [hostText(node), pathText(node)];
  if (node.methods !== null) parts.push(`method ${listOf(node.methods)}`);
  if (node.headers !== null) parts.push(`${node.headers.length} header condition(s)`);
  if (node.query !== null) parts.push(`${node.query.length} query condition(s)`);
  if (node.priority !== 0) parts.push(`priority ${node.priority}`);
  return parts.join(", ");
}

function hostText<T>({ host }: RouteNode<T>): string {
  if (host.text === "") return "any host";
  return host.text.startsWith(".") ? `wildcard host "*${host.text}"` : `exact host "${host.text}"`;
}

function pathText<T>({ shape, text }: RouteNode<T>): string {
  if (shape.kindCode === EXACT) return `exact path "${text}"`;
  if (shape.kindCode === PREFIX) return text === "" ? "any path" : `prefix "${text}"`;
  return `pattern "${text}"`;
}

function listOf(methods: readonly string[] | null): string {
  return (methods ?? []).join(", ");
}
