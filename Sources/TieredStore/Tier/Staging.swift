import Glibc
import Primitives

/// A value read from the SSD for the sessions that asked for it, until they have run.
final class StagedRecord {
    enum State { case reading, ready, failed }

    let address: Address
    let hash: UInt64
    var state = State.reading
    var value: UnsafeMutableRawPointer?
    var valueCount = 0
    /// Requests that will use it.
    var references = 0
    /// Tokens of sessions to run again when it has arrived.
    var waiters: [UInt32] = []

    init(address: Address, hash: UInt64) {
        self.address = address
        self.hash = hash
    }

    deinit { if let value { Glibc.free(value) } }
}

/// One read on its way, for all the records wanted from its blocks.
final class ReadOperation {
    let position: Int
    let length: Int
    let memory: UnsafeMutableRawPointer
    let isPooled: Bool
    let startedAt: UInt64
    var records: [StagedRecord]

    init(
        position: Int, length: Int, memory: UnsafeMutableRawPointer, isPooled: Bool, startedAt: UInt64,
        first: StagedRecord
    ) {
        self.position = position
        self.length = length
        self.memory = memory
        self.isPooled = isPooled
        self.startedAt = startedAt
        records = [first]
    }
}

/// A worker's cold reads: what is staged by address, and reads on their way by block.
final class StagingTable {
    var records: [Address: StagedRecord] = [:]
    /// Reads of a single block on their way: a second record wanted from it rides along.
    var blockReads: [Int: ReadOperation] = [:]
    /// Records whose read waits for a buffer.
    var waiting = RingQueue<StagedRecord>()
    var bytes = 0
    var largeReads = 0
}

extension StoreWorker {
    /// Reads on their way that need memory of their own, at most.
    private static var largeReadLimit: Int { 4 }

    /// Wants the record at `address` for one request of session `token`; the session becomes
    /// runnable when it has arrived. True when it is there already.
    func stage(_ address: Address, hash: UInt64, token: UInt32) -> Bool {
        if let record = staging.records[address] {
            record.references += 1
            if record.state == .reading {
                if record.waiters.last != token { record.waiters.append(token) }
                return false
            }
            return true
        }
        let record = StagedRecord(address: address, hash: hash)
        record.references = 1
        record.waiters.append(token)
        staging.records[address] = record
        counters.coldReads += 1
        if !read(record) { staging.waiting.append(record) }
        return false
    }

    /// One request that wanted the record has run, or its session is gone.
    public func unstage(_ address: Address) {
        guard let record = staging.records[address] else { return }
        record.references -= 1
        if record.references == 0, record.state != .reading { drop(record) }
    }

    private func drop(_ record: StagedRecord) {
        staging.bytes -= record.valueCount
        staging.records[record.address] = nil
    }

    /// Sends the read for a record; false while there is no buffer for it.
    private func read(_ record: StagedRecord) -> Bool {
        let address = record.address
        let first = address.offset & ~4095
        let length = min(address.readBytes, store.log.segmentSize - first)
        let position = store.log.position(address.segment, first)
        if length == 4096 {
            if let running = staging.blockReads[position] {
                running.records.append(record)
                return true
            }
            guard let buffer = buffers.leaseRead() else { return false }
            let read = ReadOperation(
                position: position, length: length, memory: buffer, isPooled: true,
                startedAt: instant, first: record)
            staging.blockReads[position] = read
            request(.read, offset: position, length: length, memory: buffer, .read(read))
            return true
        }
        guard staging.largeReads < StoreWorker.largeReadLimit,
            let memory = store.extents.allocate(length, charging: length, reserve: StoreWorker.admitted)
        else { return false }
        staging.largeReads += 1
        let read = ReadOperation(
            position: position, length: length, memory: memory, isPooled: false, startedAt: instant,
            first: record)
        request(.read, offset: position, length: length, memory: memory, .read(read))
        return true
    }

    func completeRead(_ read: ReadOperation, result: Int) {
        if read.isPooled { staging.blockReads[read.position] = nil } else { staging.largeReads -= 1 }
        if result == read.length { counters.bytesRead += UInt64(result) } else { counters.readErrors += 1 }
        if instant > read.startedAt { counters.coldReadLatency.record(instant - read.startedAt) }
        for record in read.records {
            if result == read.length { decode(record, from: read) } else { record.state = .failed }
            runnable.append(contentsOf: record.waiters)
            record.waiters.removeAll(keepingCapacity: true)
            if record.references == 0 { drop(record) }
        }
        if read.isPooled {
            buffers.returnRead(read.memory)
        } else {
            store.extents.free(read.memory, bytes: read.length, charged: read.length)
        }
        while let next = staging.waiting.first, self.read(next) { _ = staging.waiting.popFirst() }
    }

    /// Checks a record and keeps its value. Whether a record that fails its check was overwritten
    /// meanwhile or is damaged shows when its session runs: the entry then has another address.
    private func decode(_ staged: StagedRecord, from read: ReadOperation) {
        let offset = staged.address.offset & 4095
        let record = Record(read.memory + offset)
        guard record.isSound(available: read.length - offset), record.hash == staged.hash,
            record.segmentVersion & 0x3ff == staged.address.version,
            let value = malloc(max(1, record.valueCount))
        else {
            staged.state = .failed
            return
        }
        guard record.decode(into: value) else {
            Glibc.free(value)
            staged.state = .failed
            return
        }
        staged.value = value
        staged.valueCount = record.valueCount
        staging.bytes += record.valueCount
        staged.state = .ready
    }

    /// Bytes of values waiting for their sessions.
    public var stagingBytes: Int { staging.bytes }

    /// Sessions that can go on: their reads arrived or RAM came free. Emptied by the call.
    public func takeRunnable(into list: inout [UInt32]) {
        swap(&list, &runnable)
        runnable.removeAll(keepingCapacity: true)
    }

    public var hasRunnable: Bool { !runnable.isEmpty }
}
