// A peer: a proxy that does the same work as the gateway. An adapter says how to find it, what it
// cannot do, and how it is configured; it starts nothing. To add one, write an adapter and name it
// in all.ts.

/** The host and the prefix that every peer routes by; everything else must not reach the origin. */
export const HOST = "localhost";
export const PREFIX = "/api/";

/** How many sockets to the origin a peer keeps: more than there are requests at a time. */
export const IDLE_SOCKETS = 1024;

export type CertificateFiles = { readonly certFile: string; readonly keyFile: string };

export type JwtSettings = {
  readonly publicKeyFile: string;
  readonly issuer: string;
  readonly audience: string;
  /** False: the signature is checked at every request, as if each token were new. */
  readonly mayCache: boolean;
};

/** A WebAssembly plugin of the gateway. */
export type WasmSettings = {
  readonly name: string;
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** A request that shows that it runs: its path below the prefix, and what the answer must have. */
  readonly proof: { readonly path: string; readonly status: number; readonly header?: string };
};

/** What a peer is to do. */
export type Work = {
  readonly tls: CertificateFiles | null;
  readonly jwt: JwtSettings | null;
  readonly wasm: WasmSettings | null;
};

/** Where it is to do it: a directory of its own, and ports of 127.0.0.1. */
export type Place = {
  readonly directory: string;
  readonly port: number;
  readonly adminPort: number;
  readonly originPort: number;
};

export type Setup = Work & Place;

/** What to run, in the setup's directory, after the files were written there. */
export type Command = {
  readonly files: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
};

export interface Peer {
  readonly name: string;
  /** The program, or null when it is absent. */
  find(): string | null;
  version(program: string): string;
  /** Why it cannot do this work, in a few words; null when it can. */
  lacks(work: Work): string | null;
  command(setup: Setup): Command;
  /** A URL that answers 200 once it serves; without one the first answer of the work tells. */
  readyUrl?(place: Place): string;
}
