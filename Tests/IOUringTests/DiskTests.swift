import Glibc
import IOUring
import Testing

@Suite(.needsRing) struct DiskTests {
    // Method: write two blocks from registered memory past the page cache, sync, read them back
    // into other buffers in the other order, and compare every byte.
    @Test func fixedWriteReadsBack() throws {
        var bench = try Bench()
        var buffers = try RegisteredBuffers(bench.ring, count: 4, size: 8192)
        let slot = FileSlot(3)
        try open(slot, &bench.ring)
        let used = (0..<4).map { _ in buffers.lease()! }
        for n in 0..<2 {
            let address = buffers.address(used[n])
            for byte in 0..<8192 {
                let value = UInt8((byte * 7 + n * 13) % 251)
                address.storeBytes(of: value, toByteOffset: byte, as: UInt8.self)
            }
            bench.ring.writeFixed(
                slot, from: address, buffer: buffers.bufferIndex(used[n]), length: 8192,
                at: UInt64(n) * 8192, token(1, UInt32(n)))
        }
        #expect(try bench.completions(2).map(\.result) == [8192, 8192])
        bench.ring.dataSync(slot, token(2))
        #expect(try bench.completions(1).map(\.result) == [0])
        bench.ring.sync(slot, token(2))
        #expect(try bench.completions(1).map(\.result) == [0])
        for n in 0..<2 {
            bench.ring.readFixed(
                slot, into: buffers.address(used[2 + n]), buffer: buffers.bufferIndex(used[2 + n]),
                length: 8192, at: UInt64(1 - n) * 8192, token(3, UInt32(n)))
        }
        #expect(try bench.completions(2).map(\.result) == [8192, 8192])
        for n in 0..<2 {
            let written = UnsafeRawPointer(buffers.address(used[n])).bytes(8192)
            let read = UnsafeRawPointer(buffers.address(used[3 - n])).bytes(8192)
            #expect(written == read)
        }
    }

    // Method: an odd offset and an odd length are refused, by a completion and not by a trap.
    @Test func unalignedDirectAccessIsRefused() throws {
        var bench = try Bench()
        let buffers = try RegisteredBuffers(bench.ring, count: 1, size: 4096)
        let slot = FileSlot(0)
        try open(slot, &bench.ring)
        let (address, index) = (buffers.address(0), buffers.bufferIndex(0))
        bench.ring.writeFixed(slot, from: address, buffer: index, length: 4096, at: 0, token(1))
        #expect(try bench.completions(1).map(\.result) == [4096])
        bench.ring.readFixed(slot, into: address, buffer: index, length: 4096, at: 1, token(1))
        #expect(try bench.completions(1).map(\.failure) == [EINVAL])
        bench.ring.writeFixed(slot, from: address, buffer: index, length: 100, at: 0, token(2))
        #expect(try bench.completions(1).map(\.failure) == [EINVAL])
    }

    // Method: a range that reaches past its registered buffer is refused.
    @Test func rangeOutsideTheBufferIsRefused() throws {
        var bench = try Bench()
        let buffers = try RegisteredBuffers(bench.ring, count: 1, size: 4096)
        let slot = FileSlot(0)
        try open(slot, &bench.ring)
        bench.ring.writeFixed(
            slot, from: buffers.address(0) + 512, buffer: buffers.bufferIndex(0), length: 4096,
            at: 0, token(1))
        #expect(try bench.completions(1).map(\.failure) == [EFAULT])
    }

    // Method: extend through the ring, check the length; write and read ordinary memory; a read at
    // the end of the file gives 0.
    @Test func plainAccessAndExtension() throws {
        var bench = try Bench()
        let slot = FileSlot(1)
        let file = try temporaryFile(direct: false)
        try bench.ring.registerFiles(slots: 4)
        try bench.ring.setFile(slot, to: file)
        bench.ring.allocate(slot, at: 0, length: 65536, token(1))
        #expect(try bench.completions(1).map(\.result) == [0])
        #expect(try Descriptors.length(of: file) == 65536)
        let words = Array("hello, disk".utf8)
        var read = [UInt8](repeating: 0, count: words.count)
        try words.withUnsafeBytes { bytes throws in
            bench.ring.write(slot, from: bytes.baseAddress!, length: 11, at: 100, token(2))
            #expect(try bench.completions(1).map(\.result) == [11])
        }
        try read.withUnsafeMutableBytes { bytes throws in
            bench.ring.read(slot, into: bytes.baseAddress!, length: 11, at: 100, token(3))
            #expect(try bench.completions(1).map(\.result) == [11])
            bench.ring.read(slot, into: bytes.baseAddress!, length: 11, at: 65536, token(4))
            #expect(try bench.completions(1).map(\.result) == [0])
        }
        #expect(read == words)
        Descriptors.close(file)
    }

    // Method: an emptied slot and a slot outside the table fail with EBADF.
    @Test func emptySlotIsRefused() throws {
        var bench = try Bench()
        try open(FileSlot(0), &bench.ring)
        bench.ring.dataSync(FileSlot(0), token(1))
        #expect(try bench.completions(1).map(\.result) == [0])
        try bench.ring.setFile(FileSlot(0), to: nil)
        for slot in [FileSlot(0), FileSlot(1000)] {
            bench.ring.dataSync(slot, token(2))
            #expect(try bench.completions(1).map(\.failure) == [EBADF])
        }
    }

    // Method: lease all, find none left, release one, lease it again; each index once, aligned.
    @Test func leasesAreExhaustedAndReused() throws {
        let bench = try Bench()
        var buffers = try RegisteredBuffers(bench.ring, count: 3, size: 4096)
        let leases = (0..<3).compactMap { _ in buffers.lease() }
        #expect(Set(leases) == [0, 1, 2])
        for index in leases { #expect(Int(bitPattern: buffers.address(index)) % 4096 == 0) }
        var extra = buffers.lease()
        #expect(extra == nil)
        buffers.release(1)
        let available = buffers.available
        #expect(available == 1)
        extra = buffers.lease()
        #expect(extra == 1)
    }

    // Method: a second release must end the process, not lend one buffer to two owners.
    @Test func secondReleaseTraps() async {
        await #expect(processExitsWith: .failure) {
            let ring = try Ring(entries: 8)
            var buffers = try RegisteredBuffers(ring, count: 2, size: 4096)
            let index = buffers.lease()!
            buffers.release(index)
            buffers.release(index)
        }
    }

    // Method: buffers outlive their ring and go last; a second table on one ring is refused.
    @Test func buffersMayOutliveTheRing() throws {
        let buffers = try outliving()
        #expect(buffers.available == 2)
        let ring = try Ring(entries: 8)
        let first = try RegisteredBuffers(ring, count: 1, size: 4096)
        let error = #expect(throws: RingError.self) {
            _ = try RegisteredBuffers(ring, count: 1, size: 4096)
        }
        #expect(error == RingError(.registerBuffers, EBUSY))
        #expect(first.available == 1)
    }

    private func outliving() throws -> RegisteredBuffers {
        let ring = try Ring(entries: 8)
        return try RegisteredBuffers(ring, count: 2, size: 4096)
    }

    // Method: lock one file through two descriptors; the second is refused until the first unlocks.
    // Closing would not do here: a process another test is starting holds a copy until its exec.
    @Test func lockExcludes() throws {
        let path = "iouring-\(getpid())-lock.tmp"
        let first = try Descriptors.open(path, direct: false)
        let other = try Descriptors.open(path, direct: false)
        unlink(path)
        try Descriptors.lock(first)
        let error = #expect(throws: SystemError.self) { try Descriptors.lock(other) }
        #expect(error?.code == EWOULDBLOCK)
        flock(first, LOCK_UN)
        Descriptors.close(first)
        try Descriptors.lock(other)
        try Descriptors.truncate(other, to: 12345)
        #expect(try Descriptors.length(of: other) == 12345)
        try Descriptors.allocate(other, at: 0, length: 20000)
        #expect(try Descriptors.length(of: other) == 20000)
        Descriptors.close(other)
    }

    private func open(_ slot: FileSlot, _ ring: inout Ring) throws {
        let file = try temporaryFile()
        try ring.registerFiles(slots: slot.index + 1)
        try ring.setFile(slot, to: file)
        // The table keeps the file open.
        Descriptors.close(file)
    }
}
