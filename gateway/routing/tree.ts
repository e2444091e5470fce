// The routes of one revision, arranged for lookup: host -> shapes in order of precedence -> place
// (one path text) -> routes in order of precedence. Built once, in slices, and never changed; only
// the scratch fields, which hold nothing between two lookups, are written while matching.
// Knows no request; match.ts looks up.

import { buildHeaderTest, buildQueryTest } from "./conditions.ts";
import type { Conditions, HeaderTest, QueryTest, ValueInput } from "./conditions.ts";
import { checkHostPattern, checkPath, parsePattern } from "./pattern.ts";
import { HASH_START, PlaceIndex, hashPart, hashText } from "./place-index.ts";
import { compareRanks, compareShapes } from "./precedence.ts";
import type { ShapeFacts } from "./precedence.ts";
import { PathScan, Shape, shapeKey } from "./shape.ts";
import { sortSliced } from "./sort-sliced.ts";

/** Hosts times paths, summed over routes: what a tree holds at most. */
export const PLACES_MAX = 2_000_000;
/** Different pattern shapes at one host: each is a lookup for the requests that could fit it. */
export const SHAPES_PER_HOST_MAX = 1_024;
const WORK_PER_SLICE = 200;
/** Labels of a host name of 253 characters, and one more. */
const LABELS_MAX = 128;

export type PathInput = {
  readonly kind: "exact" | "prefix" | "pattern";
  /** A prefix holds whole segments: `/a` (or `/a/`) is for /a, /a/ and /a/b, never for /ab. */
  readonly value: string;
};

/** A route as configured; texts must have passed the checks of pattern.ts. */
export type RouteInput<T> = {
  readonly name: string;
  /** Higher wins over everything lower. */
  readonly priority: number;
  /** Names, or `*.` and a name for one or more labels before it; empty: any host. */
  readonly hosts: readonly string[];
  /** Empty: every path. */
  readonly paths: readonly PathInput[];
  /** Empty: any method. */
  readonly methods: readonly string[];
  readonly headers: readonly ValueInput[];
  readonly query: readonly ValueInput[];
  readonly value: T;
};

/** A host that routes name. */
export class HostNode {
  /** `*.example.org` is kept as `.example.org`; any host as the empty text. */
  readonly text: string;
  readonly salt: number;
  /** In order of precedence. */
  shapes: readonly Shape[] = [];

  constructor(text: string, salt: number) {
    this.text = text;
    this.salt = salt;
  }
}

/** A route at one place. The first one of a place is its head. */
export class RouteNode<T> implements Conditions {
  // The fields a lookup reads come first and so share a cache line.
  readonly host: HostNode;
  readonly shape: Shape;
  /** The path of an exact shape, the prefix without its last slash, the text of a pattern. */
  readonly text: string;
  readonly methods: readonly string[] | null;
  readonly headers: readonly HeaderTest[] | null;
  readonly query: readonly QueryTest[] | null;
  readonly priority: number;
  readonly value: T;
  /** Next in precedence at this place. */
  next: RouteNode<T> | null = null;
  /** Literal segments and parameter names of a pattern. */
  readonly literals: readonly string[];
  readonly parameters: readonly string[];
  readonly input: RouteInput<T>;

  constructor(host: HostNode, path: CompiledPath, route: CompiledRoute<T>) {
    this.host = host;
    this.shape = path.shape;
    this.text = path.text;
    this.methods = route.conditions.methods;
    this.headers = route.conditions.headers;
    this.query = route.conditions.query;
    this.priority = route.priority;
    this.value = route.input.value;
    this.literals = path.literals;
    this.parameters = path.parameters;
    this.input = route.input;
  }
}

/** An immutable set of routes; see match.ts. */
export class RouteTree<T> {
  readonly exactHosts: ReadonlyMap<string, HostNode>;
  readonly wildcardHosts: PlaceIndex<HostNode>;
  /** Most labels after the `*.` of a wildcard; 0 when there is no wildcard. */
  readonly wildcardLabelsMax: number;
  readonly anyHost: HostNode | null;
  readonly places: PlaceIndex<RouteNode<T>>;
  readonly priorityMax: number;
  readonly routeCount: number;
  /** Scratch of the lookup under way: no lookup awaits, so one set is enough. */
  readonly scan: PathScan;
  readonly labelStarts = new Int32Array(LABELS_MAX);
  readonly labelHashes = new Int32Array(LABELS_MAX);
  best: RouteNode<T> | null = null;

  constructor(parts: TreeParts<T>) {
    this.exactHosts = parts.exactHosts;
    this.wildcardHosts = parts.wildcardHosts;
    this.wildcardLabelsMax = parts.wildcardLabelsMax;
    this.anyHost = parts.anyHost;
    this.places = parts.places;
    this.priorityMax = parts.priorityMax;
    this.routeCount = parts.routeCount;
    this.scan = new PathScan(parts.segmentsMax);
  }

  /** Forgets what an earlier lookup left, should it have been cut short. */
  beginLookup(): void {
    this.best = null;
  }
}

type TreeParts<T> = {
  exactHosts: Map<string, HostNode>;
  wildcardHosts: PlaceIndex<HostNode>;
  wildcardLabelsMax: number;
  anyHost: HostNode | null;
  places: PlaceIndex<RouteNode<T>>;
  priorityMax: number;
  routeCount: number;
  segmentsMax: number;
};

type CompiledPath = {
  shape: Shape;
  text: string;
  /** A path of this shape and these texts, from which the place's hash is made. */
  sample: string;
  literals: readonly string[];
  parameters: readonly string[];
};

type CompiledRoute<T> = {
  input: RouteInput<T>;
  /** Its rank among routes at one place; see precedence.ts. */
  priority: number;
  methods: readonly string[];
  headers: readonly ValueInput[];
  query: readonly ValueInput[];
  order: number;
  conditions: Conditions;
};

/** Collects routes in order of declaration and builds their tree. For one use. */
export class RouteTreeBuilder<T> {
  readonly #routes: CompiledRoute<T>[] = [];
  #placeCount = 0;
  readonly #exactHosts = new Map<string, HostNode>();
  readonly #wildcardHosts = new Map<string, HostNode>();
  #anyHost: HostNode | null = null;
  readonly #shapes = new Map<string, Shape>();
  readonly #methods = new Map<string, readonly string[]>();
  /** By shapes of a host: hosts with the same shapes share one list, which then stays cached. */
  readonly #shapeLists = new Map<string, readonly Shape[]>();
  readonly #sample = new PathScan(LABELS_MAX + 2);
  #segmentsMax = 0;

  /** Adds the next route. Throws when the tree would be too large. */
  add(input: RouteInput<T>): void {
    this.#placeCount += countPlaces(input);
    if (this.#placeCount > PLACES_MAX) {
      throw new RangeError(`routes have more than ${PLACES_MAX} hosts times paths`);
    }
    const { priority, methods, headers, query } = input;
    const conditions: Conditions = {
      methods: methods.length === 0 ? null : this.#internMethods(methods),
      headers: headers.length === 0 ? null : headers.map(buildHeaderTest),
      query: query.length === 0 ? null : query.map(buildQueryTest),
    };
    const order = this.#routes.length;
    this.#routes.push({ input, priority, methods, headers, query, order, conditions });
  }

  /**
   * Builds the tree and yields about every 200 routes of work, so that a caller can do other things
   * between two slices. Throws on a text that pattern.ts would have refused.
   */
  *finish(): Generator<void, RouteTree<T>> {
    const routes = yield* sortSliced(this.#routes, compareRanks, WORK_PER_SLICE * 8);
    const places = new PlaceIndex<RouteNode<T>>(this.#placeCount);
    yield;
    const tails: RouteNode<T>[] = [];
    let work = 0;
    for (const route of routes) {
      const paths = this.#compilePaths(route.input);
      for (const host of this.#hostsOf(route.input)) {
        for (const path of paths) {
          this.#place(new RouteNode(host, path, route), path, { places, tails });
          if (++work % WORK_PER_SLICE === 0) yield;
        }
      }
    }
    yield* this.#orderShapes();
    return new RouteTree<T>({
      exactHosts: this.#exactHosts,
      ...this.#indexWildcards(),
      anyHost: this.#anyHost,
      places,
      priorityMax: routes.length === 0 ? 0 : routes[0].priority,
      routeCount: routes.length,
      segmentsMax: this.#segmentsMax,
    });
  }

  /** Appends the node at its place: routes come in order of rank, so each place is sorted. */
  #place(node: RouteNode<T>, path: CompiledPath, to: Places<T>): void {
    const { hashes, entries, mask } = to.places;
    this.#sample.read(path.sample);
    const hash = this.#sample.placeHash(node.host.salt, node.shape);
    let slot = hash & mask;
    for (let head = entries[slot]; head !== null; head = entries[slot]) {
      if (hashes[slot] === hash && isSamePlace(head, node)) {
        to.tails[slot].next = node;
        to.tails[slot] = node;
        return;
      }
      slot = (slot + 1) & mask;
    }
    to.places.insert(hash, node);
    to.tails[slot] = node;
    addShape(node.host, node.shape);
  }

  #compilePaths(input: RouteInput<T>): CompiledPath[] {
    if (input.paths.length === 0) return [this.#compilePath({ kind: "prefix", value: "/" })];
    return input.paths.map((path) => this.#compilePath(path));
  }

  #compilePath({ kind, value }: PathInput): CompiledPath {
    if (kind === "pattern") return this.#compilePattern(value);
    const fault = checkPath(value);
    if (fault !== null) throw new Error(`path ${value}: ${fault}`);
    const text = kind === "prefix" && value.endsWith("/") ? value.slice(0, -1) : value;
    const depth = text.split("/").length - 1;
    const literals = kind === "prefix" ? Array<boolean>(depth).fill(true) : [];
    this.#segmentsMax = Math.max(this.#segmentsMax, depth);
    const shape = this.#internShape({ kind, literals, hasRest: false });
    return { shape, text, sample: text, literals: [], parameters: [] };
  }

  #compilePattern(value: string): CompiledPath {
    const pattern = parsePattern(value);
    if (typeof pattern === "string") throw new Error(`path pattern ${value}: ${pattern}`);
    const { segments, names, hasRest } = pattern;
    this.#segmentsMax = Math.max(this.#segmentsMax, segments.length + 1);
    const shape = this.#internShape({
      kind: "pattern",
      literals: segments.map((segment) => segment !== null),
      hasRest,
    });
    return {
      shape,
      text: value,
      sample: `/${segments.map((segment) => segment ?? "x").join("/")}`,
      literals: segments.filter((segment) => segment !== null),
      parameters: names,
    };
  }

  #internShape(facts: ShapeFacts): Shape {
    const key = shapeKey(facts);
    let shape = this.#shapes.get(key);
    if (shape === undefined) {
      shape = new Shape(facts, hashText(key));
      this.#shapes.set(key, shape);
    }
    return shape;
  }

  #internMethods(methods: readonly string[]): readonly string[] {
    const key = methods.join(" ");
    const known = this.#methods.get(key);
    if (known !== undefined) return known;
    this.#methods.set(key, methods);
    return methods;
  }

  #hostsOf(input: RouteInput<T>): HostNode[] {
    if (input.hosts.length === 0) return [(this.#anyHost ??= new HostNode("", 0))];
    return [...new Set(input.hosts)].map((text) => this.#hostNode(text));
  }

  #hostNode(text: string): HostNode {
    const isWildcard = text.startsWith("*.");
    const hosts = isWildcard ? this.#wildcardHosts : this.#exactHosts;
    const key = isWildcard ? text.slice(1) : text;
    let node = hosts.get(key);
    if (node === undefined) {
      const fault = checkHostPattern(text);
      if (fault !== null) throw new Error(`host ${text}: ${fault}`);
      node = new HostNode(key, hashPart(HASH_START, hashText(key)));
      hosts.set(key, node);
    }
    return node;
  }

  *#orderShapes(): Generator<void, void> {
    let work = 0;
    const any = this.#anyHost === null ? [] : [this.#anyHost];
    for (const hosts of [this.#exactHosts.values(), this.#wildcardHosts.values(), any]) {
      for (const host of hosts) {
        const shapes = host.shapes.toSorted(compareShapes);
        const key = shapes.map((shape) => shape.salt).join();
        const known = this.#shapeLists.get(key);
        host.shapes = known !== undefined && isSameList(known, shapes) ? known : shapes;
        if (known === undefined) this.#shapeLists.set(key, shapes);
        if (++work % WORK_PER_SLICE === 0) yield;
      }
    }
  }

  #indexWildcards(): Pick<TreeParts<T>, "wildcardHosts" | "wildcardLabelsMax"> {
    const wildcardHosts = new PlaceIndex<HostNode>(this.#wildcardHosts.size);
    let wildcardLabelsMax = 0;
    for (const host of this.#wildcardHosts.values()) {
      wildcardHosts.insert(hashText(reversed(host.text)), host);
      wildcardLabelsMax = Math.max(wildcardLabelsMax, host.text.split(".").length - 1);
    }
    return { wildcardHosts, wildcardLabelsMax };
  }
}

type Places<T> = { places: PlaceIndex<RouteNode<T>>; tails: RouteNode<T>[] };

/** Hosts times paths of a route, which is what it adds to PLACES_MAX. */
export function countPlaces(input: Pick<RouteInput<unknown>, "hosts" | "paths">): number {
  return Math.max(1, input.hosts.length) * Math.max(1, input.paths.length);
}

function isSamePlace<T>(a: RouteNode<T>, b: RouteNode<T>): boolean {
  if (a.host !== b.host || a.shape !== b.shape) return false;
  if (a.shape.kind !== "pattern") return a.text === b.text;
  return a.literals.every((literal, index) => literal === b.literals[index]);
}

function addShape(host: HostNode, shape: Shape): void {
  if (host.shapes.includes(shape)) return;
  if (host.shapes.length >= SHAPES_PER_HOST_MAX) {
    const name = host.text === "" ? "any host" : `host ${host.text}`;
    throw new RangeError(`${name} has paths of more than ${SHAPES_PER_HOST_MAX} different shapes`);
  }
  host.shapes = [...host.shapes, shape];
}

function isSameList(a: readonly Shape[], b: readonly Shape[]): boolean {
  return a.length === b.length && a.every((shape, index) => shape === b[index]);
}

/** Wildcards are looked up from the end of the host towards its start. */
function reversed(text: string): string {
  return [...text].reverse().join("");
}
