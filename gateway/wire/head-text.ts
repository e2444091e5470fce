// The text that a head is looked for in. A head is a part of that text, and keeps all of it alive for
// as long as the request lasts: what was read behind the head is therefore left out.

const END = Buffer.from("\r\n\r\n");
/** Less is sliced whole: the search costs more. */
const SEARCHED_BYTES_MIN = 2048;

/** Latin-1 text of bytes[from, to), or of its beginning up to the end of a head. */
export function headText(bytes: Buffer, from: number, to: number): string {
  if (to - from < SEARCHED_BYTES_MIN) return bytes.latin1Slice(from, to);
  const end = bytes.indexOf(END, from);
  return bytes.latin1Slice(from, end === -1 ? to : Math.min(end + END.length, to));
}
