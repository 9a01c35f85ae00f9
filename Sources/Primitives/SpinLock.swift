import CSystem
import Synchronization

/// A 4-byte lock for critical sections of well under a microsecond.
///
/// Why:  uncontended, lock and unlock are one compare-and-exchange and one store, without a call;
///       a waiter spins, then gives its core away, because the holder may have lost its own.
/// Not reentrant, not fair.
@frozen public struct SpinLock: ~Copyable, Sendable {
    @usableFromInline let word = Atomic<UInt32>(0)

    @inlinable public init() {}

    @inlinable @inline(__always)
    public borrowing func lock() {
        if word.compareExchange(
            expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed
        ).exchanged { return }
        lockSlowly()
    }

    @usableFromInline @inline(never)
    borrowing func lockSlowly() {
        var spins = 0
        while true {
            if word.load(ordering: .relaxed) == 0,
                word.compareExchange(
                    expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed
                ).exchanged { return }
            spins += 1
            if spins & 127 == 0 { sched_yield() } else { csystem_pause() }
        }
    }

    /// As `lock`, and calls `meanwhile` now and then while it waits.
    public borrowing func lock(meanwhile: () -> Void) {
        var spins = 0
        while true {
            if word.load(ordering: .relaxed) == 0, tryLock() { return }
            spins += 1
            if spins & 127 == 0 {
                meanwhile()
                sched_yield()
            } else {
                csystem_pause()
            }
        }
    }

    @inlinable @inline(__always)
    public borrowing func tryLock() -> Bool {
        word.compareExchange(
            expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed
        ).exchanged
    }

    @inlinable @inline(__always)
    public borrowing func unlock() { word.store(0, ordering: .releasing) }
}
