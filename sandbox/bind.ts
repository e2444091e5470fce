// Host functions of the user as guests import them: counted, refused while an instance starts, and with
// whatever they throw turned into the end of the call.

import type { Budget } from "./budget.ts";
import { Halt } from "./errors.ts";
import type { Guest, HostFunction } from "./guest.ts";

/**
 * A synchronous host function, bound to its guest. One function for each number of parameters: rest
 * parameters would make an array for every call.
 */
export function bindUser<C>(
  name: string,
  host: HostFunction<C>,
  guest: Guest<C>,
): (...args: never[]) => unknown {
  switch (host.params.length) {
    case 0:
      return () => {
        enter(name, guest);
        try {
          return host.run(guest);
        } catch (error) {
          throw hostFailure(name, error);
        }
      };
    case 1:
      return (a) => {
        enter(name, guest);
        try {
          return host.run(guest, a);
        } catch (error) {
          throw hostFailure(name, error);
        }
      };
    case 2:
      return (a, b) => {
        enter(name, guest);
        try {
          return host.run(guest, a, b);
        } catch (error) {
          throw hostFailure(name, error);
        }
      };
    default:
      return (...args) => {
        enter(name, guest);
        try {
          return host.run(guest, ...args);
        } catch (error) {
          throw hostFailure(name, error);
        }
      };
  }
}

function enter<C>(name: string, guest: Guest<C>): void {
  guest.countHostCall();
  // There is no request yet, and state of the first one must not get into every instance.
  if (!guest.ready) throw new Halt("host_denied", `${name} was called during initialisation`);
}

function hostFailure(name: string, error: unknown): unknown {
  if (error instanceof Halt || isStackOverflow(error)) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new Halt("host_error", `the host function ${name} failed: ${reason}`);
}

/**
 * A host function that answers later: the guest is suspended meanwhile, without using its CPU time, and
 * for no longer than its call may wait in all.
 */
export function bindSuspending<C>(
  name: string,
  host: HostFunction<C>,
  parts: { readonly guest: Guest<C>; readonly budget: Budget },
): unknown {
  const { guest, budget } = parts;
  return new WebAssembly.Suspending((...args: never[]) => {
    enter(name, guest);
    guest.countAsyncCall();
    const leftMs = budget.suspend();
    return settle(host.run(guest, ...args), leftMs)
      .catch((error: unknown) => {
        throw hostFailure(name, error);
      })
      .finally(() => budget.resume());
  });
}

function settle<T>(answer: T | Promise<T>, leftMs: number): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const timer = setTimeout(() => {
    reject(new Halt("async_timeout", "the guest's asynchronous calls took too long in all"));
  }, leftMs);
  Promise.resolve(answer)
    .then(resolve, reject)
    .finally(() => clearTimeout(timer));
  return promise;
}

/** True for what V8 throws when the stack of the thread ends. */
export function isStackOverflow(error: unknown): boolean {
  return error instanceof RangeError && error.message.startsWith("Maximum call stack");
}
