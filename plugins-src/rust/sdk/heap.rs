//! The guest's allocator: it hands out memory from the front, and begins again behind what is kept
//! when everything of a call was given back, as it is at the end of most. A tenth of the code of
//! Rust's own; what a plugin puts into a static during a call holds up the rest, until the gateway
//! replaces an instance that has grown.

use core::arch::wasm32::{memory_grow, memory_size};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::{null_mut, NonNull};

const PAGE: usize = 65_536;
/// The gateway replaces an instance whose memory has grown to more than twice its first size. The
/// first size therefore has room for a policy read from a long configuration; pages that are not
/// touched cost nothing.
const FIRST_PAGES: usize = 8;

extern "C" {
    // Where the linker put the end of stack and statics.
    static __heap_base: u8;
}

struct Heap {
    /// Everything before it stays.
    floor: Cell<usize>,
    next: Cell<usize>,
    /// Blocks behind the floor that are in use.
    live: Cell<usize>,
}

// A guest has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    floor: Cell::new(0),
    next: Cell::new(0),
    live: Cell::new(0),
};

/// Called when an instance starts; where the memory may not grow, it does with what there is.
#[no_mangle]
pub extern "C" fn _initialize() {
    memory_grow(0, FIRST_PAGES.saturating_sub(memory_size(0)));
}

/// What is allocated now stays for the instance's life.
pub fn keep() {
    HEAP.floor.set(HEAP.next.get());
    HEAP.live.set(0);
}

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.live.get() == 0 {
            let base = &__heap_base as *const u8 as usize;
            self.next.set(self.floor.get().max(base));
        }
        let start = (self.next.get() + layout.align() - 1) & !(layout.align() - 1);
        if !self.take_until(start, layout.size()) {
            return null_mut();
        }
        self.live.set(self.live.get() + 1);
        start as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if self.is_kept(block) {
            return;
        }
        self.live.set(self.live.get() - 1);
        if self.is_last(block, layout.size()) {
            self.next.set(block as usize);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_last = !self.is_kept(block) && self.is_last(block, layout.size());
        if is_last && self.take_until(block as usize, size) {
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
    fn is_kept(&self, block: *mut u8) -> bool {
        (block as usize) < self.floor.get()
    }

    fn is_last(&self, block: *mut u8, size: usize) -> bool {
        block as usize + size == self.next.get()
    }

    /// Puts the front behind `size` bytes at `start`, and grows the memory for it where needed.
    fn take_until(&self, start: usize, size: usize) -> bool {
        let end = match start.checked_add(size) {
            Some(end) => end,
            None => return false,
        };
        let bytes = memory_size(0) * PAGE;
        if end > bytes {
            let pages = (end - bytes + PAGE - 1) / PAGE;
            if memory_grow(0, pages) == usize::MAX {
                return false;
            }
        }
        self.next.set(end);
        true
    }
}
