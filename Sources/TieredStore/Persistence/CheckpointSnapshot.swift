import Glibc
import Primitives

/// A snapshot as a checkpoint: a value on the SSD goes as its address, a dirty one as its bytes.
///
/// The last one, when no loop runs any more, has dirty values written to the log on the way (`isLast`), and
/// then has addresses of nearly all: who starts with it reads keys and no values. A value whose key takes
/// as much stays with it, and so do all for which the log has no room.
///
/// It is read where the tier file is, whose segments it refers to (`SegmentLog.beginCheckpoint`). The
/// shape is in `CheckpointFormat`.
final class CheckpointSnapshot: SnapshotFormat {
    private let file: SnapshotFile
    private unowned let store: Store
    private(set) var keys = 0
    /// No loop runs any more.
    private let isLast: Bool
    /// Of each worker, before.
    private let writeErrors: [UInt64]

    init(_ file: SnapshotFile, _ store: Store, isLast: Bool) {
        self.file = file
        self.store = store
        self.isLast = isLast
        writeErrors = store.workers.map(\.counters.writeErrors)
    }

    var refersToTier: Bool { true }

    // MARK: Head and foot

    func writeHead(_ head: CheckpointHead) -> Bool {
        guard let block = file.makeBlock(CheckpointFormat.padded(head.byteCount)) else { return false }
        head.encode(to: block.start)
        submit(block, head.byteCount)
        return true
    }

    func writeFoot(_ snapshot: Snapshot) {
        var foot = CheckpointFoot()
        for part in snapshot.parts { part.endCount() }
        foot.keys = snapshot.parts.reduce(0) { $0 + $1.keys }
        foot.addresses = snapshot.parts.reduce(0) { $0 + $1.addresses }
        foot.sequence = store.log.lastSequence
        foot.segmentCount = store.log.segmentCount
        for segment in 0..<store.log.segmentCount {
            let row = store.log.row(segment)
            if row.version > 0 { foot.rows.append(CheckpointFoot.Row(segment: segment, row: row)) }
        }
        for tables in 0..<store.options.databases {
            let keys = snapshot.parts.reduce(0) { $0 + ($1.keysByTables[tables] ?? 0) }
            if keys > 0 { foot.counts.append((tables, keys)) }
        }
        keys = foot.keys
        let count = CheckpointFormat.blockHead + foot.byteCount
        let total = CheckpointFormat.padded(count + CheckpointFormat.tail)
        guard let block = file.makeBlock(total) else { return snapshot.abandon() }
        foot.encode(to: block.start + CheckpointFormat.blockHead)
        CheckpointFormat.seal(block.start, count, items: 0, magic: CheckpointFormat.footMagic)
        memset(block.start + count, 0, total - count)
        let end = block.start + total - CheckpointFormat.tail
        end.storeBytes(of: UInt64(file.byteCount), as: UInt64.self)
        end.storeBytes(of: CheckpointFormat.endMagic, toByteOffset: 8, as: UInt64.self)
        block.fill = total
        file.submit(block)
    }

    /// Hands over a block of `count` bytes, with what is missing to a multiple of 4096.
    private func submit(_ block: SnapshotFile.Block, _ count: Int) {
        block.fill = CheckpointFormat.padded(count)
        memset(block.start + count, 0, block.fill - count)
        file.submit(block)
    }

    // MARK: Keys

    func save(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart, urgently: Bool
    ) -> Bool {
        let isOnDisk = !entry.address.isNone && !entry.has(Entry.writing)
        if isOnDisk { return putAddress(entry, tables, worker, part, urgently: urgently) }
        if isLast, worker.isWorthDemoting(entry) {
            switch putRecord(entry, tables, worker, part) {
            case .put: return true
            case .noBuffer: return false
            case .noSegment: break
            }
        }
        if entry.encodedCount > LongValue.threshold, !urgently { return begin(entry, tables, worker, part) }
        return putValue(entry, tables, part, urgently: urgently)
    }

    private func putAddress(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart, urgently: Bool
    ) -> Bool {
        let count = entry.valueOffset
        guard let block = block(count, tables, part, urgently: urgently) else { return false }
        block.end.copyMemory(from: entry.at, byteCount: count)
        let item = Entry(block.end)
        if entry.isResident { CheckpointSnapshot.makeStub(item, worker) }
        finish(item, count, block, part, tables)
        part.addresses += 1
        return true
    }

    /// Of a value that was in RAM: it comes back as if it had just left, and is wanted there (`WarmUp`).
    private static func makeStub(_ item: Entry, _ worker: StoreWorker) {
        item.flags &= ~(Entry.resident | Entry.probation)
        item.frequency = max(1, item.frequency)
        item.epoch = worker.epoch
    }

    private enum PutOutcome { case put, noBuffer, noSegment }

    /// Has a dirty value written to the log, and puts the address.
    private func putRecord(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart
    ) -> PutOutcome {
        let count = entry.valueOffset
        guard let block = block(count, tables, part, urgently: false) else { return .noBuffer }
        guard let (address, valueCount) = worker.writeLast(entry, tables)
        else { return worker.buffers.freeWrites == 0 ? .noBuffer : .noSegment }
        block.end.copyMemory(from: entry.at, byteCount: count)
        let item = Entry(block.end)
        CheckpointSnapshot.makeStub(item, worker)
        item.address = address
        item.valueCount = valueCount
        finish(item, count, block, part, tables)
        part.addresses += 1
        return .put
    }

    private func putValue(
        _ entry: Entry, _ tables: Int, _ part: SnapshotPart, urgently: Bool
    ) -> Bool {
        let prefix = entry.valueOffset, valueCount = entry.encodedCount
        guard let block = block(prefix + valueCount, tables, part, urgently: urgently) else { return false }
        block.end.copyMemory(from: entry.at, byteCount: prefix)
        let item = Entry(block.end)
        CheckpointSnapshot.note(entry, item, valueCount)
        if entry.isStructured {
            StoreWorker.encode(entry.structure.held, at: block.end + prefix, valueCount)
        } else {
            (block.end + prefix).copyMemory(from: entry.value, byteCount: valueCount)
        }
        finish(item, prefix + valueCount, block, part, tables)
        return true
    }

    /// Says in an item that its value of so many bytes follows.
    private static func note(_ entry: Entry, _ item: Entry, _ valueCount: Int) {
        item.address = Address(raw: UInt64(valueCount))
        guard entry.isStructured, entry.type == .hash else { return }
        item.set(Entry.expiring, entry.structure.held.rdbType == RDBType.hashMetadata)
    }

    /// Ends an item of `count` bytes, which stands where the block ends.
    private func finish(
        _ item: Entry, _ count: Int, _ block: SnapshotFile.Block, _ part: SnapshotPart, _ tables: Int
    ) {
        item.flags &= CheckpointFormat.keptFlags
        item.at.storeBytes(of: item.accessClock, toByteOffset: 4, as: UInt32.self)
        for i in count..<((count + 3) & ~3) { item.at.storeBytes(of: 0, toByteOffset: i, as: UInt8.self) }
        block.fill += (count + 3) & ~3
        part.count(tables)
        part.budget -= count
        if block.isPooled {
            part.items += 1
        } else {
            CheckpointFormat.seal(block.start, block.fill, items: 1)
            submit(block, block.fill)
        }
    }

    /// A block with room for an item of `count` bytes in these tables; one of its own for a long one.
    private func block(
        _ count: Int, _ tables: Int, _ part: SnapshotPart, urgently: Bool
    ) -> SnapshotFile.Block? {
        let needed = CheckpointFormat.marker + (count + 3) & ~3
        if CheckpointFormat.blockHead + needed > file.blockSize {
            let total = CheckpointFormat.padded(CheckpointFormat.blockHead + needed)
            guard let own = file.makeBlock(total) else { return nil }
            own.fill = CheckpointFormat.blockHead
            CheckpointSnapshot.mark(own, tables)
            return own
        }
        if let block = part.block {
            if block.room >= needed {
                if part.database != tables { CheckpointSnapshot.mark(block, tables) }
                part.database = tables
                return block
            }
            close(block, part)
            part.block = nil
        }
        guard let block = file.lease(urgently: urgently) else { return nil }
        block.fill = CheckpointFormat.blockHead
        CheckpointSnapshot.mark(block, tables)
        part.block = block
        part.database = tables
        part.items = 0
        return block
    }

    private static func mark(_ block: SnapshotFile.Block, _ tables: Int) {
        block.end.storeBytes(of: 0, as: UInt32.self)
        block.end.storeBytes(of: UInt32(tables), toByteOffset: 4, as: UInt32.self)
        block.fill += CheckpointFormat.marker
    }

    func close(_ block: SnapshotFile.Block, _ part: SnapshotPart) {
        CheckpointFormat.seal(block.start, block.fill, items: part.items)
        submit(block, block.fill)
    }

    // MARK: Long values

    /// Begins to save a long dirty value. False while another is on its way.
    private func begin(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart
    ) -> Bool {
        guard part.job == nil else { return false }
        let valueCount = entry.encodedCount, prefix = entry.valueOffset
        let itemAt = CheckpointFormat.blockHead + CheckpointFormat.marker
        let head = [UInt8](unsafeUninitializedCapacity: itemAt + prefix) { buffer, used in
            let start = UnsafeMutableRawPointer(buffer.baseAddress!)
            CheckpointFormat.writeHead(start, itemAt + prefix + valueCount, items: 1)
            (start + CheckpointFormat.blockHead).storeBytes(of: 0, as: UInt32.self)
            (start + CheckpointFormat.blockHead + 4).storeBytes(of: UInt32(tables), as: UInt32.self)
            let item = Entry(start + itemAt)
            item.at.copyMemory(from: entry.at, byteCount: prefix)
            CheckpointSnapshot.note(entry, item, valueCount)
            item.flags &= CheckpointFormat.keptFlags
            item.at.storeBytes(of: item.accessClock, toByteOffset: 4, as: UInt32.self)
            used = itemAt + prefix
        }
        guard let job = LongValue(
            entry, head, hash: worker.hash(entry.key), tables: tables, checksumAt: 4, file, store.extents)
        else { return false }
        part.job = job
        part.count(tables)
        worker.snapshot!.setJob(job, worker: part.worker)
        return true
    }

    // MARK: Beside the walk

    func isDrained(_ part: SnapshotPart) -> Bool {
        guard part.job == nil else { return false }
        let worker = store.workers[part.worker]
        return !isLast || worker.isLogClosed && worker.requestsInFlight == 0
    }

    func advance(_ worker: StoreWorker, _ part: SnapshotPart) -> Bool {
        if isLast {
            if part.hasWalked { worker.closeLog() }
            if worker.counters.writeErrors != writeErrors[worker.index] {
                file.fail(worker.lastWriteError == 0 ? Int(EIO) : worker.lastWriteError)
            }
        }
        if part.job != nil { worker.advanceJob(part, file) }
        return part.job != nil
    }
}
