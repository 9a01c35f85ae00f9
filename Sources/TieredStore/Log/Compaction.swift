import Glibc
import Primitives

/// Where a worker's compaction stands: one victim at a time, read in pieces, survivors appended
/// to the compaction stream. The victim is freed when the last survivor has arrived elsewhere.
struct Compaction {
    enum Phase { case idle, reading, scanning }

    var phase = Phase.idle
    var victim = 0
    var used = 0
    /// Offset in the victim of the piece in the buffer, and bytes in it.
    var pieceStart = 0
    var pieceCount = 0
    /// Next byte of the piece to look at.
    var cursor = 0
    /// Memory for a record larger than the buffer.
    var large: UnsafeMutableRawPointer?
    var largeCapacity = 0
    var survivors = 0
    /// A victim that gained little makes the next wait for more dead bytes.
    var limit = 0.95
}

extension StoreWorker {
    /// Free segments below which compaction runs: what all streams may want at once, and a little.
    private var wantedFree: Int {
        let wanted = log.reserve + store.options.workers + max(2, log.segmentCount / 64)
        return min(max(1, log.segmentCount / 4), wanted)
    }

    /// Records to look at this turn: the more, the fewer segments are free, so that compaction keeps
    /// pace with what is demoted instead of holding writers up a whole segment long.
    var compactionBudget: Int {
        let wanted = wantedFree
        let lack = Double(wanted - log.freeCount - log.retiredCount) / Double(max(1, wanted - log.reserve))
        return 256 + Int(1792 * min(1, max(0, lack)))
    }

    /// TIER COMPACT: once through all segments with dead records that are sealed by now. Those it
    /// fills itself are not looked at again.
    public func compactEverything() { forcedCompaction = log.sealCount }

    public var isCompacting: Bool { compaction.phase != .idle }

    /// Starts or continues compaction; returns when it waits for the disk or `records` are done.
    func compact(records: Int) {
        switch compaction.phase {
        case .idle:
            let forced = forcedCompaction
            guard forced != nil || log.freeCount + log.retiredCount <= wantedFree else { return }
            let limit = forced == nil ? compaction.limit : 0.999
            guard let victim = log.claimVictim(below: limit, before: forced ?? .max) else {
                forcedCompaction = nil
                compaction.limit = 0.95
                return
            }
            compaction.victim = victim
            compaction.used = log.describe(victim).used
            compaction.survivors = 0
            readPiece(from: SegmentHeader.size)
        case .reading: return
        case .scanning: scan(records: records)
        }
    }

    private func readPiece(from start: Int, atLeast minimum: Int = 0) {
        guard start < compaction.used else { return finishVictim() }
        let size = max(buffers.compactionSize, (minimum + 4095) & ~4095)
        let length = min(size, compaction.used - start)
        compaction.pieceStart = start
        compaction.pieceCount = length
        compaction.cursor = 0
        var memory = buffers.compactionBuffer
        if length > buffers.compactionSize {
            releaseLarge()
            guard let extent = extents.allocate(
                length, charging: length, reserve: StoreWorker.admitted)
            else { return finishVictim() }
            compaction.large = extent
            compaction.largeCapacity = length
            memory = extent
        }
        compaction.phase = .reading
        request(
            .read, offset: log.position(compaction.victim, start), length: length, memory: memory,
            .compactionRead(length: length))
    }

    private func releaseLarge() {
        guard let large = compaction.large else { return }
        extents.free(large, bytes: compaction.largeCapacity, charged: compaction.largeCapacity)
        compaction.large = nil
    }

    func completeCompactionRead(_ length: Int, result: Int) {
        guard result == length else {
            counters.readErrors += 1
            // Unreadable: what is alive in it stays where it is, and is tried again later.
            compaction.limit = 0.5
            return finishVictim()
        }
        counters.compactionBytesRead += UInt64(length)
        compaction.phase = .scanning
    }

    private func scan(records: Int) {
        let memory = compaction.large ?? buffers.compactionBuffer
        for _ in 0..<records {
            let left = compaction.pieceCount - compaction.cursor
            if left < Record.headerSize { return nextPiece() }
            let record = Record(memory + compaction.cursor)
            if record.byteCount == 0 {
                compaction.cursor = (compaction.cursor + 4096) & ~4095
                continue
            }
            let rest = compaction.used - compaction.pieceStart - compaction.cursor
            guard record.byteCount >= Record.headerSize + record.keyCount, record.byteCount <= rest else {
                // Damaged: what follows starts in the next block. The segment keeps what is alive.
                counters.checksumErrors += 1
                compaction.cursor = (compaction.cursor + 4096) & ~4095
                continue
            }
            if record.byteCount > left { return readAgain(record) }
            guard relocate(record) else { return submitIfIdle() }
            compaction.cursor = (compaction.cursor + record.byteCount + 7) & ~7
        }
    }

    private func nextPiece() {
        let next = compaction.pieceStart + ((compaction.cursor + 4095) & ~4095)
        releaseLarge()
        readPiece(from: max(next, compaction.pieceStart + compaction.pieceCount))
    }

    /// A record that the piece cuts: read on from its block.
    private func readAgain(_ record: Record) {
        let start = compaction.pieceStart + (compaction.cursor & ~4095)
        let within = compaction.cursor & 4095
        let minimum = within + record.byteCount
        releaseLarge()
        readPiece(from: start, atLeast: minimum)
        compaction.cursor = within
    }

    /// Appends the record if it is the live one of its key. False while there is no room.
    private func relocate(_ record: Record) -> Bool {
        let offset = compaction.pieceStart + compaction.cursor
        let address = Address(
            segment: compaction.victim, version: log.version(compaction.victim), offset: offset,
            byteCount: record.byteCount)
        let available = compaction.pieceCount - compaction.cursor
        guard record.database < store.options.databases, isAlive(record, address) else { return true }
        guard record.isSound(available: available) else {
            counters.checksumErrors += 1
            return true
        }
        guard let (batch, at) = place(record.byteCount, in: compactionStream) else { return false }
        record.copy(to: batch.memory + at, segmentVersion: batch.version)
        _ = noteRecord(batch, offset: at, byteCount: record.byteCount, previous: address)
        compaction.survivors += address.footprint
        if batch.isOversized { submit(compactionStream) }
        return true
    }

    private func isAlive(_ record: Record, _ address: Address) -> Bool {
        let stripe = stripes.number(of: record.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + record.database
        guard let slot = table.pointee.find(record.hash, record.key, base: base) else { return false }
        return entry(slot).address == address
    }

    private func submitIfIdle() {
        if compactionStream.batch != nil, buffers.freeWrites == 0 { submit(compactionStream) }
    }

    private func finishVictim() {
        releaseLarge()
        compaction.phase = .idle
        counters.compactions += 1
        submit(compactionStream)
        let room = log.room(for: compaction.survivors, of: compaction.victim)
        let gained = 1 - Double(room) / Double(log.segmentSize)
        if gained < 0.05, forcedCompaction == nil { compaction.limit = max(0.5, compaction.limit - 0.05) }
        log.releaseVictim(compaction.victim)
    }

    /// Survivors have arrived: their entries point to them now, unless modified meanwhile.
    func completeRelocation(_ batch: WriteBatch, result: Int) {
        let arrived = result == (batch.fill + 4095) & ~4095
        if arrived { refusedSince = 0 } else { noteWriteFailure(batch, result) }
        for (offset, previous) in batch.records where arrived {
            let record = Record(batch.memory + offset)
            let address = Address(
                segment: batch.segment, version: batch.version, offset: batch.start + offset,
                byteCount: record.byteCount)
            move(record, from: previous, to: address)
        }
        finish(batch)
        if !arrived { abandonSegment(batch.segment) }
    }

    private func move(_ record: Record, from previous: Address, to address: Address) {
        let stripe = stripes.number(of: record.hash)
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        let table = stripes.tables(stripe) + record.database
        guard let slot = table.pointee.find(record.hash, record.key, base: base) else { return }
        let entry = self.entry(slot)
        guard entry.address == previous else { return }
        log.add(address)
        entry.address = address
        log.forget(previous)
        counters.relocations += 1
    }
}
