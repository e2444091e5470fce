// The path that the upstream sees: a route may replace it, or strip and add a prefix by whole
// segments. Works on normal forms, so its result is one.

/** How a route changes the path; what it does not change is the empty string. */
export type Rewrite = {
  readonly path: string;
  readonly stripPrefix: string;
  readonly addPrefix: string;
};

/** The rewritten path. A prefix that the path does not have is not stripped. */
export function rewritePath(path: string, rewrite: Rewrite): string {
  if (rewrite.path !== "") return rewrite.path;
  let rest = path;
  const prefix = trimSlash(rewrite.stripPrefix);
  if (prefix !== "" && path.startsWith(prefix)) {
    if (path.length === prefix.length) rest = "/";
    else if (path.charCodeAt(prefix.length) === 0x2f) rest = path.slice(prefix.length);
  }
  const added = trimSlash(rewrite.addPrefix);
  return added === "" ? rest : added + rest;
}

/** The target of a redirect: `{path}` and `{query}` are filled in, the query with its mark. */
export function redirectTarget(to: string, path: string, query: string): string {
  return to.replace(/\{(path|query)\}/g, (_whole, name: string) =>
    name === "path" ? path : query === "" ? "" : `?${query}`,
  );
}

function trimSlash(prefix: string): string {
  return prefix.endsWith("/") ? prefix.slice(0, -1) : prefix;
}
