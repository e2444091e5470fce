// What a plugin is, and how its exports run it. The configuration of an attachment never changes, so
// an instance makes its policy once and not for every request.

import { Faults, Table } from "./config";
import { Decision, ResponseEdits } from "./decision";
import { configGet, errorSet } from "./host";
import { Kind, parseJson } from "./json";
import { give, takeText } from "./text";

/** Made of its configuration by `constructor(config: Table)`, which notes what is wrong with it. */
export class Policy {
  onRequest(): Decision { return Decision.pass(); }

  /** Runs for the upstream's responses and for those made here, the plugin's own too. */
  onResponse(): ResponseEdits { return ResponseEdits.none(); }
}

let policy: Policy | null = null;

/** What `on_config` is. */
export function checkConfig<P extends Policy>(): i32 {
  return policyOf<P>() === null ? 1 : 0;
}

/** What `on_request` is. */
export function decideRequest<P extends Policy>(): i32 {
  const policy = policyOf<P>();
  return policy === null ? 1 : policy.onRequest().carryOut();
}

/** What `on_response` is. */
export function editResponse<P extends Policy>(): i32 {
  const policy = policyOf<P>();
  return policy === null ? 1 : policy.onResponse().carryOut();
}

// Null, and the call's error set, when the configuration has faults.
function policyOf<P extends Policy>(): Policy | null {
  if (policy !== null) return policy;
  const root = parseJson(takeText(configGet(give("config"))));
  if (root === null || root.kind != Kind.Object) {
    errorSet(give("the configuration is no object, or too long or too deep"));
    return null;
  }
  const faults = new Faults();
  const made = instantiate<P>(faults.watch(new Table(root, "", faults)));
  const all = faults.all();
  if (all != "") {
    errorSet(give(all));
    return null;
  }
  policy = made;
  return made;
}
