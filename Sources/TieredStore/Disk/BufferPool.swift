import Primitives

/// A worker's I/O buffers in one aligned block of memory: read buffers of 4 KiB, write buffers,
/// one buffer compaction reads into, and one to encode records in.
final class BufferPool {
    private let space: AddressSpace
    private let byteCount: Int
    private var reads: [UnsafeMutableRawPointer] = []
    private var writes: [UnsafeMutableRawPointer] = []
    let compactionBuffer: UnsafeMutableRawPointer
    /// A turn sees at most one such read, so it holds what a turn may have to look at.
    let compactionSize: Int
    /// Where a record is encoded before its place is known.
    let recordBuffer: UnsafeMutableRawPointer
    let recordBufferSize: Int
    let writeSize: Int
    private let writeCount: Int

    init(options: StoreOptions) {
        writeSize = options.writeBufferSize
        writeCount = options.writeBuffers
        compactionSize = 4 * options.writeBufferSize
        recordBufferSize = min(options.writeBufferSize, 64 << 10)
        byteCount = options.readBuffers * 4096 + options.writeBuffers * options.writeBufferSize
            + compactionSize + recordBufferSize
        guard let space = AddressSpace(byteCount: byteCount) else {
            fatalError("tierd: no address space for I/O buffers")
        }
        self.space = space
        for i in (0..<options.readBuffers).reversed() { reads.append(space.base + i * 4096) }
        let first = space.base + options.readBuffers * 4096
        for i in (0..<options.writeBuffers).reversed() { writes.append(first + i * writeSize) }
        compactionBuffer = first + options.writeBuffers * writeSize
        recordBuffer = compactionBuffer + compactionSize
    }

    var memory: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: space.base, count: byteCount) }

    func contains(_ memory: UnsafeRawPointer) -> Bool {
        memory >= UnsafeRawPointer(space.base) && memory < UnsafeRawPointer(space.base + byteCount)
    }

    func leaseRead() -> UnsafeMutableRawPointer? { reads.popLast() }
    func returnRead(_ buffer: UnsafeMutableRawPointer) { reads.append(buffer) }

    func leaseWrite() -> UnsafeMutableRawPointer? { writes.popLast() }
    func returnWrite(_ buffer: UnsafeMutableRawPointer) { writes.append(buffer) }
    var freeWrites: Int { writes.count }
    var writesAreIdle: Bool { writes.count == writeCount }
}
