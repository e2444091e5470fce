;; The Extism kernel: the memory that host and guest share, its allocator, and the input, output and
;; error of one call. It serves the imports of `extism:host/env` that need no host, so a guest's
;; loads and stores never leave Wasm. Invariants:
;; - All bookkeeping lies below `data_start`, where no guest pointer reaches; whatever a guest does,
;;   no operation loops more than 72 times, but for the fills of `begin`, bounded by the memory.
;; - A guest reads and writes [data_start, position) only, and `begin` zeroes all of it: no byte of one
;;   call is visible to the next.
;; - The memory never grows, so the host's views of it stay valid.
;;
;; Words below 1024 (kernel.ts reads them):
;;    0 position: the next fresh byte       16 output offset
;;    4 (unused)                            20 output length
;;    8 input offset                        24 error handle, 0 when none
;;   12 input length                        28 failed allocations, this call
;;   32 1 when a block was put on a free list in this call
;;   64 heads of the free lists, one word a size class: granule number, 0 when empty
;; From 1024 on: one word for each 16-byte granule of data, 0 unless a block begins there:
;;   live block  1<<31 | class << 24 | bytes in use
;;   free block          class << 24 | granule number of the next free block of the class
;; Granule 0 belongs to nobody: it keeps 0 free to mean "none", and `position` at least 16 above
;; the start, so that the 8-byte bound below cannot wrap.
;;
;; Size classes, in granules: 1..8 exactly, then four steps to each doubling (10, 12, 14, 16, 20...).
(module
  (import "kernel" "memory" (memory 1))
  (import "kernel" "data_start" (global $data_start i32))
  (import "kernel" "data_end" (global $data_end i32))
  ;; Only functions of Wasm fit a table: passing through here makes one of the host's.
  (import "kernel" "refuel" (func $refuel))
  (export "refuel" (func $refuel))

  ;; The smallest class that holds `granules`.
  (func $class_of (param $granules i32) (result i32)
    (local $shift i32)
    (if (i32.le_u (local.get $granules) (i32.const 8))
      (then (return (i32.sub (local.get $granules) (i32.const 1)))))
    (local.set $granules (i32.sub (local.get $granules) (i32.const 1)))
    ;; floor(log2) - 2
    (local.set $shift (i32.sub (i32.const 29) (i32.clz (local.get $granules))))
    (i32.add
      (i32.shl (local.get $shift) (i32.const 2))
      (i32.shr_u (local.get $granules) (local.get $shift))))

  ;; The granules a block of `class` holds.
  (func $granules_of (param $class i32) (result i32)
    (if (i32.lt_u (local.get $class) (i32.const 8))
      (then (return (i32.add (local.get $class) (i32.const 1)))))
    (i32.shl
      (i32.add (i32.and (local.get $class) (i32.const 3)) (i32.const 5))
      (i32.sub (i32.shr_u (local.get $class) (i32.const 2)) (i32.const 1))))

  ;; Where the word of the granule at `address` lies.
  (func $word_at (param $address i32) (result i32)
    (i32.add
      (i32.const 1024)
      (i32.shr_u (i32.sub (local.get $address) (global.get $data_start)) (i32.const 2))))

  ;; The word of the live block whose data begin at `handle`; 0 when there is none.
  (func $live_word (param $handle i64) (result i32)
    (local $word i32)
    (if (i64.ge_u (i64.sub (local.get $handle) (i64.extend_i32_u (global.get $data_start)))
                  (i64.extend_i32_u (i32.sub (i32.load (i32.const 0)) (global.get $data_start))))
      (then (return (i32.const 0))))
    (if (i64.ne (i64.and (local.get $handle) (i64.const 15)) (i64.const 0))
      (then (return (i32.const 0))))
    (local.set $word (i32.load (call $word_at (i32.wrap_i64 (local.get $handle)))))
    (select (local.get $word) (i32.const 0) (i32.lt_s (local.get $word) (i32.const 0))))

  ;; Takes a block off the free list of `class`, which is not empty.
  (func $pop (param $class i32) (param $length i32) (result i32)
    (local $head i32) (local $granule i32) (local $at i32)
    (local.set $head (i32.add (i32.const 64) (i32.shl (local.get $class) (i32.const 2))))
    (local.set $granule (i32.load (local.get $head)))
    (local.set $at (i32.add (i32.const 1024) (i32.shl (local.get $granule) (i32.const 2))))
    (i32.store (local.get $head) (i32.and (i32.load (local.get $at)) (i32.const 0xffffff)))
    (i32.store (local.get $at)
      (i32.or (i32.or (i32.const 0x80000000) (i32.shl (local.get $class) (i32.const 24)))
              (local.get $length)))
    (i32.add (global.get $data_start) (i32.shl (local.get $granule) (i32.const 4))))

  ;; Takes `bytes` (a multiple of 16 that fits) from the fresh end.
  (func $bump (param $class i32) (param $length i32) (param $bytes i32) (result i32)
    (local $address i32)
    (local.set $address (i32.load (i32.const 0)))
    (i32.store (call $word_at (local.get $address))
      (i32.or (i32.or (i32.const 0x80000000) (i32.shl (local.get $class) (i32.const 24)))
              (local.get $length)))
    (i32.store (i32.const 0) (i32.add (local.get $address) (local.get $bytes)))
    (local.get $address))

  ;; Allocates `length` bytes and answers their address, or 0 when there is no room.
  (func $host_alloc (export "host_alloc") (param $length i32) (result i32)
    (local $granules i32) (local $class i32) (local $left i32) (local $bytes i32)
    (if (i32.eqz (local.get $length)) (then (return (i32.const 0))))
    (block $full
      ;; No length beyond the whole memory may reach the arithmetic below.
      (br_if $full (i32.gt_u (local.get $length)
                             (i32.sub (global.get $data_end) (global.get $data_start))))
      (local.set $granules
        (i32.shr_u (i32.add (local.get $length) (i32.const 15)) (i32.const 4)))
      (local.set $class (call $class_of (local.get $granules)))
      (local.set $left (i32.sub (global.get $data_end) (i32.load (i32.const 0))))
      (local.set $bytes (i32.shl (call $granules_of (local.get $class)) (i32.const 4)))
      (if (i32.le_u (local.get $bytes) (local.get $left))
        (then (return (call $bump (local.get $class) (local.get $length) (local.get $bytes)))))
      ;; The rounded block does not fit but the exact one does: it is kept as the class below, whose
      ;; blocks are no larger, so that a later reuse stays inside it.
      (local.set $bytes (i32.shl (local.get $granules) (i32.const 4)))
      (if (i32.le_u (local.get $bytes) (local.get $left))
        (then (return (call $bump (i32.sub (local.get $class) (i32.const 1))
                                  (local.get $length) (local.get $bytes)))))
      ;; Freed blocks come last, as in the official kernel: development kits have grown up with
      ;; handles that stay readable for a while after they were freed.
      (loop $larger
        (if (i32.load offset=64 (i32.shl (local.get $class) (i32.const 2)))
          (then (return (call $pop (local.get $class) (local.get $length)))))
        (local.set $class (i32.add (local.get $class) (i32.const 1)))
        (br_if $larger (i32.lt_u (local.get $class) (i32.const 72)))))
    (i32.store (i32.const 28) (i32.add (i32.load (i32.const 28)) (i32.const 1)))
    (i32.const 0))

  ;; Forgets the call before, zeroes what it may have touched, and makes room for the next input.
  ;; Answers its address; 0 when `length` is 0 or does not fit.
  (func (export "begin") (param $length i32) (result i32)
    (local $used i32) (local $input i32)
    (local.set $used (i32.sub (i32.load (i32.const 0)) (global.get $data_start)))
    ;; `position` is 0 before the first call only: then all memory is still zero.
    (if (i32.load (i32.const 0))
      (then
        (memory.fill (global.get $data_start) (i32.const 0) (local.get $used))
        (memory.fill (i32.const 1024) (i32.const 0)
          (i32.shr_u (local.get $used) (i32.const 2)))))
    (if (i32.load (i32.const 32))
      (then (memory.fill (i32.const 32) (i32.const 0) (i32.const 320))))
    (i32.store (i32.const 0) (i32.add (global.get $data_start) (i32.const 16)))
    (i64.store (i32.const 8) (i64.const 0))
    (i64.store (i32.const 16) (i64.const 0))
    (i64.store (i32.const 24) (i64.const 0))
    (local.set $input (call $host_alloc (local.get $length)))
    (if (local.get $input)
      (then
        (i32.store (i32.const 8) (local.get $input))
        (i32.store (i32.const 12) (local.get $length))))
    (local.get $input))

  ;; ---- what guests import from extism:host/env ----

  (func (export "alloc") (param $length i64) (result i64)
    (if (i64.gt_u (local.get $length) (i64.const 0x7fffffff))
      (then (local.set $length (i64.const 0x7fffffff))))
    (i64.extend_i32_u (call $host_alloc (i32.wrap_i64 (local.get $length)))))

  (func (export "free") (param $handle i64)
    (local $word i32) (local $address i32) (local $class i32) (local $head i32) (local $at i32)
    (local.set $word (call $live_word (local.get $handle)))
    (if (i32.eqz (local.get $word)) (then (return)))
    (local.set $address (i32.wrap_i64 (local.get $handle)))
    (local.set $at (call $word_at (local.get $address)))
    (local.set $class
      (i32.and (i32.shr_u (local.get $word) (i32.const 24)) (i32.const 0x7f)))
    ;; Without its data the input has no length.
    (if (i32.eq (local.get $address) (i32.load (i32.const 8)))
      (then (i32.store (i32.const 12) (i32.const 0))))
    (local.set $head (i32.add (i32.const 64) (i32.shl (local.get $class) (i32.const 2))))
    (i32.store (local.get $at)
      (i32.or (i32.shl (local.get $class) (i32.const 24)) (i32.load (local.get $head))))
    (i32.store (local.get $head)
      (i32.shr_u (i32.sub (local.get $address) (global.get $data_start)) (i32.const 4)))
    (i32.store (i32.const 32) (i32.const 1)))

  ;; Both lengths are exact here: the word is found without a walk.
  (func $length (export "length") (export "length_unsafe") (param $handle i64) (result i64)
    (i64.extend_i32_u
      (i32.and (call $live_word (local.get $handle)) (i32.const 0xffffff))))

  ;; True when [pointer, pointer + 1 + more) lies in reach; `more` is at most 15.
  (func $in_reach (param $pointer i64) (param $more i32) (result i32)
    (i64.lt_u
      (i64.sub (local.get $pointer) (i64.extend_i32_u (global.get $data_start)))
      (i64.extend_i32_u
        (i32.sub (i32.sub (i32.load (i32.const 0)) (global.get $data_start))
                 (local.get $more)))))

  (func (export "load_u8") (param $pointer i64) (result i32)
    (if (call $in_reach (local.get $pointer) (i32.const 0))
      (then (return (i32.load8_u (i32.wrap_i64 (local.get $pointer))))))
    (i32.const 0))

  (func (export "load_u64") (param $pointer i64) (result i64)
    (if (call $in_reach (local.get $pointer) (i32.const 7))
      (then (return (i64.load align=1 (i32.wrap_i64 (local.get $pointer))))))
    (i64.const 0))

  (func (export "store_u8") (param $pointer i64) (param $value i32)
    (if (call $in_reach (local.get $pointer) (i32.const 0))
      (then (i32.store8 (i32.wrap_i64 (local.get $pointer)) (local.get $value)))))

  (func (export "store_u64") (param $pointer i64) (param $value i64)
    (if (call $in_reach (local.get $pointer) (i32.const 7))
      (then (i64.store align=1 (i32.wrap_i64 (local.get $pointer)) (local.get $value)))))

  (func (export "input_length") (result i64) (i64.load32_u (i32.const 12)))
  (func (export "input_offset") (result i64) (i64.load32_u (i32.const 8)))

  (func (export "input_load_u8") (param $offset i64) (result i32)
    (if (i64.ge_u (local.get $offset) (i64.load32_u (i32.const 12)))
      (then (return (i32.const 0))))
    (i32.load8_u (i32.add (i32.load (i32.const 8)) (i32.wrap_i64 (local.get $offset)))))

  ;; All eight bytes lie in the input, or the answer is 0: a partial word is not padded.
  (func (export "input_load_u64") (param $offset i64) (result i64)
    (local $length i64)
    (local.set $length (i64.load32_u (i32.const 12)))
    (if (i64.lt_u (local.get $length) (i64.const 8)) (then (return (i64.const 0))))
    (if (i64.gt_u (local.get $offset) (i64.sub (local.get $length) (i64.const 8)))
      (then (return (i64.const 0))))
    (i64.load align=1 (i32.add (i32.load (i32.const 8)) (i32.wrap_i64 (local.get $offset)))))

  ;; A range out of reach is ignored; an empty one clears the output.
  (func (export "output_set") (param $pointer i64) (param $length i64)
    (local $reach i64)
    (if (i64.eqz (local.get $length))
      (then (i64.store (i32.const 16) (i64.const 0)) (return)))
    (if (i32.eqz (call $in_reach (local.get $pointer) (i32.const 0))) (then (return)))
    (local.set $reach
      (i64.sub (i64.load32_u (i32.const 0)) (local.get $pointer)))
    (if (i64.gt_u (local.get $length) (local.get $reach)) (then (return)))
    (i32.store (i32.const 16) (i32.wrap_i64 (local.get $pointer)))
    (i32.store (i32.const 20) (i32.wrap_i64 (local.get $length))))

  ;; 0 takes an error back; what is out of reach is ignored.
  (func (export "error_set") (param $handle i64)
    (if (i64.ne (local.get $handle) (i64.const 0))
      (then
        (if (i32.eqz (call $in_reach (local.get $handle) (i32.const 0))) (then (return)))))
    (i32.store (i32.const 24) (i32.wrap_i64 (local.get $handle))))

  (func (export "error_get") (result i64) (i64.load32_u (i32.const 24))))
