import Glibc
import Primitives
import Testing

@testable import TieredStore

/// A small store of one worker, a disk in memory that answers when it is told to, and hands to set
/// and get strings with.
final class StoreBench {
    let store: Store
    let worker: StoreWorker
    private(set) var now: Int64 = 1_700_000_000_000
    private(set) var nanoseconds: UInt64 = 1_000_000_000
    /// Requests on their way, and all kinds there have been.
    private(set) var pending: [DiskRequest] = []
    private(set) var reads = 0
    private(set) var writes = 0
    /// What the disk answers instead of doing what it is asked, by kind.
    var failures: [DiskRequest.Kind: Int] = [:]
    /// Done to what a read brings.
    var damage: (UnsafeMutableRawPointer, Int) -> Void = { _, _ in }
    let keys: StagedKeys
    let disk: AddressSpace
    /// What was written to other files than the tier file.
    var files: [UInt8: [UInt8]] = [:]

    /// `disk`: the tier file of a bench before.
    init(disk: AddressSpace? = nil, _ change: (inout StoreOptions) -> Void = { _ in }) throws {
        var options = StoreOptions.tiny
        options.databases = 2
        options.addressSpace = 64 << 20
        options.tierCapacity = 4 << 20
        change(&options)
        store = try #require(Store(options))
        worker = store.workers[0]
        keys = StagedKeys(worker)
        let count = store.log.headerSize + store.log.capacityBytes
        self.disk = try disk ?? #require(AddressSpace(byteCount: count))
        worker.setTime(milliseconds: now, nanoseconds: nanoseconds)
    }

    deinit { store.tearDown() }

    func advance(milliseconds: Int64) {
        now += milliseconds
        nanoseconds += UInt64(milliseconds) * 1_000_000
        worker.setTime(milliseconds: now, nanoseconds: nanoseconds)
    }

    // MARK: Disk

    /// Takes the requests the store has made.
    func collect() {
        while let request = worker.takeRequest() {
            if request.kind == .read { reads += 1 }
            if request.kind == .write { writes += 1 }
            pending.append(request)
        }
    }

    /// Answers requests until the store makes no more.
    func settle() {
        collect()
        while !pending.isEmpty { answerOne() }
    }

    /// Answers the oldest request.
    func answerOne() {
        answer(pending.removeFirst())
        collect()
    }

    private func answer(_ request: DiskRequest) {
        let place = disk.base + request.offset
        var result = request.length
        if let failure = failures[request.kind] {
            result = failure
        } else if request.kind == .read {
            request.memory!.copyMemory(from: place, byteCount: request.length)
            damage(request.memory!, request.length)
        } else if request.kind == .write, request.file != .tier {
            write(request.file, request.memory!, request.length, at: request.offset)
        } else if request.kind == .write {
            place.copyMemory(from: request.memory!, byteCount: request.length)
        }
        worker.complete(request.token, result: result)
    }

    func write(_ file: DiskFile, _ memory: UnsafeMutableRawPointer, _ count: Int, at offset: Int) {
        var content = files[file.number] ?? []
        content += [UInt8](repeating: 0, count: max(0, offset + count - content.count))
        content.replaceSubrange(offset..<(offset + count), with: ByteView(memory, count).array)
        files[file.number] = content
    }

    /// Turns of background work, each with the disk's answers.
    func turn(_ count: Int = 1) {
        for _ in 0..<count {
            advance(milliseconds: 20)
            _ = worker.background()
            settle()
        }
    }

    // MARK: Keys

    /// Runs `body` with the keys added, as a command would.
    func with<R>(_ names: [String], database: Int = 0, _ body: (StagedKeys) throws -> R) rethrows -> R {
        let bytes = names.map { Array($0.utf8) }
        let memory = bytes.map { name in
            let copy = UnsafeMutableRawPointer.allocate(byteCount: max(1, name.count), alignment: 1)
            name.withView { copy.copyMemory(from: $0.base, byteCount: $0.count) }
            return ByteView(copy, name.count)
        }
        defer { for view in memory { UnsafeMutableRawPointer(mutating: view.base).deallocate() } }
        for view in memory { keys.add(view, hash: worker.hash(view), database: database) }
        keys.lock()
        defer { keys.end() }
        return try body(keys)
    }

    func set(_ key: String, _ value: [UInt8], expiry: ExpiryChange = .none, database: Int = 0) {
        with([key], database: database) { keys in
            value.withView { keys.setString(0, $0, expiry: expiry) }
        }
    }

    /// Wants the value for session `token`; its staged record if it is not in RAM.
    func stage(_ key: String, token: UInt32 = 1, database: Int = 0) -> StagedRecord? {
        with([key], database: database) { keys in
            switch keys.stage(0, token: token) {
            case .usable: nil
            case .staged(let record), .reading(let record): record
            }
        }
    }

    /// The value, which is in RAM or staged.
    func value(_ key: String, database: Int = 0) throws -> [UInt8]? {
        try with([key], database: database) { try $0.string(0)?.array }
    }

    /// The value, read from the disk if need be, as a session gets it.
    func get(_ key: String, database: Int = 0) throws -> [UInt8]? {
        let staged = stage(key, database: database)
        if staged != nil { settle() }
        defer { if let staged { worker.unstage(staged) } }
        return try value(key, database: database)
    }

    func delete(_ key: String) -> Bool { with([key]) { $0.delete(0) } }

    /// Writes the values to the disk and drops them from RAM.
    func demote(_ names: String...) { demote(names) }

    func demote(_ names: [String]) {
        for name in names {
            if case .busy = with([name], { $0.demote(0) }) {
                settle()
                _ = with([name]) { $0.demote(0) }
            }
        }
        worker.flushIfIdle()
        settle()
    }

    /// Bytes that do not compress.
    static func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
        var random = Random(seed: seed)
        return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    func residency(_ key: String) -> StagedKeys.Residency { with([key]) { $0.residency(0) } }

    func exists(_ key: String) -> Bool { with([key]) { $0.exists(0) } }

    func entry(_ key: String) -> Entry? { with([key]) { $0.entry(0) } }
}
