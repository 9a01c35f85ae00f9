import Glibc
import Primitives
import Synchronization

/// The index rebuilt from the log alone: of each key the record with the highest number.
///
/// For a tier file without a checkpoint. What it cannot know: values that were only in RAM, that a key was
/// deleted, and expiries that were changed after a value had been written. Any number of workers take
/// segments; whoever runs it reads the file, as for `CheckpointLoad`. Nothing is written.
///
/// While it runs an entry keeps its record's number, modulo 2^42, where the access clock, frequency and
/// epoch of a key are kept else: no table beside the index. Of two numbers the higher is the one less than
/// 2^41 ahead; no log has records that far apart.
public final class LogScan: @unchecked Sendable {
    public typealias Read = CheckpointLoad.Read
    private static let sequenceBits: UInt64 = 42
    private static let sequenceMask: UInt64 = 1 << sequenceBits - 1
    private static let pieceBytes = 1 << 20
    /// Numbers that may have been given out after the superblock was written.
    static let sequenceSlack: UInt64 = 1 << 28

    private unowned let store: Store
    private let read: Read
    private let superblock: Superblock
    /// Of the segment table, if it is sound: versions of segments whose header is not.
    private let rows: [Superblock.SegmentRow]
    /// Segments that were written to, and their versions.
    private let found = Mutex<[(segment: Int, version: UInt32)]>([])
    private var toScan: [(segment: Int, version: UInt32)] = []
    private let nextHeader = Atomic<Int>(0)
    private let next = Atomic<Int>(0)
    private let doneBytes = Atomic<Int>(0)
    private let keyCount = Atomic<Int>(0)
    private let recordCount = Atomic<Int>(0)
    private let damagedCount = Atomic<Int>(0)
    private let unreadableCount = Atomic<Int>(0)
    private let segmentsFound = Atomic<Int>(0)
    private let highest = Atomic<UInt64>(0)
    /// Highest number of a database that a record is of.
    private let lastDatabase = Atomic<Int>(0)

    public init(
        _ store: Store, _ superblock: Superblock, _ rows: [Superblock.SegmentRow]?, read: @escaping Read
    ) {
        self.store = store
        self.superblock = superblock
        self.rows = rows ?? []
        self.read = read
    }

    // MARK: What is known of it

    /// Share of the file that has been read.
    public var progress: Double {
        Double(doneBytes.load(ordering: .relaxed)) / Double(max(1, segments * store.log.segmentSize))
    }
    public var keys: Int { keyCount.load(ordering: .relaxed) }
    public var records: Int { recordCount.load(ordering: .relaxed) }
    /// Records that are not whole, and pieces of the file that could not be read.
    public var damaged: Int { damagedCount.load(ordering: .relaxed) }
    public var unreadable: Int { unreadableCount.load(ordering: .relaxed) }
    /// Segments that were written to.
    public var segments: Int { segmentsFound.load(ordering: .relaxed) }
    /// Databases its records are of.
    public var databases: Int { lastDatabase.load(ordering: .relaxed) + 1 }

    // MARK: Running

    /// Reads the headers of segments until there are none. Any number of workers at a time.
    public func takeHeaders(_ worker: StoreWorker) {
        let part = Part(worker)
        while true {
            let segment = nextHeader.add(1, ordering: .relaxed).oldValue
            guard segment < store.log.segmentCount else { return }
            readHeader(segment, part)
        }
    }

    /// All headers have been read: counts the first segment's records, and gives the index the size it makes
    /// likely (`Table.reserve` says why).
    public func begin(_ worker: StoreWorker) {
        toScan = found.withLock { $0.sorted { $0.segment < $1.segment } }
        guard let first = toScan.first else { return }
        let part = Part(worker)
        part.isCounting = true
        scan(first.segment, first.version, part)
        for (tables, records) in part.records {
            store.reserve(keys: records * toScan.count, tables: tables)
        }
    }

    /// Takes segments until there are none. Any number of workers at a time.
    public func takeSegments(_ worker: StoreWorker) {
        let part = Part(worker)
        while takeNext(part) {}
        end(part)
    }

    private func takeNext(_ part: Part) -> Bool {
        let index = next.add(1, ordering: .relaxed).oldValue
        guard index < toScan.count else { return false }
        scan(toScan[index].segment, toScan[index].version, part)
        doneBytes.add(store.log.segmentSize, ordering: .relaxed)
        return true
    }

    private func end(_ part: Part) {
        highest.max(part.highest, ordering: .relaxed)
        lastDatabase.max(part.lastDatabase, ordering: .relaxed)
    }

    /// All segments have been taken: entries and segments are as if they had never been away.
    public func finish() {
        for worker in store.workers { keyCount.subtract(worker.endScan(), ordering: .relaxed) }
        _ = store.stripes.restore(superblock.swaps, databases: store.options.databases)
        let last = max(highest.load(ordering: .relaxed), superblock.sequence)
        store.log.raiseSequence(to: last + LogScan.sequenceSlack)
        store.log.settleRecovered()
    }

    /// What one worker has in hand.
    private final class Part {
        let worker: StoreWorker
        var memory: UnsafeMutableRawPointer
        var capacity = LogScan.pieceBytes
        var segment = 0
        var version: UInt32 = 0
        /// Behind the last record found.
        var used = SegmentHeader.size
        var filled = 0
        var highest: UInt64 = 0
        var lastDatabase = 0
        /// Records are counted, by set of tables, and no more.
        var isCounting = false
        var records: [Int: Int] = [:]

        init(_ worker: StoreWorker) {
            self.worker = worker
            memory = .allocate(byteCount: capacity, alignment: 4096)
        }

        deinit { memory.deallocate() }

        func grow(_ count: Int) {
            guard count > capacity else { return }
            memory.deallocate()
            capacity = (count + 4095) & ~4095
            memory = .allocate(byteCount: capacity, alignment: 4096)
        }
    }

    private func readHeader(_ segment: Int, _ part: Part) {
        let log = store.log
        if log.row(segment).state != .free { return }
        let known = segment < rows.count ? rows[segment].version : 0
        guard read(part.memory, SegmentHeader.size, log.position(segment, 0)) else {
            unreadableCount.add(1, ordering: .relaxed)
            return log.recoverVersion(segment, known + 1000)
        }
        if let version = SegmentHeader.decode(part.memory, segment: segment, identity: superblock.identity) {
            found.withLock { $0.append((segment, version)) }
            segmentsFound.add(1, ordering: .relaxed)
        } else {
            // What cannot be read may have been opened since the table was written.
            log.recoverVersion(segment, known == 0 ? 0 : known + 1000)
        }
    }

    private func scan(_ segment: Int, _ version: UInt32, _ part: Part) {
        part.segment = segment
        part.version = version
        part.used = SegmentHeader.size
        part.filled = 0
        store.log.recover(segment, Superblock.SegmentRow(
            state: .sealed, version: version, used: 0, live: 0, isPrepared: true))
        scanRecords(part)
        store.log.recover(segment, Superblock.SegmentRow(
            state: .sealed, version: version, used: (part.used + 4095) & ~4095, live: 0, filled: part.filled,
            isPrepared: true))
    }

    private func scanRecords(_ part: Part) {
        let log = store.log
        var at = SegmentHeader.size, wanted = LogScan.pieceBytes
        while at < log.segmentSize {
            let count = min(wanted, log.segmentSize - at)
            part.grow(count)
            guard read(part.memory, count, log.position(part.segment, at)) else {
                unreadableCount.add(1, ordering: .relaxed)
                at += count
                wanted = LogScan.pieceBytes
                continue
            }
            let (done, needed) = scanPiece(part, at: at, count)
            at += done
            wanted = max(LogScan.pieceBytes, needed)
        }
    }

    /// Goes through a piece that begins at a block; how many of its bytes are done with, whole blocks, and
    /// how many must be read from there for the record it cuts.
    private func scanPiece(_ part: Part, at start: Int, _ count: Int) -> (done: Int, needed: Int) {
        let left = store.log.segmentSize - start
        var cursor = 0
        while count - cursor >= Record.headerSize {
            let record = Record(part.memory + cursor)
            let nextBlock = (cursor + 4096) & ~4095
            guard record.byteCount > 0, record.hasSoundLengths(available: left - cursor) else {
                cursor = nextBlock
                continue
            }
            let end = cursor + record.byteCount
            if end > count {
                // Garbage of an older life does not have more read for it.
                guard record.segmentVersion == part.version else {
                    cursor = nextBlock
                    continue
                }
                let block = cursor & ~4095
                return (block, (end - block + 4095) & ~4095)
            }
            if record.isSound(available: count - cursor) {
                if record.segmentVersion == part.version { take(record, start + cursor, part) }
                cursor = (end + 7) & ~7
            } else {
                if record.segmentVersion == part.version, !part.isCounting {
                    damagedCount.add(1, ordering: .relaxed)
                }
                cursor = nextBlock
            }
        }
        return (count, 0)
    }

    // MARK: Records

    private func take(_ record: Record, _ offset: Int, _ part: Part) {
        let worker = part.worker
        guard worker.hash(record.key) == record.hash, let type = ValueType(rawValue: record.type & 15)
        else { return }
        part.lastDatabase = max(part.lastDatabase, record.database)
        guard record.database < store.options.databases else { return }
        if part.isCounting { return part.records[record.database, default: 0] += 1 }
        recordCount.add(1, ordering: .relaxed)
        part.highest = max(part.highest, record.sequence)
        let address = Address(
            segment: part.segment, version: part.version, offset: offset, byteCount: record.byteCount)
        part.used = offset + record.byteCount
        part.filled += address.footprint
        if worker.index(record, type, address, mark: LogScan.mark(record.sequence)) {
            keyCount.add(1, ordering: .relaxed)
        }
    }

    /// A number as an entry keeps it.
    private static func mark(_ sequence: UInt64) -> UInt64 { sequence & sequenceMask }

    fileprivate static func isNewer(_ a: UInt64, than b: UInt64) -> Bool {
        let ahead = (a &- b) & sequenceMask
        return ahead != 0 && ahead < 1 << (sequenceBits - 1)
    }
}

extension Entry {
    /// The number of the record, while the log is scanned: access clock 32, frequency 2, epoch 8.
    fileprivate var scanMark: UInt64 {
        get {
            UInt64(at.load(fromByteOffset: 4, as: UInt32.self)) | UInt64(frequency) << 32
                | UInt64(epoch) << 34
        }
        nonmutating set {
            at.storeBytes(of: UInt32(truncatingIfNeeded: newValue), toByteOffset: 4, as: UInt32.self)
            frequency = UInt32(truncatingIfNeeded: newValue >> 32) & 3
            epoch = UInt8(truncatingIfNeeded: newValue >> 34)
        }
    }
}

extension StoreWorker {
    /// Puts a record of the log into the index unless a newer one of its key is there. True if the key was
    /// not there.
    fileprivate func index(_ record: Record, _ type: ValueType, _ address: Address, mark: UInt64) -> Bool {
        let stripe = stripes.number(of: record.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + record.database
        let slot = table.pointee.find(record.hash, record.key, base: base)
        if let slot, !LogScan.isNewer(mark, than: entry(slot).scanMark) { return false }
        let expiry = record.expiry == 0 ? nil : record.expiry
        let prefix = Entry.prefix(keyCount: record.keyCount, expires: expiry != nil)
        guard let cell = allocate(prefix, stripe: stripe) else {
            fatalError("tierd: out of reserved address space")
        }
        let stub = Entry(cell)
        stub.initialise(type: type, key: record.key, expiry: expiry)
        stub.flags |= UInt32(record.type) & Entry.recorded
        stub.valueCount = record.valueCount
        stub.address = address
        stub.scanMark = mark
        log.addLive(address.segment, address.footprint)
        guard let slot else {
            _ = insert(stub, record.hash, table)
            return true
        }
        let old = entry(slot)
        log.addLive(old.address.segment, -old.address.footprint)
        let size = old.size
        replace(slot, with: stub, table)
        free(old.at, size)
        return false
    }

    /// Gives this worker's share of the entries what a scan had in its place; deletes those whose time is
    /// over, and returns how many. Nobody is told: the front is its loop's.
    fileprivate func endScan() -> Int {
        var deleted = 0
        for stripe in stride(from: index, to: store.options.stripes, by: store.options.workers) {
            for database in 0..<store.options.databases {
                let table = stripes.tables(stripe) + database
                var over: [[UInt8]] = []
                for bucket in 0..<Int(table.pointee.buckets) where table.pointee.count > 0 {
                    table.pointee.forEach(home: bucket) { slot in
                        let entry = Entry(base + Int(slot & Table.offsetMask))
                        entry.scanMark = 0
                        entry.epoch = epoch
                        entry.accessClock = accessSeconds
                        if let expiry = entry.expiry, expiry <= now { over.append(entry.key.array) }
                    }
                }
                for key in over {
                    let slot = key.withView { table.pointee.find(hash($0), $0, base: base) }
                    if let slot { remove(slot, table) }
                }
                deleted += over.count
                counters.expiredKeys += UInt64(over.count)
                table.pointee.fit(extents)
            }
        }
        return deleted
    }
}
