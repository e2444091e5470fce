// C without a library. Built with clang 14 of Debian 12:
//   clang --target=wasm32 -O2 -mbulk-memory -nostdlib -Wl,--no-entry -Wl,--export=on_request -Wl,--strip-all -o c.wasm c.c

#include "policy.h"

int32_t on_request(void) { return decide("c"); }
