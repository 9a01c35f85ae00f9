import CSystem
import Glibc
import Synchronization

/// Lets one loop run alone while the others stand still between two turns: for commands over the
/// whole keyspace and over other loops' sessions.
///
/// Why: such commands are rare; stopping everybody for some microseconds keeps every counter,
/// session and setting free of atomics and locks on the way of a GET.
///
/// Who stands still looks after its sockets only when the loop that runs alone opens a **window** for it,
/// and that loop does nothing else until all have done so: a long script can be ended by any client.
final class World: Sendable {
    /// One loop's part. Any thread reads it; `serve` is set before the loop begins.
    private final class Place: @unchecked Sendable {
        static let runs = Int.max
        /// Thread of the loop, 0 before it begins.
        let thread = Atomic<UInt>(0)
        /// The last window it has served; `runs` while it does not stand still.
        let served = Atomic<Int>(Place.runs)
        var serve: () -> Void = {}
    }

    private let owner = Atomic<Bool>(false)
    private let stop = Atomic<Bool>(false)
    private let standing = Atomic<Int>(0)
    /// Number of the last window.
    private let window = Atomic<Int>(0)
    /// Loops that have not ended.
    private let running: Atomic<Int>
    private let loops: Int
    private let places: [Place]

    init(loops: Int) {
        self.loops = loops
        running = Atomic(loops)
        places = (0..<loops).map { _ in Place() }
    }

    /// The calling thread is loop `index`; `serve` looks after its sockets, once, without waiting.
    func take(place index: Int, serve: @escaping () -> Void) {
        places[index].serve = serve
        places[index].thread.store(UInt(pthread_self()), ordering: .releasing)
    }

    private var mine: Place? {
        let thread = UInt(pthread_self())
        return places.first { $0.thread.load(ordering: .acquiring) == thread }
    }

    /// A loop has ended: it stands still for good, and nobody waits for it. What it had is from now
    /// on touched only by who runs alone, or by who has joined its thread.
    func leave() { running.subtract(1, ordering: .acquiringAndReleasing) }

    /// A loop's turn has ended: stands still if another wants to run alone.
    @inline(__always)
    func yield(_ index: Int) { if stop.load(ordering: .acquiring) { standStill(places[index]) } }

    @inline(never)
    private func standStill(_ place: Place?) {
        place?.served.store(window.load(ordering: .acquiring), ordering: .sequentiallyConsistent)
        standing.add(1, ordering: .acquiringAndReleasing)
        World.spin {
            if !self.stop.load(ordering: .acquiring) { return true }
            if let place { self.serve(place) }
            return false
        }
        place?.served.store(Place.runs, ordering: .releasing)
        standing.subtract(1, ordering: .acquiringAndReleasing)
    }

    /// Serves a window that was opened since it last did.
    private func serve(_ place: Place) {
        let open = window.load(ordering: .acquiring)
        guard place.served.load(ordering: .relaxed) != open else { return }
        place.serve()
        place.served.store(open, ordering: .releasing)
    }

    /// Opens a window: every loop that stands still looks after its sockets, and so does the caller, which
    /// runs alone or waits to.
    func serveStanding() {
        guard let mine else { return }
        let open = window.add(1, ordering: .sequentiallyConsistent).newValue
        mine.serve()
        for place in places where place !== mine {
            World.spin {
                let served = place.served.load(ordering: .acquiring)
                return served == open || served == Place.runs
            }
        }
    }

    /// Runs `body` while every other loop stands still. `wake` gets sleeping loops to their turn's end.
    /// `isBusy`: some loop may not get there for long.
    func runAlone(wake: () -> Void, isBusy: () -> Bool = { false }, _ body: () -> Void) {
        if loops == 1 { return body() }
        let mine = self.mine
        // Two loops may want this at once: who waits stands still for the other.
        World.spin {
            if self.owner.compareExchange(
                expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged { return true }
            if self.stop.load(ordering: .acquiring) { self.standStill(mine) }
            return false
        }
        stop.store(true, ordering: .releasing)
        wake()
        // In this order: a loop that ends in between is waited for once more, never passed over.
        var waits = 0
        World.spin {
            let others = self.running.load(ordering: .acquiring) - 1
            if self.standing.load(ordering: .acquiring) == others { return true }
            waits += 1
            if waits & 1023 == 0, isBusy() { self.serveStanding() }
            return false
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
