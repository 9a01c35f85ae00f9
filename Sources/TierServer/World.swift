import CSystem
import Synchronization

/// Lets one loop run alone while the others stand still between two turns: for commands over the
/// whole keyspace and over other loops' sessions.
///
/// Why: such commands are rare; stopping everybody for some microseconds keeps every counter,
/// session and setting free of atomics and locks on the way of a GET.
final class World: Sendable {
    private let owner = Atomic<Bool>(false)
    private let stop = Atomic<Bool>(false)
    private let standing = Atomic<Int>(0)
    /// Loops that have not ended.
    private let running: Atomic<Int>
    private let loops: Int

    init(loops: Int) {
        self.loops = loops
        running = Atomic(loops)
    }

    /// A loop has ended: it stands still for good, and nobody waits for it. What it had is from now
    /// on touched only by who runs alone, or by who has joined its thread.
    func leave() { running.subtract(1, ordering: .acquiringAndReleasing) }

    /// A loop's turn has ended: stands still if another wants to run alone.
    @inline(__always)
    func yield() { if stop.load(ordering: .acquiring) { standStill() } }

    @inline(never)
    private func standStill() {
        standing.add(1, ordering: .acquiringAndReleasing)
        World.spin { !self.stop.load(ordering: .acquiring) }
        standing.subtract(1, ordering: .acquiringAndReleasing)
    }

    /// Runs `body` while every other loop stands still. `wake` gets sleeping loops to their turn's end.
    func runAlone(wake: () -> Void, _ body: () -> Void) {
        if loops == 1 { return body() }
        // Two loops may want this at once: who waits stands still for the other.
        World.spin {
            if self.owner.compareExchange(
                expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged { return true }
            self.yield()
            return false
        }
        stop.store(true, ordering: .releasing)
        wake()
        // In this order: a loop that ends in between is waited for once more, never passed over.
        World.spin {
            let others = self.running.load(ordering: .acquiring) - 1
            return self.standing.load(ordering: .acquiring) == others
        }
        body()
        stop.store(false, ordering: .releasing)
        World.spin { self.standing.load(ordering: .acquiring) == 0 }
        owner.store(false, ordering: .releasing)
    }

    private static func spin(until done: () -> Bool) {
        var spins = 0
        while !done() {
            spins += 1
            if spins & 63 == 0 { sched_yield() } else { csystem_pause() }
        }
    }
}
