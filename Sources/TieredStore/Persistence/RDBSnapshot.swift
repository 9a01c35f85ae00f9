import Glibc
import Primitives

/// A snapshot as an RDB file (Redis 7.0, version 10). Values on the SSD are read beside the walk and not
/// promoted.
///
/// Every block names its database first: blocks of several workers stand beside each other in the file.
/// Source: Redis 7.0 rdb.c for the order of things in the file.
final class RDBSnapshot: SnapshotFormat {
    /// Demoted keys a worker has in hand at most, read or to be read.
    private static let coldMost = 128

    private let file: SnapshotFile
    private let checks: Bool
    private unowned let store: Store
    /// A record could not be read: its key is missing from the file.
    var onUnreadable: (ByteView) -> Void = { _ in }

    init(_ file: SnapshotFile, _ store: Store, checks: Bool) {
        self.file = file
        self.store = store
        self.checks = checks
    }

    // MARK: Head and foot

    /// Writes what stands before the first key. `facts`: auxiliary fields; `functions`: sources of libraries.
    func writeHead(facts: [(String, String)], functions: [[UInt8]]) -> Bool {
        let strings = facts.flatMap { [$0.0, $0.1] }.map { Array($0.utf8) } + functions
        let count = strings.reduce(16) { $0 + 2 + RDBWriter.stringBytes($1.count) }
        guard let block = file.makeBlock(count) else { return false }
        var writer = RDBWriter(block.start)
        Array("REDIS0010".utf8).withView { writer.raw($0) }
        for (name, value) in facts {
            writer.byte(RDBOpcode.auxiliary)
            for text in [name, value] { Array(text.utf8).withView { writer.string($0) } }
        }
        for source in functions {
            writer.byte(RDBOpcode.function2)
            source.withView { writer.string($0) }
        }
        block.fill = writer.at - block.start
        file.submit(block)
        return true
    }

    func writeFoot(_ snapshot: Snapshot) {
        guard let block = file.makeBlock(16) else { return snapshot.abandon() }
        block.start.storeBytes(of: RDBOpcode.end, as: UInt8.self)
        var checksum: UInt64 = 0
        if checks {
            let last = CRC64.checksum(ByteView(block.start, 1))
            var shift = CRC64.Shift()
            checksum = shift.combine(file.checksum, last, count: 1)
        }
        (block.start + 1).storeBytes(of: checksum.littleEndian, as: UInt64.self)
        block.fill = 9
        file.submit(block)
    }

    // MARK: Keys

    func save(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart, urgently: Bool
    ) -> Bool {
        let database = worker.snapshot!.databases[tables]
        if !entry.isResident {
            guard urgently || part.cold.count + part.reading + part.arrived.count < RDBSnapshot.coldMost
            else { return false }
            worker.log.writeStarted(entry.address.segment)
            part.cold.append(ColdKey(entry, hash: worker.hash(entry.key), database: database))
            part.budget -= 256
            return true
        }
        if entry.encodedCount > LongValue.threshold, !urgently {
            return begin(entry, tables, worker, part)
        }
        let value = entry.isStructured
            ? RDBValue(structure: entry.structure.held)
            : RDBValue(type: entry.type, flags: entry.flags, ByteView(entry.value, entry.valueCount))
        return put(value, entry.key, entry.expiry, database, part, urgently: urgently)
    }

    /// Begins to save a long resident value. False while another is on its way.
    private func begin(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart
    ) -> Bool {
        guard part.job == nil else { return false }
        let hash = worker.hash(entry.key), database = worker.snapshot!.databases[tables]
        let type = entry.isStructured ? entry.structure.held.rdbType : RDBType.string
        var head = RDBSnapshot.head(type, entry.key, entry.expiry, database)
        if !entry.isStructured { head += RDBSnapshot.lengthBytes(entry.valueCount) }
        guard let job = LongValue(entry, head, hash: hash, tables: tables, file, store.extents)
        else { return false }
        part.job = job
        worker.snapshot!.setJob(job, worker: part.worker)
        return true
    }

    /// What stands before a value of its own range.
    private static func head(_ type: UInt8, _ key: ByteView, _ expiry: Int64?, _ database: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32 + key.count) { buffer, used in
            var writer = RDBWriter(UnsafeMutableRawPointer(buffer.baseAddress!))
            write(database: database, &writer)
            write(expiry: expiry, &writer)
            writer.byte(type)
            writer.string(key)
            used = writer.at - UnsafeMutableRawPointer(buffer.baseAddress!)
        }
    }

    private static func lengthBytes(_ n: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 16) { buffer, used in
            var writer = RDBWriter(UnsafeMutableRawPointer(buffer.baseAddress!))
            writer.length(n)
            used = writer.at - UnsafeMutableRawPointer(buffer.baseAddress!)
        }
    }

    private static func write(database: Int, _ writer: inout RDBWriter) {
        writer.byte(RDBOpcode.database)
        writer.length(database)
    }

    private static func write(expiry: Int64?, _ writer: inout RDBWriter) {
        guard let expiry else { return }
        writer.byte(RDBOpcode.expiryMilliseconds)
        writer.int64(expiry)
    }

    /// Writes a key and its value into the part's block, or one of its own.
    private func put(
        _ value: RDBValue, _ key: ByteView, _ expiry: Int64?, _ database: Int, _ part: SnapshotPart,
        urgently: Bool
    ) -> Bool {
        let count = value.byteCount + RDBWriter.stringBytes(key.count) + 16
        guard let block = block(count, part, urgently: urgently) else { return false }
        var writer = RDBWriter(block.end)
        if !block.isPooled || part.database != database {
            RDBSnapshot.write(database: database, &writer)
            if block.isPooled { part.database = database }
        }
        RDBSnapshot.write(expiry: expiry, &writer)
        // The type byte stands before the key.
        writer.byte(value.type)
        writer.string(key)
        value.writeBody(&writer)
        block.fill = writer.at - block.start
        part.budget -= count
        if !block.isPooled { file.submit(block) }
        return true
    }

    private func block(_ count: Int, _ part: SnapshotPart, urgently: Bool) -> SnapshotFile.Block? {
        if count > file.blockSize { return file.makeBlock(count) }
        if let block = part.block {
            if block.room >= count { return block }
            file.submit(block)
            part.block = nil
        }
        part.block = file.lease(urgently: urgently)
        part.database = -1
        return part.block
    }

    // MARK: Beside the walk

    var refersToTier: Bool { false }

    func close(_ block: SnapshotFile.Block, _ part: SnapshotPart) { file.submit(block) }

    func isDrained(_ part: SnapshotPart) -> Bool {
        part.job == nil && part.cold.isEmpty && part.reading == 0 && part.arrived.isEmpty
    }

    func advance(_ worker: StoreWorker, _ part: SnapshotPart) -> Bool {
        if part.job != nil { worker.advanceJob(part, file) }
        while part.budget > 0, part.job == nil, let key = part.arrived.popFirst() {
            take(key, worker, part)
        }
        if worker.snapshot!.isAbandoned {
            while let key = part.cold.popFirst() { worker.log.writeEnded(key.address.segment) }
        }
        while part.reading < 64, let key = part.cold.popFirst() { read(key, worker, part) }
        return part.job != nil || !part.arrived.isEmpty
    }

    // MARK: Reading

    private func read(_ key: ColdKey, _ worker: StoreWorker, _ part: SnapshotPart) {
        let (position, length) = worker.readExtent(key.address)
        if key.memory == nil { key.memory = SnapshotFile.Memory(length, store.extents) }
        guard let memory = key.memory else { return fail(key, worker) }
        part.reading += 1
        let piece = min(length - key.received, StoreWorker.readPieceBytes)
        worker.request(
            .read, offset: position + key.received, length: piece, memory: memory.at + key.received,
            .other { [unowned worker] result in
                part.reading -= 1
                guard result == piece else { return self.fail(key, worker) }
                key.received += piece
                if key.received < length { return self.read(key, worker, part) }
                worker.log.writeEnded(key.address.segment)
                part.arrived.append(key)
            })
    }

    private func fail(_ key: ColdKey, _ worker: StoreWorker) {
        worker.log.writeEnded(key.address.segment)
        worker.counters.readErrors += 1
        key.key.withView { onUnreadable($0) }
    }

    /// Saves a value that has been read.
    private func take(_ key: ColdKey, _ worker: StoreWorker, _ part: SnapshotPart) {
        guard !worker.snapshot!.isAbandoned, let memory = key.memory else { return }
        let offset = key.address.offset & 4095, record = Record(memory.at + offset)
        guard record.isSound(available: memory.count - offset),
            record.stands(at: key.address, hash: key.hash), let type = ValueType(rawValue: record.type & 15)
        else {
            worker.counters.checksumErrors += 1
            return key.key.withView { onUnreadable($0) }
        }
        if record.flags & Record.compressed == 0 {
            save(key, type, record.payload, part, isKept: true)
        } else {
            withUnsafeTemporaryAllocation(byteCount: record.valueCount, alignment: 8) { buffer in
                let value = buffer.baseAddress!
                guard record.decode(into: value) else {
                    worker.counters.checksumErrors += 1
                    return key.key.withView { onUnreadable($0) }
                }
                save(key, type, ByteView(UnsafeRawPointer(value), record.valueCount), part, isKept: false)
            }
        }
    }

    /// `isKept`: the bytes lie in the key's memory.
    private func save(
        _ key: ColdKey, _ type: ValueType, _ bytes: ByteView, _ part: SnapshotPart, isKept: Bool
    ) {
        let value = RDBValue(type: type, flags: key.flags, bytes)
        if isKept, bytes.count > LongValue.threshold, type == .string || key.flags & Entry.structured != 0 {
            var head = key.key.withView { RDBSnapshot.head(value.type, $0, key.expiry, key.database) }
            if type == .string { head += RDBSnapshot.lengthBytes(bytes.count) }
            part.job = LongValue(key, bytes, head, file, store.extents)
            if part.job != nil { return }
        }
        _ = key.key.withView { put(value, $0, key.expiry, key.database, part, urgently: true) }
    }
}
