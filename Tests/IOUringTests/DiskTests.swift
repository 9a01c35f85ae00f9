import Glibc
import IOUring
import Testing

@Suite(.needsRing) struct DiskTests {
    // Method: write two blocks from registered memory past the page cache, sync, read them back
    // into other buffers in the other order, and compare every byte.
    @Test func fixedWriteReadsBack() throws {
        var bench = try Bench()
        let memory = try registered(4 * 8192, &bench.ring)
        let slot = FileSlot(3)
        try open(slot, &bench.ring)
        for n in 0..<2 {
            let address = memory + n * 8192
            for byte in 0..<8192 {
                let value = UInt8((byte * 7 + n * 13) % 251)
                address.storeBytes(of: value, toByteOffset: byte, as: UInt8.self)
            }
            bench.ring.writeFixed(
                slot, from: address, buffer: BufferIndex(0), length: 8192, at: UInt64(n) * 8192,
                token(1, UInt32(n)))
        }
        #expect(try bench.completions(2).map(\.result) == [8192, 8192])
        bench.ring.dataSync(slot, token(2))
        #expect(try bench.completions(1).map(\.result) == [0])
        bench.ring.sync(slot, token(2))
        #expect(try bench.completions(1).map(\.result) == [0])
        for n in 0..<2 {
            bench.ring.readFixed(
                slot, into: memory + (2 + n) * 8192, buffer: BufferIndex(0), length: 8192,
                at: UInt64(1 - n) * 8192, token(3, UInt32(n)))
        }
        #expect(try bench.completions(2).map(\.result) == [8192, 8192])
        for n in 0..<2 {
            let written = UnsafeRawPointer(memory + n * 8192).bytes(8192)
            let read = UnsafeRawPointer(memory + (3 - n) * 8192).bytes(8192)
            #expect(written == read)
        }
    }

    // Method: an odd offset and an odd length are refused, by a completion and not by a trap.
    @Test func unalignedDirectAccessIsRefused() throws {
        var bench = try Bench()
        let (address, index) = (try registered(4096, &bench.ring), BufferIndex(0))
        let slot = FileSlot(0)
        try open(slot, &bench.ring)
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
        let memory = try registered(4096, &bench.ring)
        let slot = FileSlot(0)
        try open(slot, &bench.ring)
        bench.ring.writeFixed(
            slot, from: memory + 512, buffer: BufferIndex(0), length: 4096, at: 0, token(1))
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

    // Method: a ring has one block; another is refused, and the first still serves.
    @Test func secondBlockIsRefused() throws {
        var bench = try Bench()
        let memory = try registered(4096, &bench.ring)
        let error = #expect(throws: RingError.self) { try bench.ring.registerMemory(pages(4096)) }
        #expect(error == RingError(.registerBuffers, EBUSY))
        try open(FileSlot(0), &bench.ring)
        bench.ring.writeFixed(
            FileSlot(0), from: memory, buffer: BufferIndex(0), length: 4096, at: 0, token(1))
        #expect(try bench.completions(1).map(\.result) == [4096])
    }

    // Method: memory the process does not have is refused by the call, not by a later read.
    @Test func unmappedMemoryIsRefused() throws {
        var bench = try Bench()
        let nowhere = UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: 4096), count: 4096)
        let error = #expect(throws: RingError.self) { try bench.ring.registerMemory(nowhere) }
        #expect(error == RingError(.registerBuffers, EFAULT))
    }

    // Method: lock one file through two descriptors; the second is refused until the first unlocks.
    // Closing would not do here: a process another test is starting holds a copy until its exec.
    @Test func lockExcludes() throws {
        let path = "iouring-\(getpid())-lock.tmp"
        let first = try Descriptors.open(path, direct: false)
        let other = try Descriptors.open(path, direct: false)
        unlink(path)
        try Descriptors.lock(first)
        let error = #expect(throws: SystemError.self) { try Descriptors.lock(other, seconds: 0) }
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

    private func registered(_ bytes: Int, _ ring: inout Ring) throws -> UnsafeMutableRawPointer {
        let memory = pages(bytes)
        try ring.registerMemory(memory)
        return UnsafeMutableRawPointer(mutating: memory.baseAddress!)
    }

    /// Never given back: it outlives any ring.
    private func pages(_ bytes: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 4096))
    }

    private func open(_ slot: FileSlot, _ ring: inout Ring) throws {
        let file = try temporaryFile()
        try ring.registerFiles(slots: slot.index + 1)
        try ring.setFile(slot, to: file)
        // The table keeps the file open.
        Descriptors.close(file)
    }
}
