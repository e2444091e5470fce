// Says and asks everything that the SDK can, for its test. rust/sdk/probe.rs is the same plugin.

import {
  Config, Log, Request, Response, Values, deny, fail, respond, respondWithHeader,
} from "./index";

export function on_request(): i32 {
  const path = Request.path();
  if (path == "/fail") return fail("told to fail");
  if (path == "/deny") deny(403, "no", "told to deny");
  else if (path == "/tell") tell();
  else edit();
  return 0;
}

export function on_response(): i32 {
  Response.setHeader("x-status", Response.status().toString());
  Response.setHeader("x-copy", or(Response.header("x-origin")));
  Response.removeHeader("x-origin");
  return 0;
}

function tell(): void {
  respondWithHeader("x-told", "1");
  respondWithHeader("x-told", "2");
  respond(
    201,
    "method=" + Request.method() + "\npath=" + Request.path() + "\nquery=" + Request.query()
      + "\nhost=" + Request.host() + "\nscheme=" + Request.scheme()
      + "\nclient_ip=" + Request.clientIp() + "\ntls=" + or(Request.tls("version")) + "\nid=" + Request.id()
      + "\nroute=" + Request.route() + "\nconsumer=" + or(Request.consumer())
      + "\nquery_param=" + or(Request.queryParam("text")) + "\nheader=" + or(Request.header("X-In"))
      + "\nparam=" + or(Request.param("id")) + "\nclaim=" + or(Request.claim("sub"))
      + "\nconfig=" + or(Config.get("word"))
      + "\nvalue=" + or(Values.get("before")) + "\nstatus=" + Response.status().toString(),
  );
}

function edit(): void {
  Request.setHeader("x-set", Config.getOr("word", "none"));
  Request.removeHeader("x-in");
  Request.setPathTo("/moved");
  Response.setHeader("x-out", "");
  Response.removeHeader("server");
  Values.set("after", "set");
  Log.info("edited");
  Log.warn("warned");
}

function or(text: string | null): string {
  return text === null ? "-" : text;
}
