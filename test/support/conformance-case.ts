// The cases of the conformance suite, in terms that no protocol owns: what is asked, what the origin
// answers, what both ends must see. Where the protocols differ a case says why, with a reason of a
// closed list.

import type { ErrorCode } from "../../gateway/base/errors.ts";
import type { RouteConfig, UpstreamConfig } from "../../gateway/config/schema.ts";
import type { EdgeOptions } from "./edge.ts";

export type Protocol = "h1" | "h2";
export type Pair = { readonly client: Protocol; readonly origin: Protocol };
export type Side = "h1 client" | "h2 client" | "h1 origin" | "h2 origin";
/** Texts of names, values and bodies are Latin-1. */
export type Field = readonly [name: string, value: string];

export const PAIRS: readonly Pair[] = [
  { client: "h1", origin: "h1" },
  { client: "h1", origin: "h2" },
  { client: "h2", origin: "h1" },
  { client: "h2", origin: "h2" },
];

/** Why a case does not exist on a side, or is answered otherwise there. */
export const REASONS = {
  // Of requests.
  "no lines": "frames and their lengths stand where HTTP/1.1 has lines, which can be spelt wrong",
  "no chunks": "a body is delimited by frames, which are node:http2's business",
  "no version": "a request does not say its version",
  "no pseudo fields": "method, host and path are parts of the request line and one field",
  "host beside authority": "the Host field may repeat the authority (RFC 9113, 8.3.1)",
  "one name form": "host and path are separate fields, so an absolute target says one twice",
  "lower case only": "a name in upper case is malformed (RFC 9113, 8.2)",
  "no connection fields": "fields of one connection are malformed (RFC 9113, 8.2.2)",
  "reset by framing": "nghttp2 resets what has a head or a length that cannot be (RFC 9113, 8.1.1)",
  "no half-close": "an end of the connection's half ends all of its streams",
  "next request": "what follows a body of HTTP/1.1 is the next request",
  "own limits": "node:http2 bounds a header list before it is a request",
  // Of both.
  "left out by framing": "nghttp2 leaves out a field that cannot be, and tells nobody",
  // Of responses.
  "no end by close": "a body ends with its stream, and never with the connection",
  "no trailers": "trailers of HTTP/1.1 are dropped, in both directions",
  "no body by status": "node:http2 sends no body where there is none",
} as const;

export type Reason = keyof typeof REASONS;

export type RequestBody = {
  readonly text: string;
  /** Declared; left out: in chunks, or up to the stream's end. */
  readonly length?: number;
  readonly trailers?: readonly Field[];
  /** What follows the text instead of the body's end. */
  readonly then?: "nothing" | "end" | "reset";
  /** Sent when a 100 has come. */
  readonly isAskedFor?: true;
};

export type Request = {
  readonly method?: string;
  readonly target?: string;
  /** Host or `:authority`; null: none. */
  readonly host?: string | null;
  readonly fields?: readonly Field[];
  readonly body?: RequestBody;
  /** The client ends its half of the connection behind it. */
  readonly halfClose?: true;
  /** Over HTTP/1.1 these bytes instead. */
  readonly bytes?: string;
  /** Over HTTP/2 this header block instead. */
  readonly block?: readonly Field[];
};

export type AnswerBody = {
  readonly text: string;
  /** With a length, in chunks or up to the stream's end, or up to the connection's end. */
  readonly as: "length" | "open" | "close";
  /** Declared instead of the real one. */
  readonly length?: number;
};

export type Answer = {
  /** As soon as the head is there, or once the request is complete (the default). */
  readonly when?: "head" | "end";
  /** The origin stops reading the request when it answers. */
  readonly stops?: true;
  readonly interims?: readonly { readonly status: number; readonly fields?: readonly Field[] }[];
  /** null: there is none. */
  readonly status?: number | string | null;
  readonly fields?: readonly Field[];
  /** null: none and no word of one. */
  readonly body?: AnswerBody | null;
  readonly trailers?: readonly Field[];
  /**
   * What follows instead of the message's end: an end too early, a reset (of the stream), the loss of
   * the connection, nothing. Once the client has seen the body so far.
   */
  readonly then?: "end" | "reset" | "gone" | "nothing";
  /** Of HTTP/1.1 these bytes instead. */
  readonly bytes?: string;
};

/** What the client must see. */
export type WantedAnswer = {
  readonly status?: number;
  readonly interims?: readonly (readonly [status: number, fields: readonly Field[]])[];
  /** All of them, but for date, request id and framing. */
  readonly fields?: readonly Field[];
  readonly body?: string;
  readonly trailers?: readonly Field[];
  /** It ends so that it cannot be taken for a whole one. */
  readonly isCut?: boolean;
};

/** What the origin must get; what is left out is as it was sent. */
export type Meant = {
  readonly method?: string;
  readonly target?: string;
  readonly host?: string;
  readonly fields?: readonly Field[];
  readonly body?: string;
};

export type Wanted = {
  /** A problem document with this code, an end before anything of a body, or an answer. */
  readonly client?: ErrorCode | "reset" | WantedAnswer;
  /** Nothing; a request that is not completed; or these. */
  readonly origin?: "nothing" | "unfinished" | Meant | readonly Meant[];
  /** A connection of HTTP/1.1 to the client ends with the answer. */
  readonly closes?: boolean;
};

export type Case = Wanted & {
  readonly what: string;
  readonly request?: Request;
  /** Of the origin, one for each request that it gets; the last one again for every further one. */
  readonly answer?: Answer | readonly Answer[];
  readonly route?: Partial<RouteConfig>;
  readonly upstream?: Partial<UpstreamConfig>;
  readonly timeouts?: EdgeOptions["timeouts"];
  /** A request before it, so that the connection to the origin is used again. */
  readonly isReused?: true;
  /** nghttp2 ends the client's whole session over it. */
  readonly losesSession?: true;
  readonly notOver?: Partial<Record<Side, Reason>>;
  /** Where it is answered otherwise; the first side that fits. */
  readonly differs?: Partial<Record<Side, Wanted & { readonly why: Reason }>>;
};

/** Client side first: what a client may not send never comes to an origin. */
export function sidesOf({ client, origin }: Pair): readonly Side[] {
  return [`${client} client`, `${origin} origin`];
}

/** The pairs of protocols in which a case exists. */
export function pairsOf(row: Case): readonly Pair[] {
  return PAIRS.filter((pair) => sidesOf(pair).every((side) => row.notOver?.[side] === undefined));
}

/** What a pair differs in, or null. */
export function differenceOf(row: Case, pair: Pair): (Wanted & { readonly why: Reason }) | null {
  for (const side of sidesOf(pair)) {
    const difference = row.differs?.[side];
    if (difference !== undefined) return difference;
  }
  return null;
}

/** Waits for what other callbacks bring about, within bounds of time. */
export class Progress {
  readonly #looks = new Set<() => void>();

  changed(): void {
    for (const look of [...this.#looks]) look();
  }

  async until(holds: () => boolean, what: string): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#looks.delete(look);
        act();
      };
      const look = () => holds() && settle(resolve);
      const timer = setTimeout(() => settle(() => reject(new Error(`no ${what}`))), WAIT_MS);
      this.#looks.add(look);
    });
  }
}

const WAIT_MS = 20_000;
