// The built-in origin: answers with what an origin would have received, so that a first start, a
// demonstration and a test of a policy need no server beside the gateway.

import type { Exchange } from "../exchange.ts";
import type { LocalResponse } from "../plugins/verdict.ts";
import { FieldList, scanFields } from "../wire/fields.ts";

const BODY_BYTES_KEPT_MAX = 65_536;

/** Collects one request and makes its answer. */
export class Echo {
  readonly #exchange: Exchange;
  readonly #headText: string;
  readonly #kept: Buffer[] = [];
  #keptBytes = 0;
  #bodyBytes = 0;

  /** `headText` is the head as it would be forwarded. */
  constructor(exchange: Exchange, headText: string) {
    this.#exchange = exchange;
    this.#headText = headText;
  }

  addBody(bytes: Buffer, from: number, to: number): void {
    this.#bodyBytes += to - from;
    const take = Math.min(to - from, BODY_BYTES_KEPT_MAX - this.#keptBytes);
    if (take <= 0) return;
    this.#kept.push(Buffer.from(bytes.subarray(from, from + take)));
    this.#keptBytes += take;
  }

  response(): LocalResponse {
    const exchange = this.#exchange;
    const headers: Record<string, string> = Object.create(null) as Record<string, string>;
    // Without the bound on a client's fields: the gateway has added its own.
    const fields = new FieldList(this.#headText);
    scanFields(fields, this.#headText.indexOf("\r\n") + 2, Infinity);
    fields.forEach((name, value) => {
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    });
    const seen = {
      method: exchange.method,
      scheme: exchange.scheme,
      host: exchange.host,
      path: exchange.path,
      query: exchange.query,
      route: exchange.routeName,
      params: Object.fromEntries(exchange.params ?? []),
      client_ip: exchange.clientIp,
      consumer: exchange.consumer,
      request_id: exchange.requestId,
      headers,
      body_bytes: this.#bodyBytes,
      body: Buffer.concat(this.#kept).toString("utf8"),
    };
    return {
      status: 200,
      headers: [["content-type", "application/json"]],
      body: `${JSON.stringify(seen, null, 2)}\n`,
    };
  }
}
