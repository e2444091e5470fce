// Node's Buffer has these since its first days, but the published types leave them out. They skip
// the argument checks of toString(), which is felt on every head.

interface Buffer {
  latin1Slice(start?: number, end?: number): string;
}
