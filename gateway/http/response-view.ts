// A response's head as plugins see it before it is sent. Edits are gathered in the exchange and take
// effect when the head is written; the head itself is never changed.

import type { Exchange } from "../exchange.ts";
import type { ResponseView } from "../plugins/phases.ts";
import type { LocalResponse } from "../plugins/verdict.ts";
import type { ResponseHead } from "../wire/response-head.ts";

abstract class EditedView implements ResponseView {
  readonly exchange: Exchange;
  abstract readonly status: number;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
  }

  protected abstract original(name: string): string | null;

  header(name: string): string | null {
    const edited = this.exchange.responseEdits?.get(name);
    return edited === undefined ? this.original(name) : edited;
  }

  set(name: string, value: string): void {
    this.exchange.editResponseHeader(name, value);
  }

  append(name: string, value: string): void {
    const present = this.header(name);
    this.exchange.editResponseHeader(name, present === null ? value : `${present}, ${value}`);
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

  protected original(name: string): string | null {
    return this.#head.get(name);
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

  protected original(name: string): string | null {
    const found = this.#response.headers.find(([own]) => own.toLowerCase() === name);
    return found === undefined ? null : found[1];
  }
}
