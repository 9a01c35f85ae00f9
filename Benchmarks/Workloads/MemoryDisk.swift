import Primitives
import RESPFront
import TieredStore

/// A disk in memory that answers at once. Of files but the tier's, nothing is kept.
public final class MemoryDisk {
    private let space: AddressSpace

    public init(byteCount: Int) {
        guard let space = AddressSpace(byteCount: byteCount) else { fatalError("no address space") }
        self.space = space
    }

    /// Carries out everything the worker asks for.
    public func serve(_ worker: StoreWorker) {
        while let request = worker.takeRequest() {
            if request.file == .tier { transfer(request) }
            let hasLength = request.kind != .allocate && request.kind != .sync
            worker.complete(request.token, result: hasLength ? request.length : 0)
        }
    }

    private func transfer(_ request: DiskRequest) {
        let place = space.base + request.offset
        switch request.kind {
        case .read: request.memory!.copyMemory(from: place, byteCount: request.length)
        case .write, .durableWrite: place.copyMemory(from: request.memory!, byteCount: request.length)
        case .allocate, .sync: break
        }
    }
}

/// A directory of files that have names and no content: for an append-only file that is written and never
/// read.
final class MemoryDirectory: DataDirectory {
    private let disk: MemoryDisk
    private var opened: UInt8 = 0

    init(_ disk: MemoryDisk) { self.disk = disk }

    func create(_ name: String, isDirect: Bool) throws(FileFailure) -> DiskFile {
        opened += 1
        return DiskFile(number: opened)
    }

    func close(_ file: DiskFile, as name: String) throws(FileFailure) {}
    func close(_ file: DiskFile, at byteCount: Int) {}
    func byteCount(_ file: DiskFile) -> Int { 0 }
    func byteCount(_ name: String) -> Int? { nil }
    func makeDirectory(_ name: String) throws(FileFailure) {}
    func exists(_ name: String) -> Bool { false }
    func contents(_ name: String) -> [UInt8]? { nil }
    func replace(_ name: String, with bytes: [UInt8]) throws(FileFailure) {}
    func rename(_ name: String, to other: String) throws(FileFailure) {}
    func delete(_ name: String) {}
    func discard(_ file: DiskFile) {}
    func carryOut(_ worker: StoreWorker) { disk.serve(worker) }
}
