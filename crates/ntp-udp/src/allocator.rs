//! The allocator of the C library.

/// Makes all threads allocate from one heap. Call it before there is a second thread.
///
/// The allocator of GNU otherwise gives each thread a heap of its own. The daemon's threads are
/// short-lived or allocate rarely, so that would cost memory and save nothing. When such a heap
/// shrinks for the first time, the allocator also reads a file (`vm.overcommit_memory`), which a
/// confined thread must not do. Has no effect with other C libraries, which have one heap.
pub fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function takes two numbers and accesses nothing but the state of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
