import Primitives
import TieredStore

/// What workers ask of the disk when no loop runs any more: threads beside them carry it out.
final class Transfers: @unchecked Sendable {
    private let lock = SpinLock()
    private var asked = RingQueue<(worker: Int, request: DiskRequest)>()
    private var ended: [[(token: UInt32, result: Int)]]

    init(workers: Int) { ended = Array(repeating: [], count: workers) }

    /// Hands over what a worker asks; false if it is nothing. On the worker's thread.
    func handOver(_ worker: StoreWorker) -> Bool {
        lock.lock()
        defer { lock.unlock() }
        let before = asked.count
        while let request = worker.takeRequest() { asked.append((worker.index, request)) }
        return asked.count > before
    }

    /// Tells a worker what has ended. On the worker's thread.
    func complete(_ worker: StoreWorker) {
        lock.lock()
        let results = ended[worker.index]
        ended[worker.index].removeAll()
        lock.unlock()
        for (token, result) in results { worker.complete(token, result: result) }
    }

    /// Carries out the oldest of what is asked; false if there is none.
    func carryOut(_ body: (DiskRequest) -> Int) -> Bool {
        guard let (worker, request) = next() else { return false }
        let result = body(request)
        lock.lock()
        ended[worker].append((request.token, result))
        lock.unlock()
        return true
    }

    private func next() -> (worker: Int, request: DiskRequest)? {
        lock.lock()
        defer { lock.unlock() }
        return asked.popFirst()
    }
}
