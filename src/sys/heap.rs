//! Memory for the program and the C library on routers: what musl brings along is 12 kB of code for what a program of
//! one thread that hardly allocates needs a tenth of.
//!
//! A block is rounded up to one of eight sizes between powers of two, at most an eighth more than was asked for. What
//! is freed waits for the next of its size and is never split or joined, so memory is the sum of what was used of each
//! size at a time, for ever, however long the program runs. What is large comes from the kernel and goes back there. In
//! front of each block stands where it begins and how much is in it.
//!
//! A lock keeps this sound in programs with threads, which tests are.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};

/// What every block is aligned to, and what stands in front of it.
const HEAD: usize = 2 * size_of::<usize>();
const STEP: usize = 16;
/// From here on, the kernel is asked for each block.
const LARGE: usize = 32 << 10;
const SIZES: usize = 73;
/// What is asked from the kernel at a time, to be cut into blocks.
const CHUNK: usize = 128 << 10;

/// In front of a block.
#[repr(C)]
struct Head {
    /// Where the piece of memory begins that it is in. While it is free: the next free one of its size.
    begin: usize,
    /// The end of that piece.
    end: usize,
}

struct Heap {
    locked: AtomicBool,
    inner: core::cell::UnsafeCell<Inner>,
}

struct Inner {
    free: [usize; SIZES],
    chunk: usize,
    chunk_end: usize,
}

// SAFETY: `inner` is touched by the holder of the lock alone.
unsafe impl Sync for Heap {}

impl Heap {
    const fn new() -> Heap {
        let inner = Inner { free: [0; SIZES], chunk: 0, chunk_end: 0 };
        Heap { locked: AtomicBool::new(false), inner: core::cell::UnsafeCell::new(inner) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: the lock is ours.
        let done = work(unsafe { &mut *self.inner.get() });
        self.locked.store(false, Ordering::Release);
        done
    }

    /// A block of `size` bytes at a multiple of `align`, a power of two; null if there is none.
    fn take(&self, size: usize, align: usize) -> *mut c_void {
        let more = if align > HEAD { align } else { 0 };
        let Some(total) = size.checked_add(HEAD + more).filter(|total| *total < isize::MAX as usize) else {
            return null_mut();
        };
        let (begin, end) = if total > LARGE {
            let total = total.next_multiple_of(4096);
            (map(total), total)
        } else {
            let (kind, total) = size_of_block(total);
            (self.with(|inner| inner.take(kind, total)), total)
        };
        if begin == 0 {
            return null_mut();
        }
        let block = (begin + HEAD).next_multiple_of(align.max(HEAD));
        let head = core::ptr::with_exposed_provenance_mut::<Head>(block - HEAD);
        // SAFETY: the head lies in the piece, which is nobody else's.
        unsafe { head.write(Head { begin, end: begin + end }) };
        core::ptr::with_exposed_provenance_mut(block)
    }

    /// # Safety
    /// `block` came from `take` and was not given since.
    unsafe fn give(&self, block: *mut c_void) {
        // SAFETY: the caller's promise.
        let (begin, end) = unsafe { ends(block) };
        if end - begin > LARGE {
            // SAFETY: the kernel gave exactly this.
            unsafe { libc::munmap(core::ptr::with_exposed_provenance_mut(begin), end - begin) };
        } else {
            self.with(|inner| inner.give(begin, end - begin));
        }
    }
}

impl Inner {
    fn take(&mut self, kind: usize, total: usize) -> usize {
        let first = self.free[kind];
        if first != 0 {
            // SAFETY: a free piece begins with its head.
            self.free[kind] = unsafe { (*core::ptr::with_exposed_provenance::<Head>(first)).begin };
            return first;
        }
        if self.chunk_end - self.chunk < total {
            // The rest of the old one serves smaller blocks.
            while self.chunk_end - self.chunk >= STEP {
                let rest = (self.chunk_end - self.chunk).min(8 * STEP);
                self.give(self.chunk, rest);
                self.chunk += rest;
            }
            self.chunk = map(CHUNK);
            self.chunk_end = if self.chunk == 0 { 0 } else { self.chunk + CHUNK };
            if self.chunk == 0 {
                return 0;
            }
        }
        self.chunk += total;
        self.chunk - total
    }

    fn give(&mut self, begin: usize, total: usize) {
        let kind = size_of_block(total).0;
        let head = core::ptr::with_exposed_provenance_mut::<Head>(begin);
        // SAFETY: the piece is ours again and has room for a head.
        unsafe { head.write(Head { begin: self.free[kind], end: 0 }) };
        self.free[kind] = begin;
    }
}

/// The number of a size, and the size: multiples of 16 up to 128, then eight between powers of two.
fn size_of_block(total: usize) -> (usize, usize) {
    let octave = (usize::BITS - 1 - (total.max(8 * STEP + 1) - 1).leading_zeros()) as usize;
    if total <= 8 * STEP {
        return (total.div_ceil(STEP), total.next_multiple_of(STEP));
    }
    let rounded = total.next_multiple_of(1 << (octave - 3));
    ((octave - 7) * 8 + (rounded >> (octave - 3)), rounded)
}

/// Memory from the kernel, all zeros; 0 if it has none.
fn map(size: usize) -> usize {
    // SAFETY: a new piece anywhere, which nobody uses.
    let found = unsafe {
        libc::mmap(
            null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if found == libc::MAP_FAILED { 0 } else { found.expose_provenance() }
}

/// Where the piece of a block begins and ends.
///
/// # Safety
/// `block` came from `take` and was not given since.
unsafe fn ends(block: *const c_void) -> (usize, usize) {
    // SAFETY: the caller's promise.
    let head = unsafe { &*block.cast::<Head>().sub(1) };
    (head.begin, head.end)
}

static HEAP: Heap = Heap::new();

/// As `malloc` of C.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
extern "C" fn malloc(size: usize) -> *mut c_void {
    HEAP.take(size, HEAD)
}

/// As `calloc` of C.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else { return null_mut() };
    let block = HEAP.take(size, HEAD);
    // What the kernel has just given for this block alone is zero, and its pages cost nothing until they are used.
    if !block.is_null() && size <= LARGE - HEAD {
        // SAFETY: the block has that size.
        unsafe { block.write_bytes(0, size) };
    }
    block
}

/// As `free` of C.
///
/// # Safety
/// As there.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
unsafe extern "C" fn free(block: *mut c_void) {
    if !block.is_null() {
        // SAFETY: the caller's promise.
        unsafe { HEAP.give(block) };
    }
}

/// As `realloc` of C.
///
/// # Safety
/// As there.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if block.is_null() {
        return HEAP.take(size, HEAD);
    }
    // SAFETY: the caller's promise.
    let room = unsafe { ends(block).1 } - block.addr();
    // One that has become much too large is exchanged as well.
    if size <= room && room / 4 <= size + HEAD {
        return block;
    }
    let other = HEAP.take(size, HEAD);
    if !other.is_null() {
        // SAFETY: both blocks have that much in them, and are not the same.
        unsafe {
            other.copy_from_nonoverlapping(block, room.min(size));
            HEAP.give(block);
        }
    }
    other
}

/// As `aligned_alloc` of C.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if align.is_power_of_two() { HEAP.take(size, align) } else { null_mut() }
}

/// As `posix_memalign`.
///
/// # Safety
/// As there.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> libc::c_int {
    let block = aligned_alloc(align, size);
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(block) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rise_and_are_an_eighth_too_large_at_most() {
        let mut before = (0, 0);
        for total in 1..=LARGE {
            let (kind, size) = size_of_block(total);
            assert!(size >= total && size <= (total + STEP - 1).max(total * 9 / 8 + 1), "{total}: {size}");
            assert!(kind < SIZES && size % STEP == 0, "{total}: {kind}");
            assert_eq!(size_of_block(size), (kind, size), "{total}");
            assert!(kind == before.0 && size == before.1 || kind > before.0 && size > before.1, "{total}");
            before = (kind, size);
        }
    }

    /// What is there of a large block is what was written to.
    #[test]
    fn a_large_block_of_zeros_costs_what_is_used_of_it() {
        let pages = 1024;
        let block = calloc(pages, 4096).cast::<u8>();
        assert!(!block.is_null());
        let first = block.addr().next_multiple_of(4096);
        let mut present = vec![0_u8; pages - 1];
        // SAFETY: the pages lie in the block, and there is a byte for each.
        let known = unsafe {
            libc::mincore(
                core::ptr::with_exposed_provenance_mut(first),
                4096 * present.len(),
                present.as_mut_ptr(),
            )
        };
        assert_eq!(known, 0);
        assert!(present.iter().filter(|&&page| page & 1 == 1).count() < pages / 8);
        // SAFETY: it is ours, and nobody has written to it.
        assert!(unsafe { core::slice::from_raw_parts(block, 4096 * pages) }.iter().all(|&byte| byte == 0));
        // SAFETY: it was taken above.
        unsafe { free(block.cast()) };
    }

    /// Blocks of all sizes come and go in disorder; none may touch another.
    #[test]
    fn blocks_keep_what_is_in_them() {
        let mut state = 1_u64;
        let mut chance = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % below).unwrap()
        };
        let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
        let fill = |block: *mut u8, size: usize, mark: u8| {
            assert!(!block.is_null() && block.addr() % HEAD == 0);
            // SAFETY: the block has that size.
            unsafe { block.write_bytes(mark, size) };
        };
        let check = |block: *mut u8, size: usize, mark: u8| {
            // SAFETY: the block has that size and was filled.
            let bytes = unsafe { core::slice::from_raw_parts(block, size) };
            assert!(bytes.iter().all(|byte| *byte == mark), "{size} bytes of {mark}");
        };
        for turn in 0..20_000_u32 {
            let scale = 1 + chance(17);
            let (size, mark) = (1 + chance(1 << scale), turn.to_le_bytes()[0]);
            match chance(4) {
                0 if !held.is_empty() => {
                    let (block, size, mark) = held.swap_remove(chance(held.len() as u64));
                    check(block, size, mark);
                    // SAFETY: it was taken, and is forgotten by this.
                    unsafe { free(block.cast()) };
                }
                1 if !held.is_empty() => {
                    let (block, old, mark) = held.swap_remove(chance(held.len() as u64));
                    // SAFETY: it was taken, and is forgotten by this.
                    let block = unsafe { realloc(block.cast(), size) }.cast::<u8>();
                    check(block, old.min(size), mark);
                    fill(block, size, mark);
                    held.push((block, size, mark));
                }
                2 => {
                    let align = 1 << chance(13);
                    let mut block = null_mut();
                    // SAFETY: the place is a live pointer.
                    assert_eq!(unsafe { posix_memalign(&raw mut block, align, size) }, 0);
                    assert_eq!(block.addr() % align, 0);
                    fill(block.cast(), size, mark);
                    held.push((block.cast(), size, mark));
                }
                _ => {
                    let block = calloc(size, 1).cast::<u8>();
                    check(block, size, 0);
                    fill(block, size, mark);
                    held.push((block, size, mark));
                }
            }
            if held.len() > 300 {
                for (block, size, mark) in held.drain(..200) {
                    check(block, size, mark);
                    // SAFETY: it was taken, and is forgotten by this.
                    unsafe { free(block.cast()) };
                }
            }
        }
        for (block, size, mark) in held {
            check(block, size, mark);
            // SAFETY: it was taken, and is forgotten by this.
            unsafe { free(block.cast()) };
        }
    }

    #[test]
    fn what_is_freed_is_used_again_and_what_cannot_be_is_null() {
        let heap = Heap::new();
        let first = heap.take(1000, HEAD);
        // SAFETY: it was taken, and is forgotten by this.
        unsafe { heap.give(first) };
        assert_eq!(heap.take(1001, HEAD), first);
        assert!(malloc(usize::MAX - 3).is_null() && malloc(isize::MAX as usize).is_null());
        assert!(calloc(usize::MAX / 2, 3).is_null() && aligned_alloc(24, 8).is_null());
        // SAFETY: null is nothing.
        unsafe { free(null_mut()) };
    }
}
