// Says and asks everything that the SDK can, for its test. rust/sdk/probe.rs is the same plugin.

import {
  Decision, Json, Kind, Log, Policy, Request, Response, ResponseEdits, Table, checkConfig,
  decideRequest, editResponse, fromHex, hmacSha256, isSame, nowS, parseJson, sha256, toHex, utf8,
} from "./index";

class Probe extends Policy {
  word: string;
  /** What every kind of field was read as. */
  read: string;

  constructor(config: Table) {
    super();
    this.word = config.at("word").text("none");
    let read = ["a", "b"][config.at("choice").choice(["a", "b"])] + " " + hex(config.at("number").number(0.5))
      + " " + config.at("whole").whole(3, 1, 10).toString() + " " + config.at("flag").flag(true).toString()
      + " " + config.at("header").headerName("x-none") + " " + config.at("texts").texts().join("+");
    const table = config.at("table").object();
    if (table !== null) read += " " + table.at("needed").required().text("");
    const tables = config.at("tables").tables();
    for (let i = 0; i < tables.length; i++) {
      const text = tables[i].at("text").text("-");
      if (text == "wrong") tables[i].fault("text", "must be right");
      read += " " + text;
    }
    this.read = read;
  }

  onRequest(): Decision {
    const path = Request.path();
    if (path == "/fail") return Decision.fail("told to fail");
    if (path == "/deny") return Decision.deny(403, "no").because("told to deny");
    if (path == "/tell") return this.tell();
    if (path == "/fail-late") return Decision.pass();
    if (path == "/config") return Decision.respond(200, this.read);
    if (path == "/json") return Decision.respond(200, shown(asked("text")));
    if (path == "/sha256") return Decision.respond(200, toHex(sha256(utf8(asked("text")))));
    if (path == "/hmac") {
      return Decision.respond(200, toHex(hmacSha256(utf8(asked("key")), utf8(asked("text")))));
    }
    if (path == "/hex") {
      const bytes = fromHex(asked("text"));
      return Decision.respond(200, bytes === null ? "-" : toHex(bytes));
    }
    if (path == "/same") {
      return Decision.respond(200, isSame(utf8(asked("text")), utf8(asked("key"))).toString());
    }
    return this.edit();
  }

  onResponse(): ResponseEdits {
    if (Request.path() == "/fail-late") return ResponseEdits.fail("told to fail late");
    const cookies = Response.headers("Set-Cookie");
    const edits = ResponseEdits.none()
      .setHeader("x-status", Response.status().toString())
      .setHeader("x-copy", or(Response.header("x-origin")))
      .setHeader("x-cookies", Response.headerCount("set-cookie").toString())
      .removeHeader("x-origin")
      .removeHeader("set-cookie")
      .setValue("late", "set");
    for (let i = 0; i < cookies.length; i++) edits.addHeader("set-cookie", cookies[i] + "; Secure");
    return edits;
  }

  tell(): Decision {
    const told = "method=" + Request.method() + "\npath=" + Request.path() + "\nquery=" + Request.query()
      + "\nhost=" + Request.host() + "\nscheme=" + Request.scheme()
      + "\nclient_ip=" + Request.clientIp() + "\ntls=" + or(Request.tls("version")) + "\nid=" + Request.id()
      + "\nroute=" + Request.route() + "\nconsumer=" + or(Request.consumer())
      + "\nquery_param=" + or(Request.queryParam("text")) + "\nheader=" + or(Request.header("X-In"))
      + "\nparam=" + or(Request.param("id")) + "\nclaim=" + or(Request.claim("sub"))
      + "\nclaim_json=" + or(Request.claimJson("sub")) + "\nconfig=" + this.word
      + "\nvalue=" + or(Request.value("before")) + "\nnow=" + nowS().toString();
    return Decision.respond(201, told).header("x-told", "1").header("x-told", "2");
  }

  edit(): Decision {
    Log.info("edited");
    Log.warn("warned");
    return Decision.pass()
      .setRequestHeader("x-set", this.word)
      .removeRequestHeader("x-in")
      .setPath("/moved")
      .setResponseHeader("x-out", "")
      .addResponseHeader("x-more", "1")
      .addResponseHeader("x-more", "2")
      .removeResponseHeader("server")
      .setValue("after", "set");
  }
}

export function on_config(): i32 { return checkConfig<Probe>(); }
export function on_request(): i32 { return decideRequest<Probe>(); }
export function on_response(): i32 { return editResponse<Probe>(); }

function asked(name: string): string {
  const text = Request.queryParam(name);
  return text === null ? "" : text;
}

function or(text: string | null): string {
  return text === null ? "-" : text;
}

/** A line for each value, with the keys that lead to it and what was read of it; `-` for what is no JSON. */
function shown(text: string): string {
  const root = parseJson(text);
  return root === null ? "-" : show(root, "");
}

// Recursion is bounded by the reader's depth.
function show(value: Json, path: string): string {
  let lines = path + " " + lineOf(value) + "\n";
  const items = value.items;
  const isObject = value.kind == Kind.Object;
  for (let i = 0; i < items.length; i += 1 + i32(isObject)) {
    if (!isObject) {
      lines += show(items[i], path + "/" + i.toString());
      continue;
    }
    // As plugins read it: by the key, of which the last one counts.
    const key = items[i].text;
    const counts = value.get(key);
    if (counts !== null && counts.isSame(items[i + 1])) lines += show(counts, path + "/" + key);
  }
  return lines;
}

function lineOf(value: Json): string {
  switch (value.kind) {
    case Kind.Text: return "t" + value.text;
    case Kind.Number: return "n" + hex(value.number);
    case Kind.Flag: return value.flag.toString();
    case Kind.Null: return "null";
    case Kind.List: return "[";
    default: return "{";
  }
}

function hex(number: f64): string {
  const bytes = new ArrayBuffer(8);
  store<u64>(changetype<usize>(bytes), bswap<u64>(reinterpret<u64>(number)));
  return toHex(bytes);
}
