// The life of a request, its phases in order:
//   accept -> match -> plugins "request" -> action (forward, redirect, respond, echo)
//   -> plugins "response" -> head and body to the client -> account
// Holds the only try/catch of the data path. Before the response's head is sent an error becomes a
// response; after it, the connection is cut.

import { beginTurn, nowMs } from "../base/clock.ts";
import { ERRORS, GatewayError } from "../base/errors.ts";
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
import { wantsTrailers } from "../wire/h2-fields.ts";
import type { RequestHead } from "../wire/request-head.ts";
import type { BodyFraming, ResponseHead } from "../wire/response-head.ts";
import { acceptRequest, isAboutServer } from "./accept.ts";
import type { Accepted, Acceptor } from "./accept.ts";
import type { Downstream, RequestServer } from "./downstream.ts";
import { Echo } from "./echo.ts";
import { HeldBody, NO_BODY } from "./held-body.ts";
import { holdResponse } from "./held-response.ts";
import { buildResponseFields, interimText } from "./hygiene.ts";
import { forwardPlan, requestText } from "./request-text.ts";
import {
  codeOf,
  grpcLimitMs,
  grpcResponse,
  isGrpc,
  reasonOf,
  sendAnswer,
  stackOf,
} from "./respond.ts";
import { applyRouteEdits, HeadView, LocalView } from "./response-view.ts";
import type { RouteAction, RouteRuntime, Snapshot } from "./snapshot.ts";
import { forwardedClientCert } from "./tls-facts.ts";
import { clientSide, originSide, Tunnel } from "./tunnel.ts";
import { isAccepted, refuseHandshake } from "./websocket.ts";

/** What the request's life reaches of its worker. */
export interface Core extends Acceptor {
  readonly log: Log;
  readonly wheel: TimerWheel;
  /** The request is over: for counters and the access log. */
  onFinished(exchange: Exchange, route: RouteRuntime | null, durationMs: number): void;
}

const BODY_UNSEEN = "more than the route's policies may see";

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
  #held: HeldBody | null = null;
  #tunnel: Tunnel | null = null;
  #bodyBytesMax = Infinity;
  #answering = false;
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
    if (route === null) return this.#answerNoRoute(exchange, snapshot);
    this.#route = route;
    exchange.routeName = route.name;
    this.#bodyBytesMax = route.bodyBytesMax;
    if (this.#head.contentLength > route.bodyBytesMax) {
      throw new GatewayError("BODY_TOO_LARGE", `${this.#head.contentLength} bytes announced`);
    }
    const limitMs = this.#isGrpc ? grpcLimitMs(this.#head, route.timeoutMs) : route.timeoutMs;
    if (limitMs > 0) this.#client.limitRequest(limitMs, exchange.startedMs);
    if (route.bodyView === null || !this.#head.hasBody) {
      if (route.bodyView !== null) exchange.body = NO_BODY;
      this.#ask(route, exchange, snapshot);
      return;
    }
    // Policies are asked when enough of the body is there: see #askWithBody.
    this.#held = new HeldBody(route.bodyView, this.#head.contentLength);
    if (this.#held.isTooLong) throw new GatewayError("BODY_TOO_LARGE", BODY_UNSEEN);
    this.#client.readBody();
  }

  #ask(route: RouteRuntime, exchange: Exchange, snapshot: Snapshot): void {
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

  // Called after each part of a body that is held, and at its end.
  #askWithBody(held: HeldBody): void {
    const { exchange, snapshot } = this.#accepted as Accepted;
    if (!held.isReady || exchange.body !== null) return;
    try {
      if (held.isTooLong) throw new GatewayError("BODY_TOO_LARGE", BODY_UNSEEN);
      exchange.body = { bytes: held.bytes(), whole: held.ended };
      this.#ask(this.#route as RouteRuntime, exchange, snapshot);
    } catch (error) {
      this.#failBy(error);
    }
  }

  // Lets the body flow to whoever takes it now; what was held goes first.
  #releaseBody(): void {
    const held = this.#held;
    this.#held = null;
    if (held === null) {
      this.#client.readBody();
      return;
    }
    const bytes = held.bytes();
    if (bytes.length > 0) this.#passBody(bytes, 0, bytes.length);
    if (held.ended) this.onBodyEnd();
    else if (this.flushBody()) this.#client.resumeBody();
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
        this.#releaseBody();
    }
  }

  #startForward(action: RouteAction & { kind: "upstream" }, exchange: Exchange): void {
    const refusal = this.#head.websocket ? refuseHandshake(this.#head, exchange) : null;
    if (refusal !== null) {
      this.#respond(refusal);
      return;
    }
    exchange.upstreamName = action.upstream.name;
    this.#forward = new Forward(this, action.upstream, forwardPlan(exchange, this.#head, action));
    this.#forward.start();
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
    if (this.#held !== null) this.#held.add(bytes, from, to);
    else this.#passBody(bytes, from, to);
  }

  #passBody(bytes: Buffer, from: number, to: number): void {
    if (this.#forward !== null) this.#forward.sendBody(bytes, from, to);
    else this.#echo?.addBody(bytes, from, to);
  }

  flushBody(): boolean {
    if (this.#held !== null) {
      this.#askWithBody(this.#held);
      // Until it is known who takes the body.
      return this.#held === null || !this.#held.isReady;
    }
    return this.#forward?.flushBody() ?? true;
  }

  onBodyEnd(): boolean {
    if (this.#held !== null) {
      this.#held.ended = true;
      this.#askWithBody(this.#held);
      return true;
    }
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
    this.#releaseBody();
  }

  resumeBody(): void {
    this.#client.resumeBody();
  }

  onInterim(head: ResponseHead): void {
    this.#client.sendInterim(interimText(head));
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
    let policies: void | Promise<void>;
    try {
      const view = () => new HeadView(head, exchange);
      policies = runResponseChain(slots, route.chain, exchange, view);
    } catch (error) {
      this.onRequestFailed(codeOf(error), String(error));
      return;
    }
    if (policies === undefined) {
      this.#passHead(head, framing);
      return;
    }
    const forward = this.#forward as Forward;
    holdResponse(policies, {
      forward,
      client: this,
      isWanted: () => this.#forward === forward,
      passHead: () => this.#passHead(head, framing),
      fail: (error) => this.onRequestFailed(codeOf(error), String(error)),
    });
  }

  #passHead(head: ResponseHead, framing: BodyFraming): void {
    const { exchange } = this.#accepted as Accepted;
    const route = this.#route as RouteRuntime;
    applyRouteEdits(exchange, route);
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
    client.unlimitRequest();
    this.#bodyBytesMax = Infinity;
    this.#tunnel = new Tunnel({
      wheel: this.#core.wheel,
      idleMs,
      client: clientSide(client, () => void this.onResponseEnd("")),
      origin: originSide(this.#forward as Forward),
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
    // Who did not say that trailers are understood would lose them unseen (RFC 9110, 6.5.1).
    const isHeard = trailers !== "" && wantsTrailers(this.#head.get("te"));
    const flushed = this.#client.endResponse(isHeard ? trailers : "");
    this.#finish("");
    return flushed;
  }

  onForwardFailed(code: ErrorCode, detail: string): void {
    this.#fail(code, detail);
  }

  // Answers made here.

  #answerNoRoute(exchange: Exchange, snapshot: Snapshot): void {
    const why = whyNoMatch(snapshot.tree, exchange);
    if (why.kind !== "wrong-method") throw new GatewayError("NO_ROUTE", "no route matches");
    exchange.reason = "METHOD_NOT_ALLOWED";
    const allow = why.allow.join(", ");
    this.#respond(problem("METHOD_NOT_ALLOWED", exchange.requestId, [["allow", allow]]));
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
    // The first answer stands, also while policies take their time about it.
    if (this.#answering) return;
    const { exchange } = this.#accepted as Accepted;
    const { slots } = this.#snapshot as Snapshot;
    const route = this.#route;
    exchange.status = response.status;
    let policies: void | Promise<void>;
    try {
      const view = () => new LocalView(response, exchange);
      policies = route === null ? undefined : runResponseChain(slots, route.chain, exchange, view);
    } catch (error) {
      this.#sendFailed(error);
      return;
    }
    const sent = this.#isGrpc ? grpcResponse(response, reasonOf(response)) : response;
    if (policies === undefined) {
      this.#send(sent);
      return;
    }
    this.#answering = true;
    policies.then(
      () => this.#send(sent),
      (error: unknown) => this.#sendFailed(error),
    );
  }

  // A plugin that fails on a local response must not hide the reason for that response.
  #sendFailed(error: unknown): void {
    const { exchange } = this.#accepted as Accepted;
    this.#core.log.warn("a plugin failed on a local response", { error: String(error) });
    exchange.responseEdits = null;
    const sent = problem(codeOf(error), exchange.requestId);
    exchange.status = sent.status;
    this.#send(sent);
  }

  #send(sent: LocalResponse): void {
    if (this.#finished) return;
    const { exchange } = this.#accepted as Accepted;
    if (this.#route !== null) applyRouteEdits(exchange, this.#route);
    sendAnswer(this.#client, sent, exchange);
    this.#finish("");
  }

  #requestText(address: string): string {
    const { exchange } = this.#accepted as Accepted;
    return requestText(exchange, this.#head, this.#route?.action ?? null, address);
  }

  #finish(reason: string): void {
    const accepted = this.#accepted;
    if (this.#finished || accepted === null) return;
    this.#finished = true;
    this.#held = null;
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
