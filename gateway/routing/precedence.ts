// Which of several matching routes wins; the one place that says so. Follows the Gateway API
// (HTTPRouteRule, "matches"): priority; exact host, longest wildcard, any host; exact path, longest
// prefix, pattern, the prefix / (which is also that of a route without paths: it holds everything, so
// that it hides nothing); method given; number of header tests; number of query tests; order of declaration.
// Both orders here are total on what they compare, so that a tree does not depend on how it was built.

/** A path condition with its texts taken away: its kind and which segments are literal. */
export type ShapeFacts = {
  readonly kind: "exact" | "prefix" | "pattern";
  /** Of prefixes and patterns: true for a literal segment, false for a parameter. */
  readonly literals: readonly boolean[];
  readonly hasRest: boolean;
};

/** What counts among routes that share host and path. */
export type Rank = {
  readonly priority: number;
  readonly methods: readonly string[];
  readonly headers: readonly unknown[];
  readonly query: readonly unknown[];
  /** Index in the configuration. */
  readonly order: number;
};

function kindOrder({ kind, literals }: ShapeFacts): number {
  if (kind === "exact") return 0;
  if (kind === "pattern") return 2;
  return literals.length > 0 ? 1 : 3;
}

/**
 * Negative when `a` is tried before `b` at one host. Among patterns: more literal segments, then no
 * rest, then more segments, then the literal that comes first.
 */
export function compareShapes(a: ShapeFacts, b: ShapeFacts): number {
  const byKind = kindOrder(a) - kindOrder(b);
  if (byKind !== 0) return byKind;
  if (a.kind === "prefix") return b.literals.length - a.literals.length;
  const byLiterals = countTrue(b.literals) - countTrue(a.literals);
  if (byLiterals !== 0) return byLiterals;
  if (a.hasRest !== b.hasRest) return a.hasRest ? 1 : -1;
  if (a.literals.length !== b.literals.length) return b.literals.length - a.literals.length;
  for (let i = 0; i < a.literals.length; i++) {
    if (a.literals[i] !== b.literals[i]) return a.literals[i] ? -1 : 1;
  }
  return 0;
}

/** Negative when `a` is tried before `b` at one host and path. Zero only for the same route. */
export function compareRanks(a: Rank, b: Rank): number {
  if (a.priority !== b.priority) return b.priority - a.priority;
  const aMethod = a.methods.length > 0;
  if (aMethod !== b.methods.length > 0) return aMethod ? -1 : 1;
  if (a.headers.length !== b.headers.length) return b.headers.length - a.headers.length;
  if (a.query.length !== b.query.length) return b.query.length - a.query.length;
  return a.order - b.order;
}

function countTrue(flags: readonly boolean[]): number {
  let count = 0;
  for (const flag of flags) if (flag) count++;
  return count;
}
