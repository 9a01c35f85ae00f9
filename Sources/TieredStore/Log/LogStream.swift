import Glibc
import Primitives

/// A buffer being filled with records for one open segment, and what to do when it has arrived.
final class WriteBatch {
    let memory: UnsafeMutableRawPointer
    let capacity: Int
    /// Taken for one record that no pooled buffer holds; freed afterwards.
    let isOversized: Bool
    let segment: Int
    let version: UInt32
    /// Offset of the batch in its segment.
    let start: Int
    /// Monotonic nanoseconds.
    let openedAt: UInt64
    var fill = 0
    /// Footprints of its records.
    var filled = 0
    /// Offset of each record in the batch, and the address its survivor had, if it is one.
    var records: [(offset: Int, previous: Address)] = []

    init(
        memory: UnsafeMutableRawPointer, capacity: Int, isOversized: Bool, segment: Int, version: UInt32,
        start: Int, openedAt: UInt64
    ) {
        self.memory = memory
        self.capacity = capacity
        self.isOversized = isOversized
        self.segment = segment
        self.version = version
        self.start = start
        self.openedAt = openedAt
    }
}

/// One worker's append position for one kind of records: the open segment and the open batch.
/// Demotion and compaction have one each, so that what lives long is not mixed with what is new.
final class LogStream {
    let kind: SegmentLog.Stream
    var segment: Int?
    /// Where the next batch starts in the segment.
    var position = 0
    /// Footprints of the records appended to the segment.
    var filled = 0
    var batch: WriteBatch?

    init(kind: SegmentLog.Stream) { self.kind = kind }
}

extension StoreWorker {
    /// Room for a record of up to `bound` bytes: its batch and offset in it, or nil while there is
    /// no buffer or no segment. A record that fits into a block is not placed across two.
    func place(_ bound: Int, in stream: LogStream) -> (batch: WriteBatch, offset: Int)? {
        precondition(bound <= recordLimit, "record larger than a segment")
        if let batch = stream.batch {
            let offset = StoreWorker.placement(batch.fill, bound)
            if offset + bound <= batch.capacity { return (batch, offset) }
            submit(stream)
        }
        guard let batch = openBatch(bound, in: stream) else { return nil }
        return (batch, StoreWorker.placement(batch.fill, bound))
    }

    /// Largest record a segment can hold.
    var recordLimit: Int { log.segmentSize - SegmentHeader.size }

    private static func placement(_ fill: Int, _ bound: Int) -> Int {
        let offset = (fill + 7) & ~7
        let inBlock = offset & 4095
        // Nor does a header straddle blocks: a scan that reads block by block sees each whole.
        let kept = bound <= 4096 ? bound : Record.headerSize
        return inBlock + kept > 4096 ? offset - inBlock + 4096 : offset
    }

    private func openBatch(_ bound: Int, in stream: LogStream) -> WriteBatch? {
        let needed = (bound + 4095) & ~4095
        if let segment = stream.segment, stream.position + needed > log.segmentSize {
            seal(segment, of: stream)
        }
        let oversized = needed + SegmentHeader.size > buffers.writeSize
        guard oversized || buffers.freeWrites > 0 else { return nil }
        if stream.segment == nil {
            guard let segment = log.open(for: stream.kind) else { return nil }
            stream.segment = segment
            stream.position = 0
            stream.filled = 0
            prepare(segment)
        }
        let segment = stream.segment!
        let room = log.segmentSize - stream.position
        let capacity = min(room, max(needed + SegmentHeader.size, buffers.writeSize))
        let memory: UnsafeMutableRawPointer
        if oversized {
            guard let extent = extents.allocate(
                capacity, charging: capacity, reserve: StoreWorker.admitted)
            else { return nil }
            memory = extent
        } else {
            memory = buffers.leaseWrite()!
        }
        let batch = WriteBatch(
            memory: memory, capacity: capacity, isOversized: oversized, segment: segment,
            version: log.version(segment), start: stream.position,
            openedAt: instant)
        if stream.position == 0 {
            SegmentHeader.encode(
                to: memory, segment: segment, version: batch.version, stream: stream.kind,
                identity: log.identity)
            batch.fill = SegmentHeader.size
        }
        log.writeStarted(segment)
        stream.batch = batch
        return batch
    }

    /// Asks for the segment's blocks in the file the first time it is used.
    private func prepare(_ segment: Int) {
        if log.prepare(segment) { return }
        request(
            .allocate, offset: log.position(segment, 0), length: log.segmentSize,
            memory: nil, .allocate(segment: segment))
    }

    /// Notes a record written at `offset` of `batch`; zero bytes end the blocks it left open.
    func noteRecord(_ batch: WriteBatch, offset: Int, byteCount: Int, previous: Address = .none) -> Address {
        if offset > batch.fill {
            memset(batch.memory + batch.fill, 0, offset - batch.fill)
        }
        batch.records.append((offset, previous))
        batch.fill = offset + byteCount
        let address = Address(
            segment: batch.segment, version: batch.version, offset: batch.start + offset,
            byteCount: byteCount)
        batch.filled += address.footprint
        return address
    }

    /// Sends the stream's batch to the disk, padded to whole blocks.
    func submit(_ stream: LogStream) {
        guard let batch = detach(stream) else { return }
        send(batch, of: stream.kind)
    }

    /// Takes the stream's batch out of it, to be filled further and sent later; nothing is added to it.
    func detach(_ stream: LogStream) -> WriteBatch? {
        guard let batch = stream.batch else { return nil }
        stream.batch = nil
        stream.position += (batch.fill + 4095) & ~4095
        stream.filled += batch.filled
        return batch
    }

    func send(_ batch: WriteBatch, of kind: SegmentLog.Stream) {
        let length = (batch.fill + 4095) & ~4095
        memset(batch.memory + batch.fill, 0, length - batch.fill)
        counters.bytesWritten += UInt64(length)
        request(
            .write, offset: log.position(batch.segment, batch.start), length: length,
            memory: batch.memory, kind == .demotion ? .demote(batch) : .relocate(batch))
    }

    /// Gives the batch's buffer and its hold on the segment back.
    func finish(_ batch: WriteBatch) {
        if batch.isOversized {
            extents.free(batch.memory, bytes: batch.capacity, charged: batch.capacity)
        } else {
            buffers.returnWrite(batch.memory)
        }
        log.writeEnded(batch.segment)
        runnable.append(contentsOf: writeWaiters)
        writeWaiters.removeAll(keepingCapacity: true)
    }

    /// The stream's segment cannot be written: it is closed, the next batch opens another.
    func abandonSegment(_ segment: Int) {
        for stream in [demotionStream, compactionStream] where stream.segment == segment {
            if stream.batch != nil { continue }
            seal(segment, of: stream)
        }
    }

    private func seal(_ segment: Int, of stream: LogStream) {
        log.seal(segment, used: stream.position, filled: stream.filled)
        stream.segment = nil
    }

    var isLogClosed: Bool { demotionStream.segment == nil && compactionStream.segment == nil }

    /// Sends what is gathered and closes the open segments, before the process ends.
    public func closeLog() {
        for stream in [demotionStream, compactionStream] {
            submit(stream)
            if let segment = stream.segment { seal(segment, of: stream) }
        }
    }

    // MARK: Requests

    func request(
        _ kind: DiskRequest.Kind, _ file: DiskFile = .tier, offset: Int, length: Int,
        memory: UnsafeMutableRawPointer?, _ operation: DiskOperation
    ) {
        let token: UInt32
        if let free = freeOperations.popLast() {
            token = free
            operations[Int(token)] = operation
        } else {
            token = UInt32(operations.count)
            operations.append(operation)
        }
        requests.append(DiskRequest(
            kind: kind, file: file, offset: offset, length: length, memory: memory,
            isRegistered: memory.map { buffers.contains($0) } ?? false, token: token))
    }

    /// The next thing to ask of the disk, or nil.
    public func takeRequest() -> DiskRequest? { requests.popFirst() }

    /// The disk answered: bytes done, or minus errno. A short transfer is an error (EIO).
    public func complete(_ token: UInt32, result: Int) {
        guard let operation = operations[Int(token)] else { return }
        operations[Int(token)] = nil
        freeOperations.append(token)
        switch operation {
        case .read(let leader): completeRead(leader, result: result)
        case .demote(let batch): completeDemotion(batch, result: result)
        case .relocate(let batch): completeRelocation(batch, result: result)
        case .compactionRead(let length): completeCompactionRead(length, result: result)
        case .allocate(let segment): completeAllocation(segment, result: result)
        case .other(let end): end(result)
        }
    }

    /// Whether completing this request locks stripes: not while the caller may hold some.
    public func completionLocks(_ token: UInt32) -> Bool {
        switch operations[Int(token)] {
        case .demote, .relocate: threaded
        case .read, .compactionRead, .allocate, .other, nil: false
        }
    }

    private func completeAllocation(_ segment: Int, result: Int) {
        guard result < 0, -result != Int(EOPNOTSUPP) else { return }
        log.unprepare(segment)
        counters.writeErrors += 1
        if -result == Int(ENOSPC) || -result == Int(EDQUOT) { log.isOutOfSpace = true }
    }

    /// Disk requests on their way.
    public var requestsInFlight: Int { operations.count - freeOperations.count }
}

/// What a completion is for.
enum DiskOperation {
    /// Record that leads the read.
    case read(UInt32)
    case demote(WriteBatch)
    case relocate(WriteBatch)
    case compactionRead(length: Int)
    case allocate(segment: Int)
    /// Whoever asked is told.
    case other((Int) -> Void)
}
