// The binding of llhttp inside Node, as far as the fuzzers use it: sockets and streams around it
// would cost them nine tenths of their speed.

declare module "node:_http_common" {
  /** What the callback of a complete head gets. Fields and target are undefined when they came in parts. */
  type HeadParts = [
    major: number,
    minor: number,
    fields: string[] | undefined,
    method: number | undefined,
    target: string | undefined,
    status: number | undefined,
    reason: string | undefined,
    upgrade: boolean,
  ];

  /** A fault of the message, given back and not thrown. */
  type ParseFault = Error & { readonly code: string; readonly bytesParsed: number };

  class HTTPParser {
    static readonly REQUEST: number;
    static readonly RESPONSE: number;
    static readonly kOnHeaders: number;
    static readonly kOnHeadersComplete: number;
    static readonly kOnBody: number;
    static readonly kOnMessageComplete: number;
    static readonly kLenientNone: number;
    initialize(kind: number, resource: object, headBytesMax: number, lenient: number): void;
    execute(bytes: Uint8Array): number | ParseFault;
    finish(): ParseFault | undefined;
    /** Frees it; it must not be used again. */
    close(): void;
    [callback: number]: unknown;
  }
}
