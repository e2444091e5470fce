// SHA-256 (FIPS 180-4), HMAC-SHA-256 (RFC 2104), hexadecimal text, and a comparison whose time does
// not depend on what is equal. Bytes are an ArrayBuffer.

import { hexDigit } from "./json";

const BLOCK: i32 = 64;

const ROUNDS: StaticArray<u32> = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

const START: StaticArray<u32> = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/** The bytes of a text in UTF-8. */
export function utf8(text: string): ArrayBuffer { return String.UTF8.encode(text); }

export function sha256(bytes: ArrayBuffer): ArrayBuffer {
  const length = bytes.byteLength;
  // The message, a one, zeros, and the number of its bits in the last eight bytes of a block.
  const padded = new ArrayBuffer((length + 8 + BLOCK) / BLOCK * BLOCK);
  const at = changetype<usize>(padded);
  memory.copy(at, changetype<usize>(bytes), length);
  store<u8>(at + length, 0x80);
  store<u64>(at + padded.byteLength - 8, bswap<u64>(<u64>length << 3));
  const state = new StaticArray<u32>(8);
  memory.copy(changetype<usize>(state), changetype<usize>(START), 32);
  const words = new StaticArray<u32>(64);
  for (let block = 0; block < padded.byteLength; block += BLOCK) compress(state, at + block, words);
  const digest = new ArrayBuffer(32);
  for (let i = 0; i < 8; i++) {
    store<u32>(changetype<usize>(digest) + (i << 2), bswap<u32>(unchecked(state[i])));
  }
  return digest;
}

/** Keyed with any number of bytes. */
export function hmacSha256(key: ArrayBuffer, message: ArrayBuffer): ArrayBuffer {
  const short = key.byteLength > BLOCK ? sha256(key) : key;
  return sha256(keyed(short, 0x5c, sha256(keyed(short, 0x36, message))));
}

/** Compares all bytes whatever the first ones say. Lengths are not secret. */
export function isSame(a: ArrayBuffer, b: ArrayBuffer): bool {
  if (a.byteLength != b.byteLength) return false;
  let difference: u32 = 0;
  for (let i = 0; i < a.byteLength; i++) {
    difference |= load<u8>(changetype<usize>(a) + i) ^ load<u8>(changetype<usize>(b) + i);
  }
  return difference == 0;
}

/** Bytes of hexadecimal text, in either case; null for anything else. */
export function fromHex(text: string): ArrayBuffer | null {
  const length = text.length;
  if (length & 1) return null;
  const bytes = new ArrayBuffer(length >> 1);
  for (let i = 0; i < length; i += 2) {
    const high = hexDigit(text.charCodeAt(i));
    const low = hexDigit(text.charCodeAt(i + 1));
    if (high < 0 || low < 0) return null;
    store<u8>(changetype<usize>(bytes) + (i >> 1), <u8>(high << 4 | low));
  }
  return bytes;
}

export function toHex(bytes: ArrayBuffer): string {
  const digits = "0123456789abcdef";
  let text = "";
  for (let i = 0; i < bytes.byteLength; i++) {
    const byte = load<u8>(changetype<usize>(bytes) + i);
    text += digits.charAt(byte >> 4) + digits.charAt(byte & 15);
  }
  return text;
}

// A block of the key with this pad, and the message behind it.
function keyed(key: ArrayBuffer, pad: u8, message: ArrayBuffer): ArrayBuffer {
  const whole = new ArrayBuffer(BLOCK + message.byteLength);
  const at = changetype<usize>(whole);
  memory.copy(at, changetype<usize>(key), key.byteLength);
  for (let i = 0; i < BLOCK; i++) store<u8>(at + i, load<u8>(at + i) ^ pad);
  memory.copy(at + BLOCK, changetype<usize>(message), message.byteLength);
  return whole;
}

function compress(state: StaticArray<u32>, block: usize, words: StaticArray<u32>): void {
  for (let i = 0; i < 16; i++) unchecked((words[i] = bswap<u32>(load<u32>(block + (i << 2)))));
  for (let i = 16; i < 64; i++) {
    const a = unchecked(words[i - 15]);
    const b = unchecked(words[i - 2]);
    const small = rotr<u32>(a, 7) ^ rotr<u32>(a, 18) ^ (a >> 3);
    const large = rotr<u32>(b, 17) ^ rotr<u32>(b, 19) ^ (b >> 10);
    unchecked((words[i] = words[i - 16] + small + words[i - 7] + large));
  }
  let a = unchecked(state[0]);
  let b = unchecked(state[1]);
  let c = unchecked(state[2]);
  let d = unchecked(state[3]);
  let e = unchecked(state[4]);
  let f = unchecked(state[5]);
  let g = unchecked(state[6]);
  let h = unchecked(state[7]);
  for (let i = 0; i < 64; i++) {
    const large = rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25);
    const first = h + large + ((e & f) ^ (~e & g)) + unchecked(ROUNDS[i]) + unchecked(words[i]);
    const small = rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22);
    const second = small + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  unchecked((state[0] += a));
  unchecked((state[1] += b));
  unchecked((state[2] += c));
  unchecked((state[3] += d));
  unchecked((state[4] += e));
  unchecked((state[5] += f));
  unchecked((state[6] += g));
  unchecked((state[7] += h));
}
