import Glibc
import Primitives

/// Moving values out of RAM: whom, how fast, and what is done when their record has arrived.
extension StoreWorker {
    /// Bytes of live cells above which demotion starts, and of held RAM above which sparse pages
    /// are emptied, for this worker's share.
    private var lowWatermark: Int { ledger.limit / 16 * 15 }

    /// Bytes this worker should free now; negative while there is room.
    var excess: Int {
        let wanted = waiters.first?.bytes ?? 0
        return (usedLive + wanted - lowWatermark - store.leavingBytes) / store.options.workers
    }

    /// RAM is above the watermark, staged values counted, which no turn has yet.
    public var isShort: Bool { usedLive + stagingBytes > lowWatermark }

    public var liveBytes: Int { usedLive }
    public var ledgerLimit: Int { ledger.limit }

    /// RAM taken, free cells not counted.
    var usedLive: Int {
        let usage = store.slabUsage
        return ledger.used - usage.held + usage.live
    }

    /// Demotes until RAM is within its watermark, buffers run out, or `deadline` (a count of
    /// buckets) is reached.
    func demoteExcess(buckets: Int) {
        guard hand.stripe < store.options.stripes else { return }
        var missing = excess
        guard missing > 0 else {
            exhausted = false
            return
        }
        keepTime()
        let round = hand.rounds
        var blocked = false, hasYielded = false
        _ = sweep(&hand, buckets: buckets, wanted: Table.residentBit) { slot, table, database in
            switch self.consider(slot, table, database) {
            case .kept: return true
            case .leaving(let bytes):
                missing -= bytes
                hasYielded = true
                return missing > 0
            case .blocked:
                blocked = true
                return false
            }
        }
        // The hand does not come round in vain while something is leaving, or a large collection waits for
        // its turn.
        if hasYielded || hasDeferred || store.leavingBytes > 0 { lastYield = hand.rounds }
        hasDeferred = false
        if blocked { flushIfIdle() }
        hotness.adjust()
        if hand.rounds > round, hand.rounds > lastYield + 1 { hotness.relent() }
        // Ten rounds make the threshold zero.
        exhausted = hand.rounds > lastYield + 10
    }

    enum Verdict { case kept, leaving(Int), blocked }

    /// The hand stands on a resident value. The stripe is locked.
    private func consider(
        _ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>, _ database: Int
    ) -> Verdict {
        let entry = self.entry(slot)
        counters.demotionVisits += 1
        if let expiry = entry.expiry {
            if expiry <= now {
                expire(slot, table)
                return .kept
            }
            // Not worth writing what is gone in a moment, unless it is in the way.
            if expiry - now < 5000, entry.address.isNone, waiters.isEmpty { return .kept }
        }
        if entry.has(Entry.writing) || !isWorthDemoting(entry) { return .kept }
        if entry.isStructured, entry.address.isNone, serialization != nil {
            hasDeferred = true
            return .kept
        }
        guard hotness.isCold(entry, epoch: epoch) else { return .kept }
        if !entry.address.isNone {
            let freed = drop(slot, table)
            if freed > 0 { counters.cleanDemotions += 1 }
            return freed > 0 ? .leaving(freed) : .blocked
        }
        guard write(slot, table, database) else { return .blocked }
        // From here on it counts only whether it is used before it has arrived.
        entry.frequency = 0
        return .leaving(entry.heldCount)
    }

    /// A value is worth a record when it is longer than the header and key that stay behind.
    func isWorthDemoting(_ entry: Entry) -> Bool {
        let count = entry.encodedCount
        return count >= Entry.headerSize + entry.keyCount && isTierable(entry)
    }

    func isTierable(_ entry: Entry) -> Bool {
        if entry.has(Entry.saving) { return false }
        let count = entry.encodedCount
        let bound = Record.bound(keyCount: entry.keyCount, valueCount: count)
        return count <= store.options.tierMaxValue && bound <= recordLimit
    }

    /// Writes a dirty value's record into the open batch. The stripe is locked.
    /// False when there is no buffer or no segment for it now.
    func write(
        _ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>, _ database: Int
    ) -> Bool {
        let entry = self.entry(slot)
        if entry.isStructured { return writeStructure(entry, database) }
        return write(entry, ByteView(entry.value, entry.valueCount), database)
    }

    /// Writes these bytes as the entry's record.
    func write(_ entry: Entry, _ value: ByteView, _ database: Int) -> Bool {
        let content = content(entry, database, value)
        guard let (batch, offset, length) = append(content) else { return false }
        let address = noteRecord(batch, offset: offset, byteCount: length)
        log.add(address)
        entry.address = address
        entry.set(Entry.writing, true)
        store.leaves(value.count)
        counters.recordBytesDemoted += UInt64(length)
        if batch.isOversized { submit(demotionStream) }
        return true
    }

    /// Writes a dirty value's record, and leaves its entry as it is: no loop runs any more. Its address and
    /// the length of the value in it; nil when there is no buffer or no segment for it now.
    func writeLast(_ entry: Entry, _ database: Int) -> (address: Address, valueCount: Int)? {
        guard entry.isStructured else {
            return writeLast(entry, ByteView(entry.value, entry.valueCount), database)
        }
        noteExpiring(entry)
        let count = entry.encodedCount
        return withUnsafeTemporaryAllocation(byteCount: count, alignment: 8) { memory in
            StoreWorker.encode(entry.structure.held, at: memory.baseAddress!, count)
            return writeLast(entry, ByteView(UnsafeRawPointer(memory.baseAddress!), count), database)
        }
    }

    private func writeLast(
        _ entry: Entry, _ value: ByteView, _ database: Int
    ) -> (address: Address, valueCount: Int)? {
        guard let (batch, offset, length) = append(content(entry, database, value)) else { return nil }
        let address = noteRecord(batch, offset: offset, byteCount: length)
        // Nobody is to be told when it has arrived.
        batch.records.removeAll(keepingCapacity: true)
        log.add(address)
        counters.recordBytesDemoted += UInt64(length)
        if batch.isOversized { submit(demotionStream) }
        return (address, value.count)
    }

    func content(_ entry: Entry, _ database: Int, _ value: ByteView) -> Record.Content {
        let key = entry.key
        return Record.Content(
            hash: hash(key), sequence: log.sequence(), database: database,
            type: UInt8(truncatingIfNeeded: entry.flags & (15 | Entry.recorded)), expiry: entry.expiry,
            key: key, value: value)
    }

    /// Encodes a record into the open batch. One that may be compressed is encoded aside first: where
    /// it goes depends on the length it then has.
    private func append(_ content: Record.Content) -> (batch: WriteBatch, offset: Int, length: Int)? {
        let bound = Record.bound(keyCount: content.key.count, valueCount: content.value.count)
        guard bound <= buffers.recordBufferSize else {
            guard let (batch, offset) = place(bound, in: demotionStream) else { return nil }
            let length = Record.encode(content, segmentVersion: batch.version, at: batch.memory + offset)
            return (batch, offset, length)
        }
        guard demotionStream.batch != nil || buffers.freeWrites > 0 else { return nil }
        let length = compression.compose(content, at: buffers.recordBuffer)
        guard let (batch, offset) = place(length, in: demotionStream) else { return nil }
        Record(buffers.recordBuffer).copy(to: batch.memory + offset, segmentVersion: batch.version)
        return (batch, offset, length)
    }

    /// Frees the RAM of a clean value: its entry is replaced by one without the value.
    /// Returns the bytes freed, 0 when there is no cell for the smaller entry.
    @discardableResult
    func drop(_ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>) -> Int {
        let entry = self.entry(slot)
        let prefix = entry.valueOffset
        let freed = entry.heldCount
        let stripe = stripes.number(of: hash(entry.key))
        guard let cell = allocate(prefix, stripe: stripe) else { return 0 }
        cell.copyMemory(from: entry.at, byteCount: prefix)
        let stub = Entry(cell)
        stub.flags &= ~(Entry.resident | Entry.external | Entry.writing | Entry.probation)
        stub.frequency = 0
        stub.epoch = epoch
        freeExternal(entry)
        let size = entry.size
        replace(slot, with: stub, table)
        free(entry.at, size)
        residentDelta -= 1
        counters.demotions += 1
        return max(1, freed)
    }

    // MARK: Arrival

    /// A batch of demoted values has arrived, or failed. Values modified meanwhile are left alone.
    func completeDemotion(_ batch: WriteBatch, result: Int) {
        let arrived = result == (batch.fill + 4095) & ~4095
        if arrived {
            lastWriteError = 0
            refusedSince = 0
        } else {
            noteWriteFailure(batch, result)
        }
        for (offset, _) in batch.records {
            let record = Record(batch.memory + offset)
            let address = Address(
                segment: batch.segment, version: batch.version, offset: batch.start + offset,
                byteCount: record.byteCount)
            store.leaves(-record.valueCount)
            settle(record, address, arrived: arrived)
        }
        finish(batch)
        if !arrived { abandonSegment(batch.segment) }
    }

    /// Makes the session runnable when a write has ended; sends what is gathered so far.
    public func waitForWrites(_ token: UInt32) {
        // Another worker's write may be the one in the way: then look again next turn.
        if isWriting { writeWaiters.append(token) } else { runnable.append(token) }
        flushIfIdle()
    }

    /// A demotion write is being gathered or on its way.
    public var isWriting: Bool {
        demotionStream.batch != nil || serialization != nil || !buffers.writesAreIdle
    }

    private func settle(_ record: Record, _ address: Address, arrived: Bool) {
        let stripe = stripes.number(of: record.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + record.database
        guard let slot = table.pointee.find(record.hash, record.key, base: base) else { return }
        let entry = self.entry(slot)
        guard entry.address == address, entry.has(Entry.writing) else { return }
        entry.set(Entry.writing, false)
        if !arrived { return forgetRecord(entry) }
        // Accessed since it was written: it stays, clean.
        if entry.has(Entry.saving) { return }
        if entry.frequency == 0 || !waiters.isEmpty { drop(slot, table) }
    }

    func noteWriteFailure(_ batch: WriteBatch, _ result: Int) {
        counters.writeErrors += 1
        lastWriteError = result < 0 ? -result : Int(EIO)
        if refusedSince == 0 { refusedSince = max(1, instant) }
        if -result == Int(ENOSPC) || -result == Int(EDQUOT) {
            log.isOutOfSpace = true
            log.unprepare(batch.segment)
        }
    }

    /// Sends a batch that has been filling for 10 ms.
    func flushIfStale() {
        if let batch = demotionStream.batch, instant - batch.openedAt > 10_000_000 { flushIfIdle() }
    }

    /// Sends a half-filled batch.
    func flushIfIdle() {
        if demotionStream.batch != nil { submit(demotionStream) }
    }
}
