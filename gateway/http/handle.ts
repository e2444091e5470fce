// The life of a request, its phases in order:
//   accept -> match -> plugins "request" -> action (forward, redirect, respond, echo)
//   -> plugins "response" -> head and body to the client -> account
// Holds the only try/catch of the data path. Before the response's head is sent an error becomes a
// response; after it, the connection is cut.

import { beginTurn, nowMs } from "../base/clock.ts";
import { ERRORS, GatewayError, isGatewayError } from "../base/errors.ts";
import type { ErrorCode } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { Exchange } from "../exchange.ts";
import { runRequestChain, runResponseChain } from "../plugins/chain.ts";
import { problem } from "../plugins/problem.ts";
import type { LocalResponse, Verdict } from "../plugins/verdict.ts";
import { whyNoMatch } from "../routing/explain.ts";
import { matchRoute } from "../routing/match.ts";
import { redirectTarget, rewritePath } from "../routing/rewrite.ts";
import { Forward } from "../upstream/forward.ts";
import type { ForwardClient } from "../upstream/forward.ts";
import type { Endpoint } from "../upstream/upstream.ts";
import type { RequestHead } from "../wire/request-head.ts";
import type { BodyFraming, ResponseHead } from "../wire/response-head.ts";
import { acceptRequest, isAboutServer } from "./accept.ts";
import type { Accepted, Acceptor } from "./accept.ts";
import type { Downstream, RequestServer } from "./downstream.ts";
import { Echo } from "./echo.ts";
import { hashKey } from "./hash-key.ts";
import { buildRequestHead, buildResponseFields } from "./hygiene.ts";
import { grpcResponse, grpcTimeoutMs, hasNoBody, isGrpc, localFields } from "./respond.ts";
import { HeadView, LocalView } from "./response-view.ts";
import type { RouteAction, RouteRuntime, Snapshot } from "./snapshot.ts";
import { forwardedClientCert } from "./tls-facts.ts";
import { Tunnel } from "./tunnel.ts";
import { WEBSOCKET_VERSION, hasKey, isAccepted } from "./websocket.ts";

/** What the request's life reaches of its worker. */
export interface Core extends Acceptor {
  readonly log: Log;
  readonly wheel: TimerWheel;
  /** The request is over: for counters and the access log. */
  onFinished(exchange: Exchange, route: RouteRuntime | null, durationMs: number): void;
}

/** One request on its way through the gateway. */
export class Handling implements RequestServer, ForwardClient {
  readonly #core: Core;
  readonly #client: Downstream;
  readonly #head: RequestHead;
  readonly #isGrpc: boolean;
  #snapshot: Snapshot | null = null;
  #accepted: Accepted | null = null;
  #route: RouteRuntime | null = null;
  #forward: Forward | null = null;
  #echo: Echo | null = null;
  #tunnel: Tunnel | null = null;
  #bodyBytesMax = Infinity;
  #finished = false;

  constructor(core: Core, client: Downstream, head: RequestHead) {
    this.#core = core;
    this.#client = client;
    this.#head = head;
    this.#isGrpc = isGrpc(head.get("content-type"));
  }

  start(): void {
    const accepted = acceptRequest(this.#core, this.#client, this.#head);
    this.#accepted = accepted;
    this.#snapshot = accepted.snapshot;
    this.#snapshot.acquire();
    if (accepted.fault !== null) {
      this.#client.closeAfterResponse();
      this.#fail(accepted.fault, "the request was not accepted");
      return;
    }
    try {
      this.#run(accepted.exchange, accepted.snapshot);
    } catch (error) {
      this.#failBy(error);
    }
  }

  #run(exchange: Exchange, snapshot: Snapshot): void {
    if (isAboutServer(this.#head)) {
      this.#respond({ status: 204, headers: [], body: "" });
      return;
    }
    const route = matchRoute(snapshot.tree, exchange);
    if (route === null) {
      this.#answerNoRoute(exchange, snapshot);
      return;
    }
    this.#route = route;
    exchange.routeName = route.name;
    this.#bodyBytesMax = route.bodyBytesMax;
    if (this.#head.contentLength > route.bodyBytesMax) {
      throw new GatewayError("BODY_TOO_LARGE", `${this.#head.contentLength} bytes announced`);
    }
    this.#limit(route, exchange);
    const verdict = runRequestChain(snapshot.slots, route.chain, exchange);
    if (verdict instanceof Promise) {
      // A rejection ends here, and what act() throws is caught within it.
      verdict.then(
        (settled) => this.#act(settled, exchange, route),
        (error: unknown) => this.#failBy(error),
      );
    } else {
      this.#decide(verdict, exchange, route);
    }
  }

  // The route's time, or the client's own where it is shorter (gRPC). 0: no limit.
  #limit({ timeoutMs }: RouteRuntime, exchange: Exchange): void {
    const asked = this.#isGrpc ? grpcTimeoutMs(this.#head.get("grpc-timeout")) : null;
    const limitMs = asked === null || (timeoutMs > 0 && timeoutMs < asked) ? timeoutMs : asked;
    if (limitMs > 0) this.#client.limitRequest(limitMs, exchange.startedMs);
  }

  // After a policy that took its time: the client may be gone, or the route's time be up.
  #act(verdict: Verdict, exchange: Exchange, route: RouteRuntime): void {
    if (this.#finished || exchange.headSent) return;
    beginTurn();
    try {
      this.#decide(verdict, exchange, route);
    } catch (error) {
      this.#failBy(error);
    }
  }

  #decide(verdict: Verdict, exchange: Exchange, route: RouteRuntime): void {
    if (verdict !== null) {
      exchange.reason = verdict.reason;
      this.#respond(verdict.response);
      return;
    }
    const { action } = route;
    if (route.requestEdits !== null) {
      for (const [name, value] of route.requestEdits) exchange.editRequestHeader(name, value);
    }
    if (route.forwardClientCert && exchange.tls?.client != null) {
      const value = forwardedClientCert(exchange.tls.client);
      exchange.editRequestHeader("x-forwarded-client-cert", value);
    }
    const pathBefore = exchange.path;
    if (route.rewrite !== null) exchange.path = rewritePath(exchange.path, route.rewrite);
    switch (action.kind) {
      case "upstream":
        this.#startForward(action, exchange);
        return;
      case "redirect": {
        const location = redirectTarget(action.to, pathBefore, exchange.query);
        this.#respond({ status: action.status, headers: [["location", location]], body: "" });
        return;
      }
      case "respond":
        this.#respond(action.response);
        return;
      case "echo":
        this.#echo = new Echo(exchange, this.#requestText(""));
        this.#client.readBody();
    }
  }

  #startForward(action: RouteAction & { kind: "upstream" }, exchange: Exchange): void {
    if (this.#head.websocket && !this.#checkHandshake(exchange)) return;
    exchange.upstreamName = action.upstream.name;
    this.#forward = new Forward(this, action.upstream, {
      method: exchange.method,
      hasBody: this.#head.hasBody,
      chunkedBody: this.#head.chunked,
      mayUpgrade: this.#head.websocket,
      clientIp: exchange.clientIp,
      hashKey: action.hash === null ? "" : hashKey(action.hash, exchange),
      attemptsMax: action.attemptsMax,
      retryOn: action.retryOn,
    });
    this.#forward.start();
  }

  // RFC 6455, 4.2.1 and 4.4: what cannot become a WebSocket is told so before an origin is asked.
  #checkHandshake(exchange: Exchange): boolean {
    if (this.#head.get("sec-websocket-version") !== WEBSOCKET_VERSION) {
      const headers = [["sec-websocket-version", WEBSOCKET_VERSION]] as const;
      exchange.reason = "UPGRADE_REQUIRED";
      this.#respond(problem("UPGRADE_REQUIRED", exchange.requestId, headers));
      return false;
    }
    if (!hasKey(this.#head)) throw new GatewayError("BAD_REQUEST", "a bad Sec-WebSocket-Key");
    return true;
  }

  // The client's body.

  onBody(bytes: Buffer, from: number, to: number): void {
    const { exchange } = this.#accepted as Accepted;
    exchange.bytesReceived += to - from;
    if (this.#tunnel !== null) {
      this.#tunnel.fromClient(bytes, from, to);
      return;
    }
    if (exchange.bytesReceived > this.#bodyBytesMax) {
      this.onRequestFailed("BODY_TOO_LARGE", `more than ${this.#bodyBytesMax} bytes`);
      return;
    }
    if (this.#forward !== null) this.#forward.sendBody(bytes, from, to);
    else this.#echo?.addBody(bytes, from, to);
  }

  flushBody(): boolean {
    return this.#forward?.flushBody() ?? true;
  }

  onBodyEnd(): boolean {
    if (this.#tunnel !== null) {
      this.#forward?.endTunnel();
      return true;
    }
    if (this.#forward !== null) {
      this.#forward.endBody();
      return this.#forward.flushBody();
    }
    if (this.#echo !== null) this.#respond(this.#echo.response());
    return true;
  }

  onRequestFailed(code: ErrorCode, detail: string): void {
    this.#forward?.abort();
    this.#forward = null;
    this.#echo = null;
    this.#fail(code, detail);
  }

  onClientDrain(): void {
    this.#forward?.resumeResponse();
  }

  onDraining(): void {
    this.#tunnel?.goAway();
  }

  onTimeout(): void {
    this.onRequestFailed("ROUTE_TIMEOUT", `not complete within ${this.#route?.timeoutMs} ms`);
  }

  onClientGone(): void {
    this.#forward?.abort();
    this.#forward = null;
    this.#finish(this.#accepted?.exchange.headSent ? "client gone" : "client gone early");
  }

  // The origin's response.

  requestHead(endpoint: Endpoint): string {
    return this.#requestText(endpoint.address);
  }

  startBody(): void {
    this.#client.readBody();
  }

  resumeBody(): void {
    this.#client.resumeBody();
  }

  onInterim(head: ResponseHead): void {
    let text = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
    head.fields.forEach((name, value) => {
      if (name === "link") text += `link: ${value}\r\n`;
    });
    this.#client.sendInterim(`${text}\r\n`);
  }

  onResponseHead(head: ResponseHead, framing: BodyFraming): void {
    const { exchange } = this.#accepted as Accepted;
    const route = this.#route as RouteRuntime;
    const { slots } = this.#snapshot as Snapshot;
    if (framing === "tunnel" && !isAccepted(this.#head, head)) {
      this.onRequestFailed("UPSTREAM_BAD_RESPONSE", "the origin did not agree to this WebSocket");
      return;
    }
    exchange.status = head.status;
    try {
      runResponseChain(slots, route.chain, exchange, () => new HeadView(head, exchange));
    } catch (error) {
      this.onRequestFailed(codeOf(error), String(error));
      return;
    }
    this.#applyResponseEdits(exchange, route);
    exchange.headSent = true;
    // A stream of events has no end that a deadline could mean.
    if (head.get("content-type")?.startsWith("text/event-stream") === true) {
      this.#client.unlimitRequest();
    }
    const fields = buildResponseFields(head, exchange);
    if (framing === "tunnel") this.#startTunnel(fields, route);
    else this.#client.sendHead(fields, framing);
  }

  #startTunnel(fields: string, { websocketIdleMs: idleMs }: RouteRuntime): void {
    const client = this.#client;
    const forward = this.#forward as Forward;
    client.unlimitRequest();
    this.#bodyBytesMax = Infinity;
    this.#tunnel = new Tunnel({
      wheel: this.#core.wheel,
      idleMs,
      client: {
        send: (bytes, from, to) => client.sendBody(bytes, from, to),
        flush: () => client.flush(),
        end: () => void this.onResponseEnd(""),
      },
      origin: {
        send: (bytes, from, to) => forward.sendBody(bytes, from, to),
        flush: () => forward.flushBody(),
        end: () => forward.endTunnel(),
      },
      onIdle: () => this.onRequestFailed("UPSTREAM_TIMEOUT", `silent for ${idleMs} ms`),
    });
    client.sendHead(`${fields}connection: upgrade\r\nupgrade: websocket\r\n`, "tunnel");
  }

  onResponseBody(bytes: Buffer, from: number, to: number): void {
    (this.#accepted as Accepted).exchange.bytesSent += to - from;
    if (this.#tunnel !== null) this.#tunnel.fromOrigin(bytes, from, to);
    else this.#client.sendBody(bytes, from, to);
  }

  flushResponse(): boolean {
    return this.#client.flush();
  }

  onResponseEnd(trailers: string): boolean {
    if (this.#finished) return true;
    const flushed = this.#client.endResponse(trailers);
    this.#finish("");
    return flushed;
  }

  onForwardFailed(code: ErrorCode, detail: string): void {
    this.#fail(code, detail);
  }

  // Answers made here.

  #answerNoRoute(exchange: Exchange, snapshot: Snapshot): void {
    const why = whyNoMatch(snapshot.tree, exchange);
    if (why.kind === "wrong-method") {
      exchange.reason = "METHOD_NOT_ALLOWED";
      const allow = why.allow.join(", ");
      this.#respond(problem("METHOD_NOT_ALLOWED", exchange.requestId, [["allow", allow]]));
    } else {
      throw new GatewayError("NO_ROUTE", "no route matches");
    }
  }

  #failBy(error: unknown): void {
    const code = codeOf(error);
    if (code === "INTERNAL") this.#core.log.error("a request failed", { error: stackOf(error) });
    this.onRequestFailed(code, error instanceof Error ? error.message : String(error));
  }

  #fail(code: ErrorCode, detail: string): void {
    const accepted = this.#accepted;
    if (accepted === null || this.#finished) return;
    const { exchange } = accepted;
    exchange.reason = code;
    if (ERRORS[code].blame === "plugin" || ERRORS[code].blame === "gateway") {
      this.#core.log.warn("a request was failed", { code, detail, request_id: exchange.requestId });
    }
    if (exchange.headSent) {
      this.#client.cut();
      this.#finish(code);
      return;
    }
    this.#respond(problem(code, exchange.requestId));
  }

  #respond(response: LocalResponse): void {
    const { exchange } = this.#accepted as Accepted;
    const { slots } = this.#snapshot as Snapshot;
    const route = this.#route;
    exchange.status = response.status;
    let sent = this.#isGrpc ? grpcResponse(response, reasonOf(response)) : response;
    if (route !== null) {
      // A plugin that fails on a local response must not hide the reason for that response.
      try {
        runResponseChain(slots, route.chain, exchange, () => new LocalView(response, exchange));
      } catch (error) {
        this.#core.log.warn("a plugin failed on a local response", { error: String(error) });
        exchange.responseEdits = null;
        sent = problem(codeOf(error), exchange.requestId);
        exchange.status = sent.status;
      }
      this.#applyResponseEdits(exchange, route);
    }
    const body = typeof sent.body === "string" ? Buffer.from(sent.body) : asBuffer(sent.body);
    const text = localFields(sent, exchange.requestId, exchange.responseEdits, body.length);
    const isSent = body.length > 0 && !hasNoBody(sent.status) && exchange.method !== "HEAD";
    exchange.headSent = true;
    this.#client.sendHead(text, isSent ? "length" : "none");
    if (isSent) {
      exchange.bytesSent = body.length;
      this.#client.sendBody(body, 0, body.length);
    }
    this.#client.endResponse("");
    this.#finish("");
  }

  #applyResponseEdits(exchange: Exchange, route: RouteRuntime): void {
    if (route.responseEdits !== null) {
      for (const [name, value] of route.responseEdits) exchange.editResponseHeader(name, value);
    }
    if (route.serverTiming) {
      const durationMs = (nowMs() - exchange.startedMs).toFixed(1);
      exchange.editResponseHeader("server-timing", `gateway;dur=${durationMs}`);
    }
  }

  #requestText(address: string): string {
    const accepted = this.#accepted as Accepted;
    const { exchange } = accepted;
    const action = this.#route?.action;
    const rule = action?.kind === "upstream" ? action.upstream.config.host_header : undefined;
    let host = exchange.authority === "" ? address : exchange.authority;
    if (rule === "target") host = address;
    else if (rule !== undefined && rule !== "preserve") host = rule;
    return buildRequestHead(exchange, {
      host,
      forwardedFor: exchange.forwardedFor,
      forwardedHost: exchange.authority,
      contentLength: this.#head.contentLength,
      chunked: this.#head.chunked,
      websocket: this.#head.websocket,
      trailers: action?.kind === "upstream" && action.upstream.config.protocol === "http2",
    });
  }

  #finish(reason: string): void {
    const accepted = this.#accepted;
    if (this.#finished || accepted === null) return;
    this.#finished = true;
    if (this.#tunnel !== null) {
      this.#tunnel.close();
      this.#forward?.endTunnel();
    }
    const { exchange } = accepted;
    if (reason !== "") exchange.reason = reason;
    if (this.#forward !== null) {
      exchange.attempts = this.#forward.attempts;
      exchange.upstreamAddress = this.#forward.address;
    }
    this.#core.onFinished(exchange, this.#route, nowMs() - exchange.startedMs);
    this.#snapshot?.release();
  }
}

// What a problem document says in its one sentence; plugins' bodies are not for a header.
function reasonOf({ status, body }: LocalResponse): string {
  try {
    const { detail } = JSON.parse(String(body)) as { detail?: unknown };
    if (typeof detail === "string") return detail;
  } catch {
    // Not a problem document.
  }
  return `answered with ${status}`;
}

function codeOf(error: unknown): ErrorCode {
  return isGatewayError(error) ? error.code : "INTERNAL";
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
