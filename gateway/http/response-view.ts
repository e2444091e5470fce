// A response's head as plugins see it before it is sent. Edits are gathered in the exchange and take
// effect when the head is written; the head itself is never changed.

import { nowMs } from "../base/clock.ts";
import type { Exchange } from "../exchange.ts";
import type { ResponseView } from "../plugins/phases.ts";
import type { LocalResponse } from "../plugins/verdict.ts";
import type { ResponseHead } from "../wire/response-head.ts";
import type { RouteRuntime } from "./snapshot.ts";

abstract class EditedView implements ResponseView {
  readonly exchange: Exchange;
  abstract readonly status: number;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
  }

  abstract at(exchange: Exchange): ResponseView;

  /** The first line's value, without the edits. */
  protected abstract first(name: string): string | null;
  protected abstract all(name: string): string[];
  protected abstract originalNames(): string[];

  names(): Iterable<string> {
    const { responseEdits: edits } = this.exchange;
    const added = edits?.added.map(([name]) => name) ?? [];
    return new Set([...this.originalNames(), ...(edits?.keys() ?? []), ...added]);
  }

  header(name: string): string | null {
    const { responseEdits: edits } = this.exchange;
    if (edits === null) return this.first(name);
    return edits.valuesOf(name, this.all(name))[0] ?? null;
  }

  values(name: string): readonly string[] {
    const all = this.all(name);
    return this.exchange.responseEdits?.valuesOf(name, all) ?? all;
  }

  set(name: string, value: string): void {
    this.exchange.editResponseHeader(name, value);
  }

  append(name: string, value: string): void {
    this.exchange.editResponseHeader(name, [...this.values(name), value].join(", "));
  }

  add(name: string, value: string): void {
    this.exchange.addResponseHeader(name, value);
  }

  remove(name: string): void {
    this.exchange.editResponseHeader(name, null);
  }
}

/** View of an upstream's response. */
export class HeadView extends EditedView {
  readonly status: number;
  readonly #head: ResponseHead;

  constructor(head: ResponseHead, exchange: Exchange) {
    super(exchange);
    this.status = head.status;
    this.#head = head;
  }

  at(exchange: Exchange): ResponseView {
    return new HeadView(this.#head, exchange);
  }

  protected first(name: string): string | null {
    return this.#head.get(name);
  }

  protected all(name: string): string[] {
    return this.#head.fields.each(name);
  }

  protected originalNames(): string[] {
    const names: string[] = [];
    this.#head.fields.forEach((name) => names.push(name));
    return names;
  }
}

/** View of a response made by the gateway. */
export class LocalView extends EditedView {
  readonly status: number;
  readonly #response: LocalResponse;

  constructor(response: LocalResponse, exchange: Exchange) {
    super(exchange);
    this.status = response.status;
    this.#response = response;
  }

  at(exchange: Exchange): ResponseView {
    return new LocalView(this.#response, exchange);
  }

  protected first(name: string): string | null {
    return this.all(name)[0] ?? null;
  }

  protected all(name: string): string[] {
    const own = this.#response.headers.filter(([each]) => each.toLowerCase() === name);
    return own.map(([, value]) => value);
  }

  protected originalNames(): string[] {
    return this.#response.headers.map(([name]) => name.toLowerCase());
  }
}

/** What the route's configuration edits comes last: it holds against every plugin. */
export function applyRouteEdits(
  exchange: Exchange,
  { responseEdits, serverTiming }: Pick<RouteRuntime, "responseEdits" | "serverTiming">,
): void {
  if (responseEdits !== null) {
    for (const [name, value] of responseEdits) exchange.editResponseHeader(name, value);
  }
  if (!serverTiming) return;
  const durationMs = (nowMs() - exchange.startedMs).toFixed(1);
  exchange.editResponseHeader("server-timing", `gateway;dur=${durationMs}`);
}
