// C with wasi-libc, as a reactor: its constructors, its allocator and its printing. Built with clang 14,
// wasi-libc and libclang-rt-14-dev-wasm32 of Debian 12:
//   clang --target=wasm32-wasi -O2 -mexec-model=reactor -Wl,--export=on_request -Wl,--strip-all -o c-wasi.wasm c-wasi.c

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "policy.h"

static char *kit;

__attribute__((constructor)) static void name_kit(void) {
  kit = malloc(16);
  snprintf(kit, 16, "c-%s", time(NULL) > 0 ? "wasi" : "no-clock");
}

int32_t on_request(void) {
  printf("%s looks at %d bytes\n", kit, (int)input_length());
  fflush(stdout);
  return decide(kit);
}
