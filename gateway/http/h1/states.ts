// What a client connection of HTTP/1.1 is at.

export const HEAD = 0; // Between requests, or within a head.
export const BODY = 1; // The request's body is not complete.
export const ANSWER = 2; // The request is complete, its response is not.
export const DRAIN = 3; // The response has not left: the next request waits, or a client could fill us with answers.
export const LINGER = 4; // All is said; what still comes is read and dropped, so that no reset eats it.
export const CLOSED = 5;
