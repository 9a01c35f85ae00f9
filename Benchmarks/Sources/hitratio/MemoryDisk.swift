import Primitives
import TieredStore

/// A disk in memory that answers at once: what a hit ratio costs in time is not measured here.
final class MemoryDisk {
    private let space: AddressSpace

    init(byteCount: Int) {
        guard let space = AddressSpace(byteCount: byteCount) else { fatalError("no address space") }
        self.space = space
    }

    /// Carries out everything the worker asks for.
    func serve(_ worker: StoreWorker) {
        while let request = worker.takeRequest() {
            let place = space.base + request.offset
            switch request.kind {
            case .read: request.memory!.copyMemory(from: place, byteCount: request.length)
            case .write, .durableWrite: place.copyMemory(from: request.memory!, byteCount: request.length)
            case .allocate, .sync: break
            }
            worker.complete(request.token, result: request.kind == .allocate ? 0 : request.length)
        }
    }
}
