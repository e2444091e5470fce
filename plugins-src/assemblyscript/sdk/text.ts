// Text across the border: UTF-16 here, UTF-8 there. Nearly all of it is ASCII, which is moved eight
// characters at a time; anything else goes one by one. The library's own coding weighs 1 KB.

import { kernelAlloc, kernelFree, kernelLength, kernelLoad64, kernelLoad8, kernelStore64, kernelStore8 } from "./host";

// The gateway replaces an instance whose memory has grown to more than twice its first size, and
// nothing is freed here: with this first size that is after some hundred calls. Pages that are not
// touched cost nothing; where the memory may not grow, it does with what there is.
const FIRST_PAGES: i32 = 8;
memory.grow(max(FIRST_PAGES - memory.size(), 0));

/** Copies a string into memory that the host can read. */
export function give(text: string): u64 {
  const length = text.length;
  if (length == 0) return 0;
  const from = changetype<usize>(text);
  const handle = kernelAlloc(length);
  let i: i32 = 0;
  for (; i + 8 <= length; i += 8) {
    const at = from + (<usize>i << 1);
    const low = load<u64>(at);
    const high = load<u64>(at, 8);
    if ((low | high) & 0xff80ff80ff80ff80) return giveWide(text);
    kernelStore64(handle + i, narrow(low) | (narrow(high) << 32));
  }
  for (; i < length; i++) {
    const code = load<u16>(from + (<usize>i << 1));
    if (code > 127) return giveWide(text);
    kernelStore8(handle + i, code);
  }
  return handle;
}

/** Reads what the host left under a handle, and frees it; null for handle 0. */
export function take(handle: u64): string | null {
  if (handle == 0) return null;
  const length = <i32>kernelLength(handle);
  const to = __new(<usize>length << 1, idof<string>());
  let i: i32 = 0;
  for (; i + 8 <= length; i += 8) {
    const word = kernelLoad64(handle + i);
    if (word & 0x8080808080808080) return takeWide(handle, length);
    const at = to + (<usize>i << 1);
    store<u64>(at, widen(word & 0xffffffff));
    store<u64>(at, widen(word >> 32), 8);
  }
  for (; i < length; i++) {
    const byte = kernelLoad8(handle + i);
    if (byte > 127) return takeWide(handle, length);
    store<u16>(to + (<usize>i << 1), <u16>byte);
  }
  kernelFree(handle);
  return changetype<string>(to);
}

/** The same, with an empty string for handle 0. */
export function takeText(handle: u64): string {
  const text = take(handle);
  return text === null ? "" : text;
}

// Four bytes with a zero before each, and back.
// @ts-ignore: decorator
@inline
function widen(bytes: u64): u64 {
  const pairs = (bytes | (bytes << 16)) & 0x0000ffff0000ffff;
  return (pairs | (pairs << 8)) & 0x00ff00ff00ff00ff;
}

// @ts-ignore: decorator
@inline
function narrow(units: u64): u64 {
  const pairs = (units | (units >> 8)) & 0x0000ffff0000ffff;
  return (pairs | (pairs >> 16)) & 0xffffffff;
}

/** Bytes that the character takes which begins at `i`: 4 for a pair, which is two units. */
export function utf8Length(text: string, i: i32): i32 {
  const code = text.charCodeAt(i);
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  const isPair = (code & 0xfc00) == 0xd800 && i + 1 < text.length && (text.charCodeAt(i + 1) & 0xfc00) == 0xdc00;
  return isPair ? 4 : 3;
}

function giveWide(text: string): u64 {
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const bytes = utf8Length(text, i);
    length += bytes;
    i += <i32>(bytes == 4);
  }
  const handle = kernelAlloc(length);
  let to = handle;
  for (let i = 0; i < text.length; i++) {
    const bytes = utf8Length(text, i);
    let code: i32 = text.charCodeAt(i);
    if (bytes == 4) code = 0x10000 + ((code & 0x3ff) << 10) + (text.charCodeAt(++i) & 0x3ff);
    // The last bytes hold six bits each, the first one what is left, under a mark of the length.
    for (let at = bytes - 1; at > 0; at--) {
      kernelStore8(to + at, 0x80 | (code & 0x3f));
      code >>= 6;
    }
    kernelStore8(to, bytes == 1 ? code : code | ((0xff00 >> bytes) & 0xff));
    to += bytes;
  }
  return handle;
}

// The host writes UTF-8 only.
function takeWide(handle: u64, length: i32): string {
  const to = __new(<usize>length << 1, idof<string>());
  const end = handle + length;
  let at = to;
  for (let from = handle; from < end; ) {
    const first = kernelLoad8(from++);
    const more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let code = more == 0 ? first : first & (0x3f >> more);
    for (let i = 0; i < more; i++) code = (code << 6) | (kernelLoad8(from++) & 0x3f);
    if (code > 0xffff) {
      code -= 0x10000;
      store<u16>(at, <u16>(0xd800 | (code >> 10)));
      at += 2;
      code = 0xdc00 | (code & 0x3ff);
    }
    store<u16>(at, <u16>code);
    at += 2;
  }
  kernelFree(handle);
  return changetype<string>(__renew(to, at - to));
}

/** Bytes that need not be text; none for handle 0. */
export function takeBytes(handle: u64): ArrayBuffer {
  const length = <i32>kernelLength(handle);
  const bytes = new ArrayBuffer(length);
  const to = changetype<usize>(bytes);
  let i: i32 = 0;
  for (; i + 8 <= length; i += 8) store<u64>(to + i, kernelLoad64(handle + i));
  for (; i < length; i++) store<u8>(to + i, <u8>kernelLoad8(handle + i));
  kernelFree(handle);
  return bytes;
}

/** A number in decimal digits; the library's own way weighs half a kilobyte. */
export function digits(number: i32): string {
  const last = String.fromCharCode(0x30 + (number % 10));
  return number < 10 ? last : digits(number / 10) + last;
}
