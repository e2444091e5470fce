// What the tools of plugin authors may see of guests. A gateway never sets one: it is asked at every call.

/** Any function at the border. */
export type BorderFunction = (...args: never[]) => unknown;

export type GuestObserver = {
  /** Stands between a guest and one of its imports. */
  wrap(run: BorderFunction): BorderFunction;
  /** An instance began; its exports, the rewriter's among them. */
  onStarted(exports: WebAssembly.Exports): void;
  /** A call ended: the fuel it used, and what it threw or null. */
  onEnded(fuelUsed: number, error: unknown): void;
};
