// The part of WASI preview 1 that compilers link in whether a policy needs it or not. There are no
// files, no environment, no arguments and no sockets; the clock stands still during a call; what is
// printed goes to the bounded log. Everything else answers ENOSYS. Never node:wasi.

import { randomFillSync } from "node:crypto";
import { Halt } from "./errors.ts";
import type { Guest } from "./guest.ts";

// Error numbers of preview 1.
const SUCCESS = 0;
const EBADF = 8;
const EFAULT = 21;
const EINVAL = 28;
const ENOSYS = 52;
const ESPIPE = 70;

const RANDOM_BYTES_MAX = 65_536;
const VECTORS_MAX = 1_024;
/** What looking at a vector costs, as bytes moved. */
const VECTOR_UNITS = 16;
const CHARACTER_DEVICE = 2;

/** The stub behind `wasi_snapshot_preview1` `name`, bound to its guest. */
export function bindWasi(name: string, guest: Guest<never>): (...args: never[]) => unknown {
  const call = wasiCall(name, guest);
  return (...args) => {
    guest.countHostCall();
    return call(...args);
  };
}

function wasiCall(name: string, guest: Guest<never>): (...args: never[]) => unknown {
  switch (name) {
    case "args_sizes_get":
    case "environ_sizes_get":
      return (count: number, bytes: number) => store32(guest, count, 0) || store32(guest, bytes, 0);
    case "args_get":
    case "environ_get":
    case "sched_yield":
      return () => SUCCESS;
    case "clock_res_get":
      return (_clock: number, at: number) => store64(guest, at, 1_000_000n);
    case "clock_time_get":
      return (clock: number, _precision: bigint, at: number) =>
        // Real time and monotonic time are one frozen clock; there are no CPU clocks.
        clock > 1 ? EINVAL : store64(guest, at, BigInt(guest.nowMs) * 1_000_000n);
    case "random_get":
      return (at: number, length: number) => random(guest, at >>> 0, length >>> 0);
    case "fd_write":
      return (fd: number, vectors: number, count: number, written: number) =>
        write(guest, { fd, vectors: vectors >>> 0, count: count >>> 0, written });
    case "fd_read":
      return (fd: number, _vectors: number, _count: number, read: number) =>
        fd === 0 ? store32(guest, read, 0) : EBADF;
    case "fd_seek":
    case "fd_tell":
      return (fd: number) => (isStandard(fd) ? ESPIPE : EBADF);
    case "fd_close":
      return (fd: number) => (isStandard(fd) ? SUCCESS : EBADF);
    case "fd_fdstat_get":
      return (fd: number, at: number) => describe(guest, fd, at >>> 0);
    case "fd_prestat_get":
    case "fd_prestat_dir_name":
      // The C library stops looking for directories here; ENOSYS would make it abort.
      return () => EBADF;
    case "proc_exit":
      return (code: number) => {
        throw new Halt("trap", `the guest exited with code ${code}`);
      };
    default:
      return () => ENOSYS;
  }
}

function isStandard(fd: number): boolean {
  return fd >= 0 && fd <= 2;
}

function store32(guest: Guest<never>, at: number, value: number): number {
  const view = guest.view();
  if (at >>> 0 > view.length - 4) return EFAULT;
  view.writeUInt32LE(value, at >>> 0);
  return SUCCESS;
}

function store64(guest: Guest<never>, at: number, value: bigint): number {
  const view = guest.view();
  if (at >>> 0 > view.length - 8) return EFAULT;
  view.writeBigUInt64LE(value, at >>> 0);
  return SUCCESS;
}

function random(guest: Guest<never>, at: number, length: number): number {
  const view = guest.view();
  if (length > RANDOM_BYTES_MAX) return EINVAL;
  if (at + length > view.length) return EFAULT;
  guest.pay(length);
  randomFillSync(view, at, length);
  return SUCCESS;
}

function describe(guest: Guest<never>, fd: number, at: number): number {
  if (!isStandard(fd)) return EBADF;
  const view = guest.view();
  if (at + 24 > view.length) return EFAULT;
  view.fill(0, at, at + 24);
  view[at] = CHARACTER_DEVICE;
  return SUCCESS;
}

type Write = { fd: number; vectors: number; count: number; written: number };

/** One write is one line at most; the guest is told that all of it was taken. */
function write(guest: Guest<never>, { fd, vectors, count, written }: Write): number {
  if (fd !== 1 && fd !== 2) return EBADF;
  if (count > VECTORS_MAX) return EINVAL;
  guest.pay(count * VECTOR_UNITS);
  const view = guest.view();
  const bytesMax = guest.limits.logLineBytesMax;
  const line = Buffer.alloc(bytesMax);
  let kept = 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    const vector = vectors + i * 8;
    if (vector + 8 > view.length) return EFAULT;
    const from = view.readUInt32LE(vector);
    const length = view.readUInt32LE(vector + 4);
    if (from + length > view.length) return EFAULT;
    total += length;
    kept += view.copy(line, kept, from, from + Math.min(length, bytesMax - kept));
  }
  // 32 bits of bytes at most, as the interface counts them.
  if (total > 0xffff_ffff) return EINVAL;
  while (kept > 0 && (line[kept - 1] === 10 || line[kept - 1] === 13)) kept -= 1;
  const level = fd === 1 ? 2 : 3;
  if (kept > 0 && guest.wantsLine(level)) {
    guest.writeLine(fd === 1 ? "info" : "warn", line.toString("utf8", 0, kept));
  }
  return store32(guest, written, total);
}
