// The policy of these modules, in C: requests need the tier of the configuration in `x-tier`. It speaks
// to the host as Extism's C kit does (extism-pdk.h): by the kernel's functions alone, with JSON.

#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("extism:host/env"), import_name(name)))
typedef uint64_t Handle;

IMPORT("input_length") extern uint64_t input_length(void);
IMPORT("input_load_u8") extern uint32_t input_load_u8(uint64_t at);
IMPORT("input_load_u64") extern uint64_t input_load_u64(uint64_t at);
IMPORT("alloc") extern Handle extism_alloc(uint64_t length);
IMPORT("free") extern void extism_free(Handle handle);
IMPORT("length") extern uint64_t extism_length(Handle handle);
IMPORT("load_u8") extern uint32_t load_u8(uint64_t at);
IMPORT("store_u8") extern void store_u8(uint64_t at, uint32_t value);
IMPORT("store_u64") extern void store_u64(uint64_t at, uint64_t value);
IMPORT("output_set") extern void output_set(Handle handle, uint64_t length);
IMPORT("error_set") extern void error_set(Handle handle);
IMPORT("config_get") extern Handle config_get(Handle key);
IMPORT("var_get") extern Handle var_get(Handle name);
IMPORT("var_set") extern void var_set(Handle name, Handle value);
IMPORT("log_info") extern void log_info(Handle line);

#define INPUT_MAX 65536
#define TEXT_MAX 512

static char input[INPUT_MAX];

static uint64_t length_of(const char *text) {
  uint64_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

// By words of eight bytes where there are eight, as the kit does.
static uint64_t load_input(void) {
  uint64_t length = input_length();
  if (length >= INPUT_MAX) return 0;
  uint64_t at = 0;
  for (; at + 8 <= length; at += 8) {
    uint64_t word = input_load_u64(at);
    for (int i = 0; i < 8; i++) input[at + i] = (char)(word >> (8 * i));
  }
  for (; at < length; at++) input[at] = (char)input_load_u8(at);
  input[length] = 0;
  return length;
}

static Handle text_handle(const char *text) {
  uint64_t length = length_of(text);
  Handle handle = extism_alloc(length);
  uint64_t at = 0;
  for (; at + 8 <= length; at += 8) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)(uint8_t)text[at + i] << (8 * i);
    store_u64(handle + at, word);
  }
  for (; at < length; at++) store_u8(handle + at, (uint8_t)text[at]);
  return handle;
}

static void append(char *to, const char *text) {
  uint64_t at = length_of(to);
  for (uint64_t i = 0; text[i] != 0 && at + 1 < TEXT_MAX; i++) to[at++] = text[i];
  to[at] = 0;
}

static void append_handle(char *to, Handle handle) {
  uint64_t at = length_of(to);
  uint64_t length = extism_length(handle);
  for (uint64_t i = 0; i < length && at + 1 < TEXT_MAX; i++) to[at++] = (char)load_u8(handle + i);
  to[at] = 0;
}

static int contains(const char *text, const char *part) {
  for (; *text != 0; text++) {
    uint64_t i = 0;
    while (part[i] != 0 && text[i] == part[i]) i++;
    if (part[i] == 0) return 1;
  }
  return 0;
}

// How often this was called, as a digit, in a variable of the plugin.
static char count_call(void) {
  Handle known = var_get(text_handle("calls"));
  char calls[2] = {known == 0 ? '1' : (char)(load_u8(known) + 1), 0};
  var_set(text_handle("calls"), text_handle(calls));
  return calls[0];
}

static int32_t decide(const char *kit) {
  if (load_input() == 0) {
    error_set(text_handle("there is no input"));
    return 1;
  }
  Handle tier = config_get(text_handle("tier"));
  if (tier == 0) {
    error_set(text_handle("tier is not configured"));
    return 1;
  }
  char wanted[TEXT_MAX] = "\"x-tier\":\"";
  append_handle(wanted, tier);
  append(wanted, "\"");
  char calls[2] = {count_call(), 0};
  char output[TEXT_MAX] = "";
  if (contains(input, wanted)) {
    append(output, "{\"action\":\"continue\",\"set_request_headers\":{\"x-kit\":\"");
    append(output, kit);
    append(output, "\",\"x-calls\":\"");
    append(output, calls);
    append(output, "\"}}");
  } else {
    log_info(text_handle("refused"));
    append(output, "{\"action\":\"respond\",\"status\":403,\"body\":\"not for you\",\"reason\":\"tier\"}");
  }
  Handle handle = text_handle(output);
  output_set(handle, extism_length(handle));
  return 0;
}
