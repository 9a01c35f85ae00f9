import Glibc
import Synchronization

/// Where threads that read what there is, beside loops, stand still for a loop that runs alone.
///
/// They pass it where they hold no stripe and change nothing: before each piece they read.
final class ReadingGate: Sendable {
    private let inside = Atomic<Int>(0)
    private let isClosed = Atomic<Bool>(false)
    private let owner = Mutex(())

    func enter() {
        while true {
            while isClosed.load(ordering: .sequentiallyConsistent) { usleep(50) }
            inside.add(1, ordering: .sequentiallyConsistent)
            if !isClosed.load(ordering: .sequentiallyConsistent) { return }
            leave()
        }
    }

    func leave() { inside.subtract(1, ordering: .sequentiallyConsistent) }

    /// Stands still if a loop wants that; and for so many microseconds.
    func pass(delay: Int = 0) {
        guard delay > 0 || isClosed.load(ordering: .relaxed) else { return }
        leave()
        if delay > 0 { usleep(useconds_t(delay)) }
        enter()
    }

    /// Runs `body` while nobody is inside. Not for those inside.
    func alone(_ body: () -> Void) {
        owner.withLock { _ in
            isClosed.store(true, ordering: .sequentiallyConsistent)
            while inside.load(ordering: .sequentiallyConsistent) > 0 { usleep(50) }
            body()
            isClosed.store(false, ordering: .sequentiallyConsistent)
        }
    }
}
