// Finds the route of a request: the hot path of routing. Visits the places that fit host and path in
// order of precedence and takes the first route whose conditions hold; only a tree with priorities
// looks further. Allocates nothing but the parameters of a pattern (bench/micro/routing.bench.ts).
// explain.ts visits the same places with the same conditions, so the two cannot disagree.

import { meetsAll } from "./conditions.ts";
import { HASH_START, hashCode } from "./place-index.ts";
import { EXACT, PREFIX } from "./shape.ts";
import type { PathScan, Shape } from "./shape.ts";
import type { HostNode, RouteNode, RouteTree } from "./tree.ts";

const DOT = 0x2e;

/** What matching needs of a request; an Exchange is one. */
export interface MatchRequest {
  readonly method: string;
  /** In the normal form of `normalizeHost`; empty when the client sent none. */
  readonly host: string;
  /** In the normal form of `normalizeTarget`. */
  readonly path: string;
  /** Raw, without the question mark. */
  readonly query: string;
  header(nameLower: string): string | null;
  /** Set by matchRoute: by name, as in the normal path, escapes kept; null unless a pattern. */
  params: ReadonlyMap<string, string> | null;
}

/** Told of each place in order, by its first route; returns true to stop. */
export type PlaceVisitor<T> = (
  tree: RouteTree<T>,
  head: RouteNode<T>,
  request: MatchRequest,
) => boolean;

/** The value of the winning route, or null when none matches. Sets `request.params`. */
export function matchRoute<T>(tree: RouteTree<T>, request: MatchRequest): T | null {
  tree.beginLookup();
  visitPlaces(tree, request, visitForBest);
  const { best } = tree;
  if (best === null) {
    request.params = null;
    return null;
  }
  request.params = best.parameters.length === 0 ? null : buildParams(best, request.path, tree.scan);
  return best.value;
}

function visitForBest<T>(tree: RouteTree<T>, head: RouteNode<T>, request: MatchRequest): boolean {
  for (let node: RouteNode<T> | null = head; node !== null; node = node.next) {
    if (tree.best !== null && node.priority <= tree.best.priority) return false;
    if (meetsAll(node, request)) {
      tree.best = node;
      return node.priority === tree.priorityMax;
    }
  }
  return false;
}

/** Visits every place that fits the request's host and path, in order of precedence. */
export function visitPlaces<T>(
  tree: RouteTree<T>,
  request: MatchRequest,
  visit: PlaceVisitor<T>,
): void {
  if (request.path.charCodeAt(0) !== 0x2f) return;
  tree.scan.read(request.path);
  const exact = tree.exactHosts.get(request.host);
  if (exact !== undefined && visitHost(tree, exact, request, visit)) return;
  if (tree.wildcardLabelsMax > 0 && visitWildcards(tree, request, visit)) return;
  if (tree.anyHost !== null) visitHost(tree, tree.anyHost, request, visit);
}

/** Hashes the host from its end, noting every dot, and then looks up from the longest suffix. */
function visitWildcards<T>(
  tree: RouteTree<T>,
  request: MatchRequest,
  visit: PlaceVisitor<T>,
): boolean {
  const { host } = request;
  const { labelStarts, labelHashes, wildcardHosts } = tree;
  const labelsMax = Math.min(tree.wildcardLabelsMax, labelStarts.length);
  let labels = 0;
  let hash = HASH_START;
  // Not at 0: at least one label must be before the suffix.
  for (let i = host.length - 1; i > 0 && labels < labelsMax; i--) {
    const code = host.charCodeAt(i);
    hash = hashCode(hash, code);
    if (code === DOT) {
      labelStarts[labels] = i;
      labelHashes[labels] = hash;
      labels++;
    }
  }
  for (let label = labels - 1; label >= 0; label--) {
    const wanted = labelHashes[label];
    let slot = wanted & wildcardHosts.mask;
    for (
      let node = wildcardHosts.entries[slot];
      node !== null;
      node = wildcardHosts.entries[slot]
    ) {
      if (wildcardHosts.hashes[slot] === wanted && isSuffix(node, host, labelStarts[label])) {
        if (visitHost(tree, node, request, visit)) return true;
        break;
      }
      slot = (slot + 1) & wildcardHosts.mask;
    }
  }
  return false;
}

function isSuffix(node: HostNode, host: string, start: number): boolean {
  return node.text.length === host.length - start && host.endsWith(node.text);
}

function visitHost<T>(
  tree: RouteTree<T>,
  host: HostNode,
  request: MatchRequest,
  visit: PlaceVisitor<T>,
): boolean {
  const { scan } = tree;
  const { hashes, entries, mask } = tree.places;
  const { shapes } = host;
  for (let i = 0; i < shapes.length; i++) {
    const shape = shapes[i];
    if (scan.count < shape.countMin || scan.count > shape.countMax) continue;
    const hash = scan.placeHash(host.salt, shape);
    let slot = hash & mask;
    // The hashes alone tell a miss, so that it costs one cache line. 0 is an empty slot.
    for (let stored = hashes[slot]; stored !== 0; stored = hashes[slot]) {
      const head = entries[slot];
      if (stored === hash && head !== null && isPlace(head, host, shape)) {
        if (holds(head, request.path, scan)) {
          if (visit(tree, head, request)) return true;
          break;
        }
      }
      slot = (slot + 1) & mask;
    }
  }
  return false;
}

function isPlace<T>(head: RouteNode<T>, host: HostNode, shape: Shape): boolean {
  return head.host === host && head.shape === shape;
}

/** Compares texts: equal hashes prove nothing. */
function holds<T>(head: RouteNode<T>, path: string, scan: PathScan): boolean {
  const { shape, text } = head;
  if (shape.kindCode === EXACT) return text === path;
  if (shape.kindCode === PREFIX) {
    return text.length === scan.starts[shape.countMin] - 1 && path.startsWith(text);
  }
  const { literalAt, parameterAt } = shape;
  for (let i = 0; i < literalAt.length; i++) {
    const start = scan.starts[literalAt[i]];
    const literal = head.literals[i];
    if (scan.starts[literalAt[i] + 1] - 1 - start !== literal.length) return false;
    if (!path.startsWith(literal, start)) return false;
  }
  for (let i = 0; i < parameterAt.length; i++) {
    const at = parameterAt[i];
    if (scan.starts[at + 1] - 1 === scan.starts[at]) return false;
  }
  return true;
}

function buildParams<T>(node: RouteNode<T>, path: string, scan: PathScan): Map<string, string> {
  const params = new Map<string, string>();
  const { parameterAt, hasRest } = node.shape;
  for (let i = 0; i < parameterAt.length; i++) {
    const at = parameterAt[i];
    params.set(node.parameters[i], path.slice(scan.starts[at], scan.starts[at + 1] - 1));
  }
  if (hasRest) {
    const name = node.parameters[parameterAt.length];
    params.set(name, path.slice(scan.starts[node.shape.literals.length]));
  }
  return params;
}
