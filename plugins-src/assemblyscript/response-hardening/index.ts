// Response headers as a careful site sends them, and cookies as a careful site sets them, whatever the
// upstream does.

import { Policy, Request, Response, ResponseEdits, Table, checkConfig, editResponse, isToken } from "../sdk/index";
import { CookieRules, hardened } from "./cookie";

// One call may edit 64 headers: these, and at most six more.
const COOKIES_MAX: i32 = 40;
const REMOVED_MAX: i32 = 16;
const YEAR_S: i32 = 31_536_000;
const REFERRER_POLICIES: string[] = [
  "strict-origin-when-cross-origin", "no-referrer", "no-referrer-when-downgrade", "origin",
  "origin-when-cross-origin", "same-origin", "strict-origin", "unsafe-url", "off",
];

class Header {
  constructor(readonly name: string, readonly value: string) {}
}

class ResponseHardening extends Policy {
  /** Set on every response. */
  headers: Header[] = [];
  /** Empty: none. Only over https, since a browser must not believe it otherwise (RFC 6797, 7.2). */
  hsts: string;
  removed: string[] = [];
  /** False: what the upstream said stays. */
  overrides: bool;
  /** Null: cookies stay as they are. */
  cookies: CookieRules | null = null;

  constructor(config: Table) {
    super();
    this.overrides = config.at("override").flag(true);
    this.hsts = readHsts(config);
    if (config.at("nosniff").flag(true)) this.add("x-content-type-options", "nosniff");
    const frame = config.at("frame_options").choice(["deny", "sameorigin", "off"]);
    if (frame < 2) this.add("x-frame-options", frame == 0 ? "DENY" : "SAMEORIGIN");
    const referrer = REFERRER_POLICIES[config.at("referrer_policy").choice(REFERRER_POLICIES)];
    if (referrer != "off") this.add("referrer-policy", referrer);
    this.addText(config, "permissions_policy", "permissions-policy");
    this.addText(config, "content_security_policy", "content-security-policy");
    this.removed = config.at("remove").texts();
    if (!config.has("remove")) this.removed = ["server", "x-powered-by"];
    if (this.removed.length > REMOVED_MAX) config.fault("remove", "must hold at most 16 names");
    for (let i = 0; i < this.removed.length; i++) {
      if (!isToken(this.removed[i])) config.fault("remove", "must be names of headers");
    }
    const cookies = config.at("cookies").object();
    if (cookies !== null) this.cookies = new CookieRules(cookies);
  }

  onResponse(): ResponseEdits {
    const edits = ResponseEdits.none();
    const isSecure = Request.scheme() == "https";
    if (isSecure && this.hsts != "") this.set(edits, "strict-transport-security", this.hsts);
    for (let i = 0; i < this.headers.length; i++) {
      this.set(edits, this.headers[i].name, this.headers[i].value);
    }
    for (let i = 0; i < this.removed.length; i++) edits.removeHeader(this.removed[i]);
    const rules = this.cookies;
    return rules === null ? edits : harden(edits, rules, isSecure);
  }

  set(edits: ResponseEdits, name: string, value: string): void {
    if (this.overrides || Response.headerCount(name) == 0) edits.setHeader(name, value);
  }

  add(name: string, value: string): void { this.headers.push(new Header(name, value)); }

  addText(config: Table, key: string, name: string): void {
    const value = config.at(key).text("");
    if (!isVisible(value)) config.fault(key, "must be one line of ASCII, at most 4096 characters long");
    if (value != "") this.add(name, value);
  }
}

// All lines anew when one of them changes: there is no other way to change one of several.
function harden(edits: ResponseEdits, rules: CookieRules, isSecure: bool): ResponseEdits {
  const lines = Response.headers("set-cookie");
  if (lines.length > COOKIES_MAX) return ResponseEdits.fail("more than 40 cookies are set at once");
  let hasChanged = false;
  for (let i = 0; i < lines.length; i++) {
    const line = hardened(lines[i], rules, isSecure);
    if (line != lines[i]) hasChanged = true;
    lines[i] = line;
  }
  if (!hasChanged) return edits;
  edits.removeHeader("set-cookie");
  for (let i = 0; i < lines.length; i++) edits.addHeader("set-cookie", lines[i]);
  return edits;
}

function readHsts(config: Table): string {
  const age = config.at("hsts_max_age_s").whole(YEAR_S, 0, i32.MAX_VALUE);
  const subdomains = config.at("hsts_subdomains").flag(false);
  const preload = config.at("hsts_preload").flag(false);
  if (preload && (!subdomains || age < YEAR_S)) {
    config.fault("hsts_preload", "needs hsts_subdomains and an hsts_max_age_s of a year");
  }
  if (age == 0) return "";
  const text = "max-age=" + age.toString() + (subdomains ? "; includeSubDomains" : "");
  return preload ? text + "; preload" : text;
}

function isVisible(text: string): bool {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return text.length <= 4_096;
}

export function on_config(): i32 { return checkConfig<ResponseHardening>(); }
export function on_response(): i32 { return editResponse<ResponseHardening>(); }
