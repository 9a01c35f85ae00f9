import Glibc
import Primitives

extension StoreWorker {
    /// Reads on their way that need memory of their own, at most.
    private static var largeReadLimit: Int { 4 }

    /// Wants the record at `address` for one request; session `token` becomes runnable when it has
    /// arrived. Tells whether it is there already. `counts`: as a cold read.
    func stage(
        _ address: Address, hash: UInt64, token: UInt32, counts: Bool = true
    ) -> (record: StagedRecord, isReady: Bool) {
        if let index = staging.find(address) {
            staging[index].pointee.references += 1
            if staging[index].pointee.state == .taken {
                staging[index].pointee.state = .reading
                staging[index].pointee.rider = StagingTable.none
                counters.coldReads += 1
                if !read(index) { staging.waiting.append(index) }
            }
            let isReading = staging[index].pointee.state == .reading
            if isReading { staging.wait(index, token: token) }
            return (StagedRecord(index: index), !isReading)
        }
        let index = staging.insert(address, hash: hash)
        staging.wait(index, token: token)
        if counts { counters.coldReads += 1 }
        if !read(index) { staging.waiting.append(index) }
        return (StagedRecord(index: index), false)
    }

    /// One request that wanted the record has run, or its session is gone.
    public func unstage(_ staged: StagedRecord) {
        staging[staged.index].pointee.references -= 1
        dropUnwanted(staged.index)
    }

    private func dropUnwanted(_ index: UInt32) {
        let record = staging[index]
        if record.pointee.references == 0, record.pointee.state != .reading { staging.remove(index) }
    }

    /// Where in the file a read for the record begins, and its length.
    func readExtent(_ address: Address) -> (position: Int, length: Int) {
        let first = address.offset & ~4095
        return (log.position(address.segment, first),
            min(address.readBytes, log.segmentSize - first))
    }

    /// Sends the read for a record; false while there is no buffer for it.
    private func read(_ index: UInt32) -> Bool {
        let (position, length) = readExtent(staging[index].pointee.address)
        let memory: UnsafeMutableRawPointer
        if length == 4096 {
            if let leader = staging.leader(of: staging[index].pointee.address) {
                staging[index].pointee.rider = staging[leader].pointee.rider
                staging[leader].pointee.rider = index
                return true
            }
            guard let buffer = buffers.leaseRead() else { return false }
            memory = buffer
        } else {
            guard staging.largeReads < StoreWorker.largeReadLimit,
                let extent = extents.allocate(
                    length, charging: length, reserve: StoreWorker.admitted)
            else { return false }
            staging.largeReads += 1
            memory = extent
        }
        staging[index].pointee.memory = memory
        staging[index].pointee.readAt = instant
        staging[index].pointee.received = 0
        let piece = min(length, StoreWorker.readPieceBytes)
        request(.read, offset: position, length: piece, memory: memory, .read(index))
        return true
    }

    /// A longer read goes in pieces: the kernel prepares the memory for one while it is being asked for,
    /// which for 24 MiB holds the loop up for 10 ms.
    static var readPieceBytes: Int { 512 << 10 }

    /// A piece has arrived: asks for the next one; false when there is none, or the piece is not whole.
    private func readOn(_ leader: UInt32, result: Int) -> Bool {
        let (position, length) = readExtent(staging[leader].pointee.address)
        let done = staging[leader].pointee.received
        guard result == min(length - done, StoreWorker.readPieceBytes) else { return false }
        let next = done + result
        staging[leader].pointee.received = next
        if next == length { return false }
        request(
            .read, offset: position + next, length: min(length - next, StoreWorker.readPieceBytes),
            memory: staging[leader].pointee.memory! + next, .read(leader))
        return true
    }

    /// The read that record `leader` leads has ended.
    func completeRead(_ leader: UInt32, result: Int) {
        if readOn(leader, result: result) { return }
        let (_, length) = readExtent(staging[leader].pointee.address)
        let memory = staging[leader].pointee.memory!, received = staging[leader].pointee.received
        staging[leader].pointee.memory = nil
        if received == length { counters.bytesRead += UInt64(length) } else { counters.readErrors += 1 }
        if instant > staging[leader].pointee.readAt {
            counters.coldReadLatency.record(instant - staging[leader].pointee.readAt)
        }
        var index = leader, isKept = false
        while index != StagingTable.none {
            let next = staging[index].pointee.rider
            if received != length {
                staging[index].pointee.state = .failed
            } else if !decode(index, memory, length) {
                isKept = true
                index = next
                continue
            }
            arrive(index)
            index = next
        }
        if !isKept { returnReadMemory(memory, length) }
    }

    /// A record is ready, or failed: those who wait for it can go on.
    func arrive(_ index: UInt32) {
        staging.wake(index, into: &runnable)
        dropUnwanted(index)
    }

    func returnReadMemory(_ memory: UnsafeMutableRawPointer, _ length: Int) {
        if length == 4096 {
            buffers.returnRead(memory)
        } else {
            staging.largeReads -= 1
            extents.free(memory, bytes: length, charged: length)
        }
        while let next = staging.waiting.first, read(next) { _ = staging.waiting.popFirst() }
    }

    /// Checks a record and keeps its value. Whether a record that fails its check was overwritten
    /// meanwhile or is damaged shows when its session runs: the entry then has another address.
    /// False when a large collection is being read from `memory`, which stays in use.
    private func decode(_ index: UInt32, _ memory: UnsafeMutableRawPointer, _ length: Int) -> Bool {
        let address = staging[index].pointee.address
        let offset = address.offset & 4095
        let record = Record(memory + offset)
        let isSliced = record.hasSoundLengths(available: length - offset) && isRestoredInSlices(record)
        guard isSliced || record.isSound(available: length - offset),
            record.stands(at: address, hash: staging[index].pointee.hash)
        else {
            staging[index].pointee.state = .failed
            return true
        }
        if isSliced {
            beginRestoration(index, memory, length, record)
            return false
        }
        if UInt32(record.type) & Entry.structured != 0 {
            if let structure = restoreAtOnce(record) {
                staging.fill(index, structure)
            } else {
                staging[index].pointee.state = .failed
            }
            return true
        }
        decodeBytes(index, record)
        return true
    }

    private func decodeBytes(_ index: UInt32, _ record: Record) {
        guard let value = malloc(max(1, record.valueCount)) else {
            staging[index].pointee.state = .failed
            return
        }
        guard record.decode(into: value) else {
            Glibc.free(value)
            staging[index].pointee.state = .failed
            return
        }
        staging.fill(index, value, record.valueCount)
    }

    /// Bytes of values waiting for their sessions.
    public var stagingBytes: Int { staging.bytes }

    /// Sessions that can go on: their reads arrived or RAM came free. Emptied by the call.
    public func takeRunnable(into list: inout [UInt32]) {
        swap(&list, &runnable)
        runnable.removeAll(keepingCapacity: true)
    }

    /// The session may try again in the next turn.
    public func makeRunnable(_ token: UInt32) { runnable.append(token) }

    public var hasRunnable: Bool { !runnable.isEmpty }
}
