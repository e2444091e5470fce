//! The guest's allocator: it hands out memory from the front, and begins again when everything was
//! given back, as it is at the end of most calls. A tenth of the code of Rust's own; what a plugin
//! keeps in a static holds up the rest, until the gateway replaces an instance that has grown.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::{null_mut, NonNull};

const PAGE: usize = 65_536;

extern "C" {
    // Where the linker put the end of stack and statics.
    static __heap_base: u8;
}

struct Heap {
    next: Cell<usize>,
    live: Cell<usize>,
}

// A guest has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    next: Cell::new(0),
    live: Cell::new(0),
};

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.live.get() == 0 {
            self.next.set(&__heap_base as *const u8 as usize);
        }
        let start = (self.next.get() + layout.align() - 1) & !(layout.align() - 1);
        if !self.take_until(start, layout.size()) {
            return null_mut();
        }
        self.live.set(self.live.get() + 1);
        start as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.live.set(self.live.get() - 1);
        if self.is_last(block, layout.size()) {
            self.next.set(block as usize);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if self.is_last(block, layout.size()) && self.take_until(block as usize, size) {
            return block;
        }
        let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if let Some(to) = NonNull::new(moved) {
            to.as_ptr()
                .copy_from_nonoverlapping(block, size.min(layout.size()));
            self.dealloc(block, layout);
        }
        moved
    }
}

impl Heap {
    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block as usize + size == self.next.get()
    }

    /// Puts the front behind `size` bytes at `start`, and grows the memory for it where needed.
    fn take_until(&self, start: usize, size: usize) -> bool {
        let end = match start.checked_add(size) {
            Some(end) => end,
            None => return false,
        };
        let bytes = core::arch::wasm32::memory_size(0) * PAGE;
        if end > bytes {
            let pages = (end - bytes + PAGE - 1) / PAGE;
            if core::arch::wasm32::memory_grow(0, pages) == usize::MAX {
                return false;
            }
        }
        self.next.set(end);
        true
    }
}
