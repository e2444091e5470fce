// One Set-Cookie line (RFC 6265bis). A browser cuts at every semicolon, quoted or not, and so does
// this; only what stands behind the first one is an attribute. Attributes are added, never changed: an
// upstream that says SameSite=None means it.

import { Table, asciiLower, isToken } from "../sdk/index";

export class CookieRules {
  /** 0 over https, 1 always, 2 never. */
  readonly secure: i32;
  readonly httpOnly: bool;
  /** Empty: none. */
  readonly sameSite: string;
  /** Names of cookies that scripts have to read. */
  readonly scripted: string[];

  constructor(table: Table) {
    this.secure = table.at("secure").choice(["https", "always", "off"]);
    this.httpOnly = table.at("http_only").flag(true);
    const sameSite = table.at("same_site").choice(["lax", "strict", "off"]);
    this.sameSite = sameSite == 2 ? "" : sameSite == 0 ? "Lax" : "Strict";
    this.scripted = table.at("scripted").texts();
    for (let i = 0; i < this.scripted.length; i++) {
      if (!isToken(this.scripted[i])) table.fault("scripted", "must be names of cookies");
    }
  }
}

/** The line with what the rules miss in it. */
export function hardened(line: string, rules: CookieRules, isSecure: bool): string {
  const parts = line.split(";");
  let hasSecure = false;
  let hasHttpOnly = false;
  let hasSameSite = false;
  for (let i = 1; i < parts.length; i++) {
    const name = asciiLower(before(parts[i], "="));
    if (name == "secure") hasSecure = true;
    else if (name == "httponly") hasHttpOnly = true;
    else if (name == "samesite") hasSameSite = true;
  }
  let text = line;
  const wantsSecure = rules.secure == 1 || (rules.secure == 0 && isSecure);
  if (wantsSecure && !hasSecure) text += "; Secure";
  if (rules.httpOnly && !hasHttpOnly && !rules.scripted.includes(before(parts[0], "="))) {
    text += "; HttpOnly";
  }
  if (rules.sameSite != "" && !hasSameSite) text += "; SameSite=" + rules.sameSite;
  return text;
}

/** What stands before a mark, without blanks around it; all of it where there is none. */
function before(text: string, mark: string): string {
  const at = text.indexOf(mark);
  let end = at == -1 ? text.length : at;
  let start = 0;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.substring(start, end);
}

function isBlank(code: i32): bool {
  return code == 0x20 || code == 0x09;
}
